//! sd_notify(3) for containers: the service manager that started us hears from the program inside when it is ready, and
//! what else it has to say. A program in a container cannot say it itself: the manager's socket is not there, its
//! messages would come from another cgroup than the service's, and its idea of process ids is another one.
//!
//! ```text
//!   program ── /run/notify/notify.sock ──> Relay ── what a container may say ──> $NOTIFY_SOCKET
//! ```
//! The socket is in a folder beside the state, which is bound into the container, as with runc.

use oci_spec::runtime::{Mount, MountBuilder, Spec};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::net::{SocketAddrUnix, SocketFlags, SocketType};
use rustix::pipe::PipeFlags;
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Where the folder is in the container.
const INSIDE: &str = "/run/notify";
/// The socket in it.
pub const SOCKET: &str = "notify.sock";
/// The variable that names the socket, here as there.
const VARIABLE: &str = "NOTIFY_SOCKET";
/// systemd takes no longer message (`NOTIFY_BUFFER_MAX`).
const LONGEST: usize = 4096;
/// How many messages are read before others have their turn.
const AT_A_TIME: usize = 16;
/// How long to wait until what was said has been read.
const BARRIER: Duration = Duration::from_secs(30);

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

    fn connect(&self) -> rustix::io::Result<OwnedFd> {
        let socket = socket()?;
        rustix::net::connect(&socket, &self.0)?;
        Ok(socket)
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

/// Passes on what a container says. Neither it nor the service manager can hold us up: there is an end of what is read at a
/// time, and nothing more is read until what was read has been passed on.
#[derive(Debug)]
pub struct Relay {
    inside: OwnedFd,
    outside: Option<OwnedFd>,
    manager: Manager,
    /// What the service manager has not taken yet, and whether it says that the program is ready.
    pending: VecDeque<(Vec<u8>, bool)>,
    is_ready: bool,
}

impl Relay {
    /// Listens in a container's folder.
    ///
    /// # Errors
    /// [`Error::Inside`].
    pub fn listen(folder: &OwnedFd, id: &str, manager: Manager) -> Result<Self, Error> {
        let make = || -> rustix::io::Result<OwnedFd> {
            let inside = socket()?;
            // A `start` that was killed has left its own.
            match rustix::fs::unlinkat(folder, SOCKET, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
            // By the descriptor, because the path of a state folder may be longer than a socket's may be.
            let path = format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd());
            let address = SocketAddrUnix::new(path)?;
            // Any user of the container may say that it is ready. Not by chmod(2) afterwards: the container could have put
            // another file there.
            let usual = rustix::process::umask(Mode::from(0o111));
            let bound = rustix::net::bind(&inside, &address);
            rustix::process::umask(usual);
            bound.map(|()| inside)
        };
        let inside = make().map_err(|errno| Error::Inside { id: id.to_owned(), source: errno.into() })?;
        Ok(Self { inside, outside: None, manager, pending: VecDeque::new(), is_ready: false })
    }

    /// What to wait for: that the container says something, or that the service manager can be told more.
    #[must_use]
    pub fn waits(&self) -> PollFd<'_> {
        match &self.outside {
            Some(outside) if !self.pending.is_empty() => PollFd::new(outside, PollFlags::OUT),
            _ => PollFd::new(&self.inside, PollFlags::IN),
        }
    }

    /// Passes on what was said, or as much of it as is right at a time; whether the service manager knows that the program is
    /// ready. `main` is who it is to take for the main process of the service from then on.
    ///
    /// # Errors
    /// [`Error::Hear`], [`Error::Tell`].
    pub fn carry(&mut self, main: Option<i32>) -> Result<bool, Error> {
        // One more than the longest, to know it from a longer one.
        let mut message = [0; LONGEST + 1];
        for _ in 0..AT_A_TIME {
            if !self.flush()? {
                break;
            }
            // Descriptors that come along are closed by the kernel, for which a barrier waits (sd_notify_barrier(3)).
            match rustix::net::recv(&self.inside, &mut message[..], RecvFlags::DONTWAIT) {
                // As systemd does: what was cut off could have changed what is left.
                Ok((length, _)) if length > LONGEST => {}
                Ok((length, _)) => self.take(&message[..length], main),
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::Hear(errno.into())),
            }
        }
        self.flush()?;
        Ok(self.is_ready)
    }

    fn take(&mut self, message: &[u8], main: Option<i32>) {
        let (mut words, ready) = passed_on(message);
        if let (Some(pid), true) = (main, ready) {
            let line = format!("MAINPID={pid}\n");
            if words.len() + line.len() <= LONGEST {
                words = [line.as_bytes(), &words].concat();
            } else {
                self.pending.push_back((line.into_bytes(), false));
            }
        }
        if !words.is_empty() {
            self.pending.push_back((words, ready));
        }
    }

    /// Tells the service manager what is pending; whether that is done.
    fn flush(&mut self) -> Result<bool, Error> {
        let failed = |errno: Errno| Error::Tell(errno.into());
        while let Some((words, ready)) = self.pending.front() {
            let known = self.outside.take();
            let is_new = known.is_none();
            let outside = match known {
                Some(outside) => outside,
                None => self.manager.connect().map_err(failed)?,
            };
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            match rustix::io::retry_on_intr(|| rustix::net::send(&outside, words, flags)) {
                Ok(_all) => {
                    self.is_ready |= *ready;
                    self.pending.pop_front();
                }
                Err(Errno::AGAIN) => {
                    self.outside = Some(outside);
                    return Ok(false);
                }
                // It has been started again since.
                Err(Errno::CONNREFUSED | Errno::NOTCONN | Errno::CONNRESET) if !is_new => continue,
                Err(errno) => return Err(failed(errno)),
            }
            self.outside = Some(outside);
        }
        Ok(true)
    }

    /// Waits until the service manager has read what it was told (sd_notify_barrier(3)), 30 s at most: it finds out whose a
    /// message is by looking at the sender, who may be about to end. One that knows no barriers lets go of it as soon.
    ///
    /// # Errors
    /// [`Error::Tell`].
    pub fn barrier(&self) -> Result<(), Error> {
        let Some(outside) = &self.outside else { return Ok(()) };
        let sent = || -> rustix::io::Result<()> {
            let deadline = Instant::now() + BARRIER;
            let (ours, theirs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
            let rights = [theirs.as_fd()];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            control.push(SendAncillaryMessage::ScmRights(&rights));
            until(&PollFd::new(outside, PollFlags::OUT), deadline)?;
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            rustix::net::sendmsg(outside, &[IoSlice::new(b"BARRIER=1")], &mut control, flags)?;
            drop(theirs);
            until(&PollFd::new(&ours, PollFlags::IN), deadline)
        };
        sent().map_err(|errno| Error::Tell(errno.into()))
    }
}

/// Waits for what is polled, or for the deadline.
fn until(polled: &PollFd<'_>, deadline: Instant) -> rustix::io::Result<()> {
    loop {
        let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now())).ok();
        match poll(&mut [polled.clone()], left.as_ref()) {
            Err(Errno::INTR) => {}
            done => return done.map(drop),
        }
    }
}

fn socket() -> rustix::io::Result<OwnedFd> {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
}

#[cfg(test)]
mod tests;
