//! Starting a created container: a knock on the socket on which its first process waits, and what comes of it.

use super::delete::{self, destroy};
use super::kill::{Handle, handle};
use super::observe::look;
use crate::readiness::{self, Manager, Relay};
use crate::state::{self, Entry, Identity, Record, START_SOCKET};
use crate::sync::{self, Channel, Message};
use crate::{hooks, log};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use skiff_contract::status::Status;
use std::io;
use std::os::fd::AsRawFd;

/// Why a container cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The container's state cannot be read or changed.
    #[error(transparent)]
    State(#[from] state::Error),
    /// It was started before.
    #[error("cannot start container `{id}` in the {status} state; only a created container can be started")]
    NotCreated {
        /// The container.
        id: String,
        /// What it is doing.
        status: Status,
    },
    /// See [`readiness::Error`].
    #[error(transparent)]
    Readiness(#[from] readiness::Error),
    /// Its first process does not answer.
    #[error("the first process of container `{id}` cannot be reached")]
    Knock {
        /// The container.
        id: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// It answers nonsense, or dies.
    #[error("the first process of container `{id}` could not be told to start")]
    Talk {
        /// The container.
        id: String,
        /// What happened.
        #[source]
        source: sync::Error,
    },
    /// A startContainer hook or the exec failed.
    #[error("container `{id}` could not be started: {reason}")]
    Failed {
        /// The container.
        id: String,
        /// The chain of causes, as the container's first process told it.
        reason: String,
        /// What a foreground command exits with.
        exit_code: u8,
    },
    /// A poststart hook failed.
    #[error("container `{id}` was stopped and deleted")]
    Poststart {
        /// The container.
        id: String,
        /// Which hook, and how.
        #[source]
        source: hooks::Error,
    },
}

/// Starts the program of a created container, and waits until it is ready where somebody wants to hear of that.
///
/// # Errors
/// See [`Error`].
pub fn start(entry: &Entry) -> Result<(), Error> {
    let (record, relay) = begin(entry)?;
    until_ready(&record, relay)
}

/// What needs the container for this command alone.
fn begin(entry: &Entry) -> Result<(Record, Option<Relay>), Error> {
    let _lock = entry.lock()?;
    let seen = look(entry)?;
    let id = || seen.record.id.clone();
    if seen.status != Status::Created {
        return Err(Error::NotCreated { id: id(), status: seen.status });
    }
    let relay = relay(entry)?;
    let channel = knock(entry).map_err(|source| Error::Knock { id: id(), source })?;
    // From here on the container is not `created` any more. Should we be killed before `Go`, its first process sees
    // the connection end and exits: it is then stopped, never half started.
    entry.unlink(START_SOCKET)?;
    channel.send(&Message::Go).map_err(|source| Error::Talk { id: id(), source })?;
    log::debug(|| format!("container `{}`: told to start", seen.record.id));
    first(entry, &seen.record, &channel)?;
    Ok((seen.record, relay))
}

/// Listens to what the program will say of its readiness, if the container was made with a socket for that and a service
/// manager wants to hear it.
///
/// # Errors
/// [`Error::Readiness`].
pub fn relay(entry: &Entry) -> Result<Option<Relay>, Error> {
    let (Some(manager), Some(folder)) = (Manager::ours()?, entry.notify()?) else { return Ok(None) };
    Ok(Some(Relay::listen(&folder, entry.id().as_str(), manager)?))
}

/// Waits until the program is ready or has ended, as `runc start` does; the service manager hears which process is the main
/// one. One that cannot be told is not what is wrong with a container that runs.
///
/// # Errors
/// [`Error::Readiness`].
pub fn until_ready(record: &Record, relay: Option<Relay>) -> Result<(), Error> {
    let (Some(relay), Some(init)) = (relay, &record.init) else { return Ok(()) };
    match tell_when_ready(init, relay) {
        Err(error @ readiness::Error::Tell(_)) => {
            log::warn(&format!("container `{}` runs; {:#}", record.id, anyhow::Error::from(error)));
            Ok(())
        }
        told => Ok(told?),
    }
}

fn tell_when_ready(init: &Identity, mut relay: Relay) -> Result<(), readiness::Error> {
    let process = handle(init).map_err(readiness::Error::Hear)?;
    loop {
        // Before its last words are read, so that they are.
        let lives = init.is_alive();
        if relay.carry(Some(init.pid))? {
            return relay.barrier();
        }
        if !lives {
            return Ok(());
        }
        let mut set = vec![relay.waits()];
        let mut moment = None;
        match &process {
            Handle::Pidfd(pidfd) => set.push(PollFd::new(pidfd, PollFlags::IN)),
            Handle::Number | Handle::Gone => moment = Some(Timespec { tv_sec: 0, tv_nsec: 50_000_000 }),
        }
        match poll(&mut set, moment.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(readiness::Error::Hear(errno.into())),
        }
    }
}

/// What follows the word to begin, for `start` and for `run`.
///
/// # Errors
/// [`Error::Failed`], [`Error::Poststart`] and [`Error::Talk`]: the container is then gone.
pub fn first(entry: &Entry, record: &Record, channel: &Channel) -> Result<(), Error> {
    let outcome = begun(record, channel);
    if outcome.is_err() {
        clean_up(entry, record);
    }
    outcome?;
    poststart(entry, record)
}

fn begun(record: &Record, channel: &Channel) -> Result<(), Error> {
    let id = || record.id.clone();
    match exec_outcome(channel) {
        Ok(Executed::Yes) => Ok(()),
        Ok(Executed::No { exit_code, text }) => Err(Error::Failed { id: id(), reason: text, exit_code }),
        Err(source) => Err(Error::Talk { id: id(), source }),
    }
}

/// What came of an exec.
pub(super) enum Executed {
    /// The program runs.
    Yes,
    /// It does not, and why.
    No { exit_code: u8, text: String },
}

/// Waits until a program is executed, which closes the other end (it is close-on-exec), or an error is told. Before the
/// exec its process says that it is about to: an end without that is a death.
pub(super) fn exec_outcome(channel: &Channel) -> Result<Executed, sync::Error> {
    let mut about_to = false;
    loop {
        match channel.recv() {
            Ok((Message::Ready, _)) => about_to = true,
            Err(sync::Error::Closed) if about_to => return Ok(Executed::Yes),
            Ok((Message::Failed { exit_code, text }, _)) => return Ok(Executed::No { exit_code, text }),
            Ok(_) => return Err(sync::Error::Garbled(0)),
            Err(source) => return Err(source),
        }
    }
}

/// Runs the poststart hooks. One that fails ends the container (OCI runtime specification, lifecycle, step 9).
fn poststart(entry: &Entry, record: &Record) -> Result<(), Error> {
    if record.poststart.is_empty() {
        return Ok(());
    }
    super::poststart_hooks(record).map_err(|source| {
        clean_up(entry, record);
        Error::Poststart { id: record.id.clone(), source }
    })
}

/// The failure that led here is what the caller hears of; what cannot be removed is said beside it.
fn clean_up(entry: &Entry, record: &Record) {
    let outcome: Result<(), delete::Error> = destroy(entry, record);
    if let Err(error) = outcome {
        log::warn(&format!("{:#}", anyhow::Error::from(error)));
    }
}

/// Connects to the socket in the container's folder through the folder's descriptor, because the path of a state
/// folder may be longer than the 107 bytes of a socket address.
fn knock(entry: &Entry) -> io::Result<Channel> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/{START_SOCKET}", entry.dir().as_raw_fd()))?;
    rustix::net::connect(&socket, &address)?;
    Ok(Channel::from(socket))
}

/// Makes the socket on which the first process of a container waits for [`start`].
///
/// # Errors
/// The kernel's.
pub(super) fn listen(entry: &Entry) -> io::Result<std::os::fd::OwnedFd> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/{START_SOCKET}", entry.dir().as_raw_fd()))?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, 1)?;
    Ok(socket)
}
