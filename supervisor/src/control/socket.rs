//! The unix socket: made so that nobody gets in between its birth and its mode, for root and the group `skiff`.

use super::Error;
use rustix::fs::{Gid, Mode, Uid};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use tokio::net::UnixListener;

/// Whoever is in it may do everything that `skiffctl` can, which is as much as root can.
const GROUP: &str = "skiff";
/// Connections that wait to be accepted (listen(2)).
const BACKLOG: i32 = 64;

/// Makes the socket. One that nobody listens on any more is replaced.
pub(super) fn open(path: &Path) -> Result<UnixListener, Error> {
    let failed = |source: io::Error| Error::Socket { path: path.to_owned(), source };
    let address = SocketAddrUnix::new(path).map_err(|errno| failed(errno.into()))?;
    clear(path, &address)?;
    let group = std::fs::read_to_string("/etc/group").ok().and_then(|text| group_id(&text, GROUP));
    listen(path, &address, group).map_err(failed)
}

/// The order counts: connect(2) is refused until listen(2), and by then the mode is right.
fn listen(path: &Path, address: &SocketAddrUnix, group: Option<u32>) -> io::Result<UnixListener> {
    let socket = make()?;
    rustix::net::bind(&socket, address)?;
    let mode = match group {
        Some(group) => {
            rustix::fs::chown(path, None::<Uid>, Some(Gid::from_raw(group)))?;
            Mode::from_raw_mode(0o660)
        }
        None => Mode::from_raw_mode(0o600),
    };
    rustix::fs::chmod(path, mode)?;
    rustix::net::listen(&socket, BACKLOG)?;
    UnixListener::from_std(socket.into())
}

/// Takes away what an earlier skiffd left. It can be killed at any moment, so its socket usually stays.
fn clear(path: &Path, address: &SocketAddrUnix) -> Result<(), Error> {
    let failed = |source: io::Error| Error::Socket { path: path.to_owned(), source };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => return Err(Error::Foreign { path: path.to_owned() }),
        Ok(_) => {}
    }
    let probe = make().map_err(failed)?;
    match rustix::net::connect(&probe, address) {
        // A full backlog (EAGAIN) has somebody behind it as well.
        Ok(()) | Err(rustix::io::Errno::AGAIN) => Err(Error::Live { path: path.to_owned() }),
        Err(rustix::io::Errno::CONNREFUSED) => std::fs::remove_file(path).map_err(failed),
        Err(errno) => Err(failed(errno.into())),
    }
}

fn make() -> io::Result<std::os::fd::OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}

/// The id of a group, from the text of group(5).
fn group_id(text: &str, name: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    #[test]
    fn groups() {
        let text = "root:x:0:\nskiffs:x:7:\nskiff:x:998:anna,bert\n\nbroken\nodd:x:y:\n";
        assert_eq!(group_id(text, "skiff"), Some(998));
        assert_eq!(group_id(text, "root"), Some(0));
        for name in ["broken", "odd", "ski", ""] {
            assert_eq!(group_id(text, name), None, "{name}");
        }
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let first = open(&path).unwrap();
        assert!(matches!(open(&path), Err(Error::Live { .. })));
        drop(first);
        let _second = open(&path).unwrap();
        std::os::unix::net::UnixStream::connect(&path).unwrap();
    }

    #[tokio::test]
    async fn what_is_no_socket_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        std::fs::write(&path, "mine").unwrap();
        assert!(matches!(open(&path), Err(Error::Foreign { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
        assert!(matches!(open(&folder.path().join("x".repeat(120))), Err(Error::Socket { .. })));
    }

    #[tokio::test]
    async fn only_root_and_the_group_get_in() {
        let folder = tempfile::tempdir().unwrap();
        let mode = |name: &str, group| {
            let path = folder.path().join(name);
            let _listener = listen(&path, &SocketAddrUnix::new(&path).unwrap(), group).unwrap();
            let found = std::fs::symlink_metadata(&path).unwrap();
            (found.permissions().mode() & 0o7777, found.gid())
        };
        let own = rustix::process::getegid().as_raw();
        assert_eq!(mode("a", None).0, 0o600);
        assert_eq!(mode("b", Some(own)), (0o660, own));
    }
}
