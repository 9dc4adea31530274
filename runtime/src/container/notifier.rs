//! Calls that a filter leaves to somebody (`SCMP_ACT_NOTIFY`). The parent takes the descriptor through which they are decided
//! from the process that has loaded the filter, lets pass what skiff itself calls until it is the program's turn, and hands
//! the descriptor to whoever listens at `linux.seccomp.listenerPath` (config-linux.md, "The Container Process State").
//!
//! The process cannot hand it over itself: the calls that this takes could be among those that wait for an answer.
//!
//! What passes is a matter of trust. A process that the container can name may be made to call anything by somebody with
//! `CAP_SYS_PTRACE`, so of those only what skiff needs on this stretch passes; the rest is refused, not left for later.

use crate::seccomp::Listener;
use crate::seccomp::arch::{self, Names};
use crate::sync::Channel;
use crate::sys::seccomp::Call;
use crate::{log, sys, terminal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use skiff_contract::document::{ContainerProcessState, StateDocument};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

/// Where the kernel says what a descriptor is, and what it says of a listener's.
const LISTENER: &str = "anon_inode:seccomp notify";

/// How long to wait before the process is asked again whether it has the descriptor.
const SHORTEST: Duration = Duration::from_micros(50);
const LONGEST: Duration = Duration::from_millis(10);

/// Why calls cannot be left to somebody.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel is too old.
    #[error("`linux.seccomp` has SCMP_ACT_NOTIFY, which takes pidfd_getfd(2) of Linux 5.6; use another action here")]
    TooOld,
    /// Nobody is there to decide. See [`terminal::Error`].
    #[error("cannot reach who decides about system calls (`linux.seccomp.listenerPath`)")]
    Listener(#[source] terminal::Error),
    /// The process and its filter are there, the descriptor is not.
    #[error("cannot take the descriptor of the system call filter from process {pid}{hint}")]
    Take {
        /// The process.
        pid: i32,
        /// A way out, or nothing.
        hint: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A call of skiff's own is held up.
    #[error("cannot let a system call of skiff's own pass `linux.seccomp`")]
    Pass(#[source] io::Error),
}

/// What skiff calls between the loading of a filter and the word that it is ready, or that it has failed: it gives up the right
/// that the loading took, makes a session and takes a terminal, looks for the program, sees to its memory, talks to its maker, and ends.
const NEEDED: [&str; 32] = [
    "access",
    "brk",
    "capset",
    "close",
    "exit",
    "exit_group",
    "faccessat",
    "faccessat2",
    "fcntl",
    "fcntl64",
    "fstat",
    "fstat64",
    "fstatat64",
    "futex",
    "getrandom",
    "ioctl",
    "madvise",
    "mmap",
    "mmap2",
    "mprotect",
    "mremap",
    "munmap",
    "newfstatat",
    "prctl",
    "recvmsg",
    "rt_sigaction",
    "rt_sigprocmask",
    "sendmsg",
    "setsid",
    "stat",
    "stat64",
    "statx",
];

/// To take a terminal (include/uapi/asm-generic/ioctls.h).
const TIOCSCTTY: u64 = 0x540e;

/// To change the capabilities that an exec keeps (include/uapi/linux/prctl.h).
const PR_CAP_AMBIENT: u64 = 47;

/// Whether this process may take a descriptor only from processes that do not hide (ptrace(2), "access mode checking").
pub fn needs_to_see() -> bool {
    let may_trace = caps::has_cap(None, caps::CapSet::Effective, caps::Capability::CAP_SYS_PTRACE);
    !may_trace.unwrap_or_default()
}

/// Whether a call of a process that the container can name is one of these.
fn is_needed(call: Call) -> bool {
    let own = arch::OURS[0];
    let table = Names::new();
    let is_it = |name: &&str| table.find(name).and_then(|numbers| numbers.on(own)) == Some(call.number);
    let name = NEEDED.iter().find(|name| call.arch == own.token() && is_it(name));
    name.is_some_and(|name| match *name {
        "ioctl" => call.arguments[1] == TIOCSCTTY,
        "prctl" => call.arguments[0] == PR_CAP_AMBIENT,
        _ => true,
    })
}

/// Whoever decides, and the means to.
pub struct Notifier {
    socket: OwnedFd,
    metadata: String,
    descriptor: Option<OwnedFd>,
    trusted: Option<i32>,
}

impl Notifier {
    /// Connects to whoever decides. To be called before anything is made, so that nothing is left when nobody is there.
    ///
    /// # Errors
    /// [`Error::TooOld`], [`Error::Listener`].
    pub fn connect(listener: &Listener) -> Result<Self, Error> {
        let socket = terminal::connect(&listener.path).map_err(Error::Listener)?;
        // It is the call alone that may be missing.
        match descriptor_of(rustix::process::getpid(), socket.as_raw_fd()) {
            Err(Errno::NOSYS) => Err(Error::TooOld),
            _ => Ok(Self { socket, metadata: listener.metadata.clone(), descriptor: None, trusted: None }),
        }
    }

    /// Takes descriptor `number` from process `pid`, a child of ours, which is about to load its filter; whether it has. It has
    /// not when the process says something else on the `channel`, or is gone. `trusted` says that nobody in a container can
    /// name the process.
    ///
    /// # Errors
    /// [`Error::Take`].
    pub fn take(&mut self, pid: i32, number: i32, trusted: bool, channel: &Channel) -> Result<bool, Error> {
        let failed = |errno: Errno| Error::Take { pid, hint: hint(errno), source: errno.into() };
        let process = Pid::from_raw(pid).ok_or_else(|| failed(Errno::SRCH))?;
        let mut moment = SHORTEST;
        loop {
            match descriptor_of(process, number) {
                Ok(descriptor) if is_listener(&descriptor) => {
                    self.descriptor = Some(descriptor);
                    self.trusted = trusted.then_some(pid);
                    return Ok(true);
                }
                Ok(_) => return Err(failed(Errno::BADF)),
                Err(Errno::BADF) => {}
                Err(Errno::SRCH) => return Ok(false),
                Err(errno) => return Err(failed(errno)),
            }
            if wait(&mut [PollFd::new(channel, PollFlags::IN)], Some(moment)).map_err(failed)? {
                return Ok(false);
            }
            moment = (moment * 2).min(LONGEST);
        }
    }

    /// Waits until something is said on a channel, or a process has ended (by its pidfd), and meanwhile lets pass what is called
    /// to get there.
    ///
    /// # Errors
    /// [`Error::Pass`].
    pub fn attend(&self, until: &impl AsFd) -> Result<(), Error> {
        let Some(descriptor) = &self.descriptor else { return Ok(()) };
        let failed = |errno: Errno| Error::Pass(errno.into());
        loop {
            let mut both = [PollFd::new(until, PollFlags::IN), PollFd::new(descriptor, PollFlags::IN)];
            wait(&mut both, None).map_err(failed)?;
            let [until, calls] = both.map(|it| it.revents());
            // Without a process under the filter there is an end of what is said, too.
            if !until.is_empty() || !calls.contains(PollFlags::IN) {
                return Ok(());
            }
            let passes = |call: Call| {
                let passes = self.trusted.is_some_and(|pid| pid.unsigned_abs() == call.pid) || is_needed(call);
                if !passes {
                    log::warn(&format!(
                        "refused system call {} of process {}, which is being made",
                        call.number, call.pid
                    ));
                }
                passes
            };
            sys::seccomp::decide(descriptor.as_fd(), passes).map_err(Error::Pass)?;
        }
    }

    /// The process from which the descriptor was taken has ended.
    pub fn trust_nobody(&mut self) {
        self.trusted = None;
    }

    /// Hands the means over: from now on every call that the filter leaves open waits for whoever decides.
    ///
    /// # Errors
    /// [`Error::Take`] if there are none, [`Error::Listener`] if nobody is there any more.
    pub fn hand_over(&self, pid: i32, state: &StateDocument) -> Result<(), Error> {
        let none = || Error::Take { pid, hint: "", source: Errno::BADF.into() };
        let descriptor = self.descriptor.as_ref().ok_or_else(none)?;
        let text = serde_json::to_vec(&ContainerProcessState::new(pid, &self.metadata, state)).unwrap_or_default();
        let (socket, what) = (self.socket.as_fd(), "the descriptor of the system call filter");
        terminal::send_descriptor_and_text(socket, descriptor.as_fd(), &text, what).map_err(Error::Listener)
    }
}

fn descriptor_of(process: Pid, number: i32) -> rustix::io::Result<OwnedFd> {
    pidfd_getfd(pidfd_open(process, PidfdFlags::empty())?, number, PidfdGetfdFlags::empty())
}

fn hint(errno: Errno) -> &'static str {
    if errno == Errno::PERM && needs_to_see() {
        "; without CAP_SYS_PTRACE, SCMP_ACT_NOTIFY takes a container with new pid and user namespaces"
    } else {
        ""
    }
}

fn is_listener(descriptor: &OwnedFd) -> bool {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", descriptor.as_raw_fd()));
    link.is_ok_and(|link| link.as_os_str() == LISTENER)
}

/// Whether there is something within the time.
fn wait(these: &mut [PollFd<'_>], moment: Option<Duration>) -> rustix::io::Result<bool> {
    let moment = moment.map(|it| Timespec { tv_sec: 0, tv_nsec: it.subsec_nanos().into() });
    rustix::io::retry_on_intr(|| poll(these, moment.as_ref())).map(|count| count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_container_could_want_does_not_pass() {
        let own = arch::OURS[0];
        let call = |name: &str, argument| Call {
            pid: 7,
            arch: own.token(),
            number: Names::new().find(name).and_then(|numbers| numbers.on(own)).unwrap(),
            arguments: [argument; 2],
        };
        for name in ["mount", "mknodat", "keyctl", "openat", "execve", "ptrace", "socket", "setns", "unshare", "prctl"]
        {
            assert!(!is_needed(call(name, 0)), "{name}");
        }
        assert!(!is_needed(call("ioctl", 0x5412)), "TIOCSTI");
        for name in ["setsid", "sendmsg", "recvmsg", "exit_group", "munmap", "faccessat"] {
            assert!(is_needed(call(name, 0)), "{name}");
        }
        assert!(is_needed(call("ioctl", TIOCSCTTY)));
        // The same number is another call there.
        assert!(!is_needed(Call { arch: arch::OURS[1].token(), ..call("setsid", 0) }));
    }
}
