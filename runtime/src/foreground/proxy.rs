//! Carries bytes between our standard streams and the master of the container's terminal, with the outer terminal in
//! raw mode meanwhile, so that the container's own line discipline does the echoing and the Ctrl-C.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, Termios};

use super::{Error, Signals};

/// The most bytes that wait in one direction; beyond it the writer has to wait, as with a pipe.
const CAPACITY: usize = 16 * 1024;
/// How much is written at once: a pipe that poll(2) calls writable takes this much without blocking (PIPE_BUF, pipe(7)).
const CHUNK: usize = 4096;
/// More than a terminal can hold: where draining ends when somebody goes on writing after the container's exit.
const DRAIN_LIMIT: usize = 256 * 1024;

/// The connection of the outer terminal with the container's.
#[derive(Debug)]
pub struct Proxy {
    master: OwnedFd,
    /// A slave of our own: while one is open the master never hangs up, so a container that closes its terminal and
    /// opens it again loses nothing, and poll(2) does not report POLLHUP without end.
    _kept_open: Option<OwnedFd>,
    input_open: bool,
    output_open: bool,
    master_open: bool,
    to_container: Vec<u8>,
    to_output: Vec<u8>,
    /// Dropped with the proxy, on every way out.
    _raw: Option<RawMode>,
}

/// One of the three descriptors that the proxy reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Input,
    Output,
    Master,
}

impl Proxy {
    /// Takes the master over, copies the outer terminal's size to it and puts the outer terminal into raw mode. Standard
    /// streams that are no terminal (a pipe, a file) are carried all the same.
    ///
    /// # Errors
    /// [`Error::Proxy`] when `master` is no terminal or the outer terminal's mode cannot be set.
    pub fn start(master: OwnedFd) -> Result<Self, Error> {
        let failed = |errno: Errno| Error::Proxy(errno.into());
        // A container that does not read must not block us: its output would never be read, and both would wait.
        rustix::io::ioctl_fionbio(&master, true).map_err(failed)?;
        let slave = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let kept_open = rustix::pty::ioctl_tiocgptpeer(&master, slave).ok();
        let proxy = Self {
            master,
            _kept_open: kept_open,
            input_open: true,
            output_open: true,
            master_open: true,
            to_container: Vec::new(),
            to_output: Vec::new(),
            _raw: RawMode::enter().map_err(failed)?,
        };
        proxy.resize();
        Ok(proxy)
    }

    /// Gives the container's terminal the size of the outer one, if there is one.
    pub(super) fn resize(&self) {
        let outer = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
        if let Some(size) = outer.iter().find_map(|stream| rustix::termios::tcgetwinsize(stream).ok()) {
            // A size is a convenience: a container that cannot have it still runs.
            let _unimportant = rustix::termios::tcsetwinsize(&self.master, size);
        }
    }

    /// The descriptors to poll, and for what.
    pub(super) fn interests(&self) -> Vec<(End, PollFlags)> {
        let mut interests = Vec::with_capacity(3);
        if self.input_open && self.to_container.len() < CAPACITY {
            interests.push((End::Input, PollFlags::IN));
        }
        if self.output_open && !self.to_output.is_empty() {
            interests.push((End::Output, PollFlags::OUT));
        }
        let mut master = PollFlags::empty();
        master.set(PollFlags::IN, self.to_output.len() < CAPACITY);
        master.set(PollFlags::OUT, !self.to_container.is_empty());
        if self.master_open && !master.is_empty() {
            interests.push((End::Master, master));
        }
        interests
    }

    pub(super) fn end(&self, end: End) -> BorrowedFd<'_> {
        match end {
            End::Input => rustix::stdio::stdin(),
            End::Output => rustix::stdio::stdout(),
            End::Master => self.master.as_fd(),
        }
    }

    /// Moves what can be moved at one end. A stream that fails is closed for us and the other directions go on: the
    /// container must not notice that nobody listens any more.
    pub(super) fn carry(&mut self, end: End) {
        match end {
            End::Input => self.input_open = fill(rustix::stdio::stdin(), &mut self.to_container),
            End::Output => {
                self.output_open = empty(rustix::stdio::stdout(), &mut self.to_output);
                if !self.output_open {
                    self.to_output.clear();
                }
            }
            End::Master => {
                self.master_open = empty(self.master.as_fd(), &mut self.to_container);
                if self.to_output.len() < CAPACITY {
                    self.master_open &= fill(self.master.as_fd(), &mut self.to_output);
                }
                if !self.output_open {
                    self.to_output.clear();
                }
            }
        }
    }

    /// Passes on what the container wrote before it exited. Reading a master flushes the kernel's queue first
    /// (n_tty_read), so EAGAIN means that there is nothing left. A signal that asks us to end stops an output that is
    /// stuck.
    pub(super) fn drain(&mut self, signals: &Signals) {
        let mut left = DRAIN_LIMIT;
        while left > 0 {
            let before = self.to_output.len();
            let more = fill(self.master.as_fd(), &mut self.to_output) && self.to_output.len() > before;
            left = left.saturating_sub(self.to_output.len() - before);
            if !self.flush(signals) || !more {
                return;
            }
        }
    }

    /// Writes all of `to_output`; false when that is not possible any more.
    fn flush(&mut self, signals: &Signals) -> bool {
        while self.output_open && !self.to_output.is_empty() {
            let output = rustix::stdio::stdout();
            let mut polled = [PollFd::new(signals, PollFlags::IN), PollFd::from_borrowed_fd(output, PollFlags::OUT)];
            let polling = rustix::event::poll(&mut polled, None);
            let (signalled, writable) = (!polled[0].revents().is_empty(), !polled[1].revents().is_empty());
            match polling {
                Err(Errno::INTR) => continue,
                Err(_cannot_wait) => return false,
                Ok(_) => {}
            }
            if writable {
                self.carry(End::Output);
            }
            while let Some(received) = if signalled { signals.next().unwrap_or(None) } else { None } {
                if received.ends() {
                    return false;
                }
            }
        }
        self.output_open
    }
}

/// Reads once from `source` into `buffer`; false at its end.
fn fill(source: BorrowedFd<'_>, buffer: &mut Vec<u8>) -> bool {
    let mut bytes = [0; CHUNK];
    match rustix::io::read(source, &mut bytes) {
        Ok(0) => false,
        Ok(length) => {
            buffer.extend_from_slice(&bytes[..length]);
            true
        }
        Err(errno) => is_passing(errno),
    }
}

/// Writes once from `buffer` to `target`; false when nobody reads there any more.
fn empty(target: BorrowedFd<'_>, buffer: &mut Vec<u8>) -> bool {
    if buffer.is_empty() {
        return true;
    }
    match rustix::io::write(target, &buffer[..buffer.len().min(CHUNK)]) {
        Ok(written) => {
            buffer.drain(..written);
            true
        }
        Err(errno) => is_passing(errno),
    }
}

fn is_passing(errno: Errno) -> bool {
    matches!(errno, Errno::AGAIN | Errno::INTR)
}

/// The outer terminal without echo, lines and signals; as it was before when dropped.
#[derive(Debug)]
struct RawMode {
    before: Termios,
}

impl RawMode {
    /// `None` when standard input is no terminal.
    fn enter() -> Result<Option<Self>, Errno> {
        let terminal = rustix::stdio::stdin();
        if !rustix::termios::isatty(terminal) {
            return Ok(None);
        }
        let before = rustix::termios::tcgetattr(terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(terminal, OptionalActions::Now, &raw)?;
        Ok(Some(Self { before }))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // A terminal that has gone away needs no mode.
        let _gone = rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &self.before);
    }
}
