//! What `skiff run` does while its container runs: it forwards signals, reaps children, carries bytes between the
//! outer terminal and the container's, and returns the container's exit status.
//!
//! ```text
//!   Signals::block ─> clone3 ─> … ─> Proxy::start ─> wait ──┬── signalfd ── SIGCHLD ─> reap   others ─> kill(init)
//!                     └ child: unblocked before its exec    ├── stdin ────> master
//!                                                           └── master ───> stdout
//! ```
//!
//! All signals are blocked before the clone, so that none is lost and a child that exits at once is still noticed.

pub mod pidfd;
mod proxy;
mod signals;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, WaitStatus};

use crate::log;
use crate::readiness::Relay;
use crate::sys;

pub use proxy::Proxy;
pub use signals::Signals;
use signals::{Action, Received};

/// Why the foreground cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// sigprocmask(2) or signalfd(2).
    #[error("cannot set up the forwarding of signals")]
    Signals(#[source] std::io::Error),
    /// prctl(2), PR_SET_CHILD_SUBREAPER.
    #[error("cannot become the reaper of the container's orphans; use `--no-subreaper`")]
    Subreaper(#[source] std::io::Error),
    /// poll(2) or reading the signals.
    #[error("cannot wait for the container")]
    Poll(#[source] std::io::Error),
    /// Somebody else reaped it, or it never was ours.
    #[error("process {pid} is not a child of this process; its exit status is lost")]
    NotAChild {
        /// The process that was to be waited for.
        pid: i32,
    },
    /// The terminal's mode cannot be read or set.
    #[error("cannot connect the outer terminal with the container's")]
    Proxy(#[source] std::io::Error),
    /// pidfd_open(2) is newer than this kernel.
    #[error("this kernel has no `pidfd_open` (Linux 5.3); drop `--pidfd-socket`")]
    PidfdMissing,
    /// pidfd_open(2) failed.
    #[error("cannot open a pidfd of process {pid}")]
    Pidfd {
        /// The process.
        pid: i32,
        /// The kernel's reason.
        #[source]
        source: std::io::Error,
    },
    /// The socket of `--pidfd-socket`.
    #[error(transparent)]
    Socket(#[from] crate::terminal::Error),
}

/// Lets orphans of the container become our children (PR_SET_CHILD_SUBREAPER of prctl(2)); not for `--no-subreaper`.
///
/// # Errors
/// [`Error::Subreaper`].
pub fn become_subreaper() -> Result<(), Error> {
    // Any id means "on"; the call is about ourselves.
    rustix::process::set_child_subreaper(Some(Pid::INIT)).map_err(|errno| Error::Subreaper(errno.into()))
}

/// Waits until child `pid` exits, forwarding signals to it meanwhile, and returns its exit status; 128 + n if signal n
/// ended it. Any other child that exits is reaped on the way. What the container wrote to its terminal before it exited
/// is passed on before this returns, and the outer terminal gets its mode back, on every way out.
///
/// # Errors
/// [`Error::NotAChild`] and [`Error::Poll`].
pub fn wait(pid: i32, signals: &Signals, mut proxy: Option<Proxy>, mut relay: Option<Relay>) -> Result<i32, Error> {
    // A child may have exited before the signals were blocked, by a caller's mistake; one sweep costs nothing.
    let mut status = reap(pid)?;
    while status.is_none() {
        if !poll(signals, proxy.as_mut(), &mut relay)? {
            continue;
        }
        let mut exited = false;
        while let Some(received) = signals.next()? {
            exited |= act(received, pid, proxy.as_ref());
        }
        if exited {
            status = reap(pid)?;
        }
    }
    if let Some(proxy) = &mut proxy {
        proxy.drain(signals);
    }
    // Its last words.
    pass_on(&mut relay);
    status.ok_or(Error::NotAChild { pid })
}

/// Passes on what the program says of its readiness. A service manager that does not listen is not asked again.
fn pass_on(relay: &mut Option<Relay>) {
    if let Some(Err(error)) = relay.as_mut().map(|relay| relay.carry(None)) {
        log::warn(&format!("{:#}", anyhow::Error::from(error)));
        *relay = None;
    }
}

/// Sleeps until something happens, carries the proxy's bytes and what the program says of its readiness, and says whether
/// signals are waiting.
fn poll(signals: &Signals, proxy: Option<&mut Proxy>, relay: &mut Option<Relay>) -> Result<bool, Error> {
    let interests = proxy.as_ref().map(|proxy| proxy.interests()).unwrap_or_default();
    let mut polled = vec![PollFd::new(signals, PollFlags::IN)];
    polled.extend(relay.as_ref().map(Relay::waits));
    let others = polled.len();
    if let Some(proxy) = proxy.as_ref() {
        polled.extend(interests.iter().map(|&(end, flags)| PollFd::from_borrowed_fd(proxy.end(end), flags)));
    }
    match rustix::event::poll(&mut polled, None) {
        Err(Errno::INTR) => return Ok(false),
        done => done.map_err(|errno| Error::Poll(errno.into()))?,
    };
    let ready: Vec<PollFlags> = polled.iter().map(PollFd::revents).collect();
    if let Some(proxy) = proxy {
        for (&(end, _), &events) in interests.iter().zip(&ready[others..]) {
            if !events.is_empty() {
                proxy.carry(end);
            }
        }
    }
    if others > 1 && !ready[1].is_empty() {
        pass_on(relay);
    }
    Ok(ready[0].contains(PollFlags::IN))
}

/// Does what one signal asks for; true when children may have exited.
fn act(received: Received, pid: i32, proxy: Option<&Proxy>) -> bool {
    match received.action(std::process::id()) {
        Action::Reap => return true,
        Action::Resize => {
            if let Some(proxy) = proxy {
                proxy.resize();
            }
        }
        Action::Ignore => {}
        Action::Forward(number) => match sys::kill::by_pid(pid, number) {
            Ok(()) => {}
            // It exited a moment ago: the SIGCHLD is on its way.
            Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => {}
            Err(error) => log::warn(&format!("cannot forward signal {number} to the container: {error}")),
        },
    }
    false
}

/// Reaps every child that has exited, and returns the exit status of `pid` if it was among them.
fn reap(pid: i32) -> Result<Option<i32>, Error> {
    let mut found = None;
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((child, status))) => {
                if child.as_raw_nonzero().get() == pid {
                    found = exit_status(status);
                }
            }
            Ok(None) => return Ok(found),
            Err(Errno::INTR) => {}
            Err(Errno::CHILD) if found.is_some() => return Ok(found),
            Err(_no_children_left) => return Err(Error::NotAChild { pid }),
        }
    }
}

/// The number a shell would show; `None` for a child that only stopped.
fn exit_status(status: WaitStatus) -> Option<i32> {
    status.exit_status().or_else(|| status.terminating_signal().map(|number| 128 + number))
}
