//! sd_notify(3) for containers: the service manager that started us hears from the program inside when it is ready, and
//! what else it has to say. A program in a container cannot say it itself: the manager's socket is not there, its
//! messages would come from another cgroup than the service's, and its idea of process ids is another one.
//!
//! ```text
//!   program ── /run/notify/notify.sock ──> Relay ── what a container may say ──> $NOTIFY_SOCKET
//! ```
//! The socket is in a folder beside the state, which is bound into the container, as with runc.

use oci_spec::runtime::{Mount, MountBuilder, Spec};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Where the folder is in the container.
const INSIDE: &str = "/run/notify";
/// The socket in it.
pub const SOCKET: &str = "notify.sock";
/// The variable that names the socket, here as there.
const VARIABLE: &str = "NOTIFY_SOCKET";
/// systemd takes no longer message (`NOTIFY_BUFFER_MAX`).
const LONGEST: usize = 4096;

/// What a program may say (sd_notify(3)). Not which process is the main one, for its numbers are others; nothing about
/// descriptors, which are not passed on; and nothing about who else may speak.
const WORDS: [&[u8]; 11] = [
    b"READY",
    b"RELOADING",
    b"STOPPING",
    b"STATUS",
    b"ERRNO",
    b"BUSERROR",
    b"EXIT_STATUS",
    b"WATCHDOG",
    b"WATCHDOG_USEC",
    b"EXTEND_TIMEOUT_USEC",
    b"MONOTONIC_USEC",
];

