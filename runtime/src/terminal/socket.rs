//! Connecting to a Unix socket that the caller named (`--console-socket`, `--pidfd-socket`), however long its path.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::Error;

/// `sun_path` of unix(7) holds 108 bytes with the NUL.
const LONGEST: usize = 107;

/// How long whoever listens may leave us waiting.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connects to the listening stream socket at `path`. To be called before anything is made, so that a wrong path
/// leaves nothing behind.
///
/// # Errors
/// [`Error::NotASocket`], or [`Error::Connect`] when nothing is there or nobody listens.
pub fn connect(path: &Path) -> Result<OwnedFd, Error> {
    let failed = |source| Error::Connect { path: path.to_path_buf(), source };
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if !metadata.file_type().is_socket() {
        return Err(Error::NotASocket { path: path.to_path_buf() });
    }
    let connected =
        if path.as_os_str().as_bytes().len() <= LONGEST { patiently(path) } else { connect_from_folder(path) };
    connected.map_err(failed)
}

/// Whoever listens may not take connections, or not what is sent: that must not hold up a container for ever. The time is for
/// each call, connect(2) included (unix(7), `SO_SNDTIMEO`).
fn patiently(path: &Path) -> io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))?;
    let address = SocketAddrUnix::new(path)?;
    match rustix::io::retry_on_intr(|| rustix::net::connect(&socket, &address)) {
        Ok(()) => Ok(socket),
        Err(Errno::AGAIN) => Err(io::Error::new(io::ErrorKind::TimedOut, "nobody takes the connection")),
        Err(errno) => Err(errno.into()),
    }
}

/// Shortens a path by naming its folder through a descriptor: the working directory is not ours to change.
fn connect_from_folder(path: &Path) -> io::Result<OwnedFd> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let folder = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
    patiently(&short)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_long_path_works_and_wrong_ones_say_why() {
        let base = tempfile::tempdir().unwrap();
        let mut folder = base.path().to_path_buf();
        while folder.as_os_str().len() < 200 {
            folder.push("a-folder-with-a-long-name");
            std::fs::create_dir(&folder).unwrap();
        }
        // The listener is bound under a short name and moved: bind(2) has the same limit.
        let listener = UnixListener::bind(base.path().join("s")).unwrap();
        std::fs::rename(base.path().join("s"), folder.join("s")).unwrap();
        connect(&folder.join("s")).unwrap();
        listener.accept().unwrap();

        std::fs::write(base.path().join("file"), "").unwrap();
        let words = |path: &str| connect(&base.path().join(path)).unwrap_err().to_string();
        assert!(words("file").ends_with("is not a socket"));
        assert!(words("absent").starts_with("cannot connect to socket"));
        drop(listener);
        assert!(matches!(connect(&folder.join("s")), Err(Error::Connect { .. })));
    }
}
