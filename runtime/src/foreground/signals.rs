//! All signals of the foreground process as a descriptor, and what each asks for (signal(7), signalfd(2)).

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::Error;
use crate::sys;

/// Every signal, blocked and readable.
#[derive(Debug)]
pub struct Signals {
    descriptor: SignalFd,
}

impl Signals {
    /// Blocks all signals. To be called before the container's process is cloned: then a child that exits at once,
    /// or a signal that comes early, waits in the descriptor.
    ///
    /// # Errors
    /// [`Error::Signals`].
    pub fn block() -> Result<Self, Error> {
        // A caller that ignores SIGCHLD passes that on to us, and then the kernel reaps our children itself: their
        // exit status would be lost (wait(2)).
        sys::signals::restore_default(libc::SIGCHLD);
        let all = SigSet::all();
        let failed = |errno: nix::errno::Errno| Error::Signals(errno.into());
        all.thread_set_mask().map_err(failed)?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        Ok(Self { descriptor: SignalFd::with_flags(&all, flags).map_err(failed)? })
    }

    /// The next signal that is waiting.
    pub(super) fn next(&self) -> Result<Option<Received>, Error> {
        match self.descriptor.read_signal() {
            Ok(read) => Ok(read.map(|info| Received { number: info.ssi_signo as i32, sender: info.ssi_pid })),
            Err(nix::errno::Errno::EINTR) => Ok(None),
            Err(errno) => Err(Error::Poll(errno.into())),
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// A signal that came, with the process that sent it (0 for the kernel).
#[derive(Clone, Copy, Debug)]
pub(super) struct Received {
    pub(super) number: i32,
    pub(super) sender: u32,
}

/// What a signal asks the foreground process to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Children changed state.
    Reap,
    /// The outer terminal has another size.
    Resize,
    /// Not meant for the container.
    Ignore,
    /// Send the container's first process the same.
    Forward(i32),
}

impl Received {
    /// Decides as runc does: everything but SIGCHLD, SIGWINCH and SIGURG is forwarded. `own` is our process id: what we
    /// caused ourselves (SIGPIPE of a standard output that was closed) is not the container's business.
    pub(super) fn action(self, own: u32) -> Action {
        match self.number {
            libc::SIGCHLD => Action::Reap,
            libc::SIGWINCH => Action::Resize,
            libc::SIGURG => Action::Ignore,
            _ if self.sender == own => Action::Ignore,
            number => Action::Forward(number),
        }
    }

    /// Whether the sender wants us to end, which matters only when the container has ended already.
    pub(super) fn ends(self) -> bool {
        matches!(self.number, libc::SIGTERM | libc::SIGINT | libc::SIGHUP | libc::SIGQUIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_sorted() {
        let check = |number, sender, expected| assert_eq!(Received { number, sender }.action(7), expected);
        check(libc::SIGCHLD, 9, Action::Reap);
        check(libc::SIGWINCH, 0, Action::Resize);
        check(libc::SIGURG, 9, Action::Ignore);
        check(libc::SIGPIPE, 7, Action::Ignore);
        check(libc::SIGPIPE, 9, Action::Forward(libc::SIGPIPE));
        check(libc::SIGTERM, 9, Action::Forward(libc::SIGTERM));
        check(40, 9, Action::Forward(40));
    }
}