/// Why nobody can be told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is of a kind that is not known here.
    #[error("{VARIABLE} is `{0}`, which is neither an absolute path nor an abstract socket (@name); unset it")]
    Address(String),
    /// The container's socket cannot be made.
    #[error("cannot make the socket through which container `{id}` says that it is ready")]
    Inside {
        /// The container.
        id: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// What was said cannot be read.
    #[error("cannot hear what the container says of its readiness")]
    Hear(#[source] io::Error),
    /// The service manager does not listen.
    #[error("cannot tell the service manager ({VARIABLE}) that the container is ready")]
    Tell(#[source] io::Error),
}

/// The service manager that wants to hear of us.
#[derive(Debug)]
pub struct Manager(SocketAddrUnix);

impl Manager {
    /// The one in our environment, if there is one.
    ///
    /// # Errors
    /// [`Error::Address`].
    pub fn ours() -> Result<Option<Self>, Error> {
        match std::env::var_os(VARIABLE) {
            Some(text) if !text.is_empty() => Self::at(&text).map(Some),
            _ => Ok(None),
        }
    }

    fn at(text: &OsStr) -> Result<Self, Error> {
        let address = match text.as_bytes() {
            [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name),
            path @ [b'/', ..] => SocketAddrUnix::new(path),
            _ => Err(Errno::INVAL),
        };
        address.map(Self).map_err(|_kind| Error::Address(text.to_string_lossy().into_owned()))
    }
}

/// Puts the socket of this folder into the container.
pub fn provide(spec: &mut Spec, folder: &Path) {
    let mut mounts: Vec<Mount> = spec.mounts_mut().take().unwrap_or_default();
    let options = ["bind", "nosuid", "noexec", "nodev", "ro"].map(str::to_owned).to_vec();
    let mount = MountBuilder::default().destination(INSIDE).typ("bind").source(folder).options(options).build();
    // A builder fails only for what is left out.
    mounts.extend(mount);
    spec.set_mounts(Some(mounts));
    if let Some(process) = spec.process_mut() {
        let mut environment = process.env_mut().take().unwrap_or_default();
        environment.retain(|it| it.split_once('=').is_none_or(|(name, _)| name != VARIABLE));
        environment.push(format!("{VARIABLE}={INSIDE}/{SOCKET}"));
        process.set_env(Some(environment));
    }
}

/// What of a message is passed on, and whether it says that the program is ready.
fn passed_on(message: &[u8]) -> (Vec<u8>, bool) {
    let name = |line: &&[u8]| line.split(|byte| *byte == b'=').next().unwrap_or_default().to_vec();
    let lines: Vec<&[u8]> = message
        .split(|byte| *byte == b'\n')
        .filter(|line| line.contains(&b'=') && WORDS.contains(&&*name(line)))
        .collect();
    let ready = lines.iter().any(|line| *line == b"READY=1");
    (lines.join(&b'\n'), ready)
}

/// Passes on what a container says.
#[derive(Debug)]
pub struct Relay {
    inside: OwnedFd,
    outside: OwnedFd,
    manager: Manager,
}

impl AsFd for Relay {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inside.as_fd()
    }
}

impl Relay {
    /// Listens in a container's folder.
    ///
    /// # Errors
    /// [`Error::Inside`].
    pub fn listen(folder: &OwnedFd, id: &str, manager: Manager) -> Result<Self, Error> {
        let make = || -> rustix::io::Result<Self> {
            let socket = || {
                let flags = SocketFlags::CLOEXEC;
                rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)
            };
            let (inside, outside) = (socket()?, socket()?);
            // By the descriptor, because the path of a state folder may be longer than a socket's may be.
            let path = format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd());
            rustix::net::bind(&inside, &SocketAddrUnix::new(path)?)?;
            // Any user of the container may say that it is ready; the umask would have kept some from it.
            rustix::fs::chmodat(folder, SOCKET, rustix::fs::Mode::from(0o666), rustix::fs::AtFlags::empty())?;
            Ok(Self { inside, outside, manager })
        };
        make().map_err(|errno| Error::Inside { id: id.to_owned(), source: errno.into() })
    }

    /// Passes on all that was said; whether the program is ready. `main` is who the service manager is to take for the main
    /// process of the service from then on.
    ///
    /// # Errors
    /// [`Error::Hear`], [`Error::Tell`].
    pub fn carry(&self, main: Option<i32>) -> Result<bool, Error> {
        let mut all_ready = false;
        let mut message = [0; LONGEST];
        loop {
            // Descriptors that come along are closed by the kernel, for which a barrier waits (sd_notify_barrier(3)).
            let length = match rustix::net::recv(&self.inside, &mut message[..], RecvFlags::DONTWAIT) {
                Ok((length, _)) => length,
                Err(Errno::AGAIN) => return Ok(all_ready),
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(Error::Hear(errno.into())),
            };
            let (mut words, ready) = passed_on(&message[..length]);
            all_ready |= ready;
            if let (Some(pid), true) = (main, ready) {
                words = [format!("MAINPID={pid}\n").as_bytes(), &words].concat();
            }
            if !words.is_empty() {
                let send = || rustix::net::sendto(&self.outside, &words, SendFlags::NOSIGNAL, &self.manager.0);
                rustix::io::retry_on_intr(send).map_err(|errno| Error::Tell(errno.into()))?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn a_container_says_what_it_may() {
        let check = |said: &str, passed: &str, ready: bool| {
            assert_eq!(passed_on(said.as_bytes()), (passed.as_bytes().to_vec(), ready), "{said:?}");
        };
        check("READY=1", "READY=1", true);
        check("READY=1\nSTATUS=all = well\nMAINPID=1\n", "READY=1\nSTATUS=all = well", true);
        check("READY=0", "READY=0", false);
        check("FDSTORE=1\nFDNAME=x\nBARRIER=1\nNOTIFYACCESS=all", "", false);
        check("READY\nREADYY=1\nXREADY=1\n\n=", "", false);
        check("WATCHDOG=1", "WATCHDOG=1", false);
        assert_eq!(passed_on(b"STATUS=\xff\n\xfe=1"), (b"STATUS=\xff".to_vec(), false));
    }

    #[test]
    fn managers_are_paths_or_abstract() {
        for good in ["/run/systemd/notify", "@abstract"] {
            assert!(Manager::at(OsStr::new(good)).is_ok(), "{good}");
        }
        for bad in ["relative", "vsock:2:1", &format!("/{}", "x".repeat(200))] {
            assert!(Manager::at(OsStr::new(bad)).unwrap_err().to_string().contains("unset it"), "{bad}");
        }
    }

    #[test]
    fn what_is_said_inside_is_heard_outside() {
        let folder = tempfile::tempdir().unwrap();
        let outer = folder.path().join("outer");
        let manager = UnixDatagram::bind(&outer).unwrap();
        let dir = OwnedFd::from(std::fs::File::open(folder.path()).unwrap());
        let relay = Relay::listen(&dir, "x", Manager::at(outer.as_os_str()).unwrap()).unwrap();
        let program = UnixDatagram::unbound().unwrap();
        let say = |text: &str| program.send_to(text.as_bytes(), folder.path().join(SOCKET)).unwrap();
        assert!(!relay.carry(None).unwrap());
        say("STATUS=begins");
        say("MAINPID=1");
        assert!(!relay.carry(Some(7)).unwrap());
        say("READY=1\nMAINPID=1");
        assert!(relay.carry(Some(7)).unwrap());
        let mut buffer = [0; 99];
        let mut heard = || {
            let length = manager.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..length].to_vec()).unwrap()
        };
        assert_eq!([heard(), heard()], ["STATUS=begins", "MAINPID=7\nREADY=1"]);
    }

    #[test]
    fn the_configuration_gets_a_mount_and_a_variable() {
        let mut spec = Spec::default();
        spec.process_mut()
            .as_mut()
            .unwrap()
            .set_env(Some(vec!["NOTIFY_SOCKET=/other".into(), "NOTIFY_SOCKETS=1".into()]));
        let before = spec.mounts().as_ref().unwrap().len();
        provide(&mut spec, Path::new("/state/x/notify"));
        let environment = spec.process().as_ref().unwrap().env().clone().unwrap();
        assert_eq!(environment, ["NOTIFY_SOCKETS=1", "NOTIFY_SOCKET=/run/notify/notify.sock"]);
        let mounts = spec.mounts().as_ref().unwrap();
        assert_eq!((mounts.len(), mounts[before].destination().as_path()), (before + 1, Path::new(INSIDE)));
    }
}
