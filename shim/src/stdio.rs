//! The streams of a process: where the caller wants them, what the runtime is given for them, and the copying between.
//!
//! ```text
//!   fifo ──> pipe ──> stdin   container   stdout ──> pipe ──> fifo, file or rotated log
//!                     stdin   container   stdout <─> terminal <─> fifo (console socket)
//! ```
//!
//! A pipe lies between even where the far end is a file: what a container holds open is then nobody's file on the host,
//! and the far end can be closed, rotated or full without the container knowing.

mod console;
mod copy;
mod cri;
mod rotate;
mod uri;

pub(crate) use console::ConsoleSocket;
pub(crate) use rotate::Logs;
pub(crate) use uri::Error as UriError;

use crate::sys::watched;
use copy::Sink;
use cri::{Lines, Stream};
use rustix::fs::{FileType, Mode, OFlags, fcntl_setfl, fstat, open};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::termios::{Winsize, tcsetwinsize};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use uri::Place;

/// How long the end of a process waits for the rest of its output: a grandchild may hold the pipes for ever.
const DRAIN: Duration = Duration::from_secs(2);

/// What the caller asked for, as it is given back by State.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) stdin: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) terminal: bool,
}

/// Why a stream cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It is not a place.
    #[error(transparent)]
    Uri(#[from] UriError),
    /// The far end cannot be opened.
    #[error("stdio `{path}` cannot be opened")]
    Open { path: PathBuf, source: io::Error },
    /// Something else is there.
    #[error("stdio `{0}` is not a fifo; write `file://` before the path of a file")]
    NotAFifo(PathBuf),
    /// Opening it would wait for a reader, and its bytes would be cut into files.
    #[error("stdio `{0}` is a fifo; write its path alone")]
    Fifo(PathBuf),
    /// The kernel refused a pipe or a copy of a descriptor.
    #[error("the pipes of stdio cannot be made")]
    Pipe(#[source] io::Error),
}

/// The ends that the runtime gets.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) stdin: OwnedFd,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

/// The streams of one process. Dropping it ends all copying.
#[derive(Debug)]
pub(crate) struct Io {
    copies: Vec<JoinHandle<()>>,
    /// Output streams that have not ended.
    open: watch::Receiver<usize>,
    counter: Arc<watch::Sender<usize>>,
    close_stdin: Arc<Notify>,
    console: Option<OwnedFd>,
}

impl Drop for Io {
    fn drop(&mut self) {
        for copy in &self.copies {
            copy.abort();
        }
    }
}

/// Far ends that are open, before there is a process.
#[derive(Debug)]
pub(crate) struct Prepared {
    stdin: Option<OwnedFd>,
    stdout: Option<Sink>,
    stderr: Option<Sink>,
}

/// Opens the far ends.
///
/// # Errors
/// See [`Error`]; nothing is left then.
pub(crate) fn prepare(wanted: &Wanted, logs: &Logs) -> Result<Prepared, Error> {
    let stdin = match uri::input(&wanted.stdin)? {
        Place::Fifo(path) => Some(fifo(&path)?),
        Place::Nothing | Place::File(_) | Place::Log(..) => None,
    };
    let stdout = sink(&wanted.stdout, Stream::Stdout, logs)?;
    // A terminal has one way out.
    let stderr = if wanted.terminal { None } else { sink(&wanted.stderr, Stream::Stderr, logs)? };
    Ok(Prepared { stdin, stdout, stderr })
}

impl Prepared {
    /// Connects a process without a terminal: the ends for its runtime, given to `owner` where there is one, and the
    /// copying, which begins at once.
    ///
    /// # Errors
    /// [`Error::Pipe`].
    pub(crate) fn connect(self, owner: (u32, u32)) -> Result<(Ends, Io), Error> {
        let mut io = Io::new();
        let stdin = match self.stdin {
            Some(fifo) => {
                let (reader, writer) = pipe(owner)?;
                io.copy_input(fifo, non_blocking(writer)?)?;
                reader
            }
            None => null(OFlags::RDONLY)?,
        };
        let mut output = |sink: Option<Sink>| -> Result<OwnedFd, Error> {
            let Some(sink) = sink else { return null(OFlags::WRONLY) };
            let (reader, writer) = pipe(owner)?;
            io.copy_output(non_blocking(reader)?, sink)?;
            Ok(writer)
        };
        let (stdout, stderr) = (output(self.stdout)?, output(self.stderr)?);
        Ok((Ends { stdin, stdout, stderr }, io))
    }

    /// Connects a process with a terminal, once the runtime has sent it.
    ///
    /// # Errors
    /// [`Error::Pipe`].
    pub(crate) fn connect_console(self, console: OwnedFd) -> Result<Io, Error> {
        let copied = || console.try_clone().map_err(Error::Pipe).and_then(non_blocking);
        let mut io = Io::new();
        if let Some(fifo) = self.stdin {
            io.copy_input(fifo, copied()?)?;
        }
        // Without a reader a program on the terminal would stop when it is full.
        let sink = match self.stdout {
            Some(sink) => sink,
            None => Sink::File(null(OFlags::WRONLY)?.into()),
        };
        io.copy_output(copied()?, sink)?;
        io.console = Some(console);
        Ok(io)
    }
}

/// What a runtime gets while it makes a process with a terminal.
///
/// # Errors
/// [`Error::Pipe`].
pub(crate) fn no_ends() -> Result<Ends, Error> {
    Ok(Ends { stdin: null(OFlags::RDONLY)?, stdout: null(OFlags::WRONLY)?, stderr: null(OFlags::WRONLY)? })
}

impl Io {
    fn new() -> Self {
        let (counter, open) = watch::channel(0);
        let (copies, close_stdin) = (Vec::new(), Arc::new(Notify::new()));
        Self { copies, open, counter: Arc::new(counter), close_stdin, console: None }
    }

    fn copy_output(&mut self, source: OwnedFd, mut sink: Sink) -> Result<(), Error> {
        let source = watched(source, Interest::READABLE).map_err(Error::Pipe)?;
        self.counter.send_modify(|open| *open += 1);
        let counter = Arc::clone(&self.counter);
        self.copies.push(tokio::spawn(async move {
            copy::copy(&source, &mut sink, &Notify::new()).await;
            // The far end is closed before anybody hears that all is said.
            drop(sink);
            counter.send_modify(|open| *open -= 1);
        }));
        Ok(())
    }

    fn copy_input(&mut self, fifo: OwnedFd, target: OwnedFd) -> Result<(), Error> {
        let source = watched(fifo, Interest::READABLE).map_err(Error::Pipe)?;
        let mut sink = Sink::descriptor(target).map_err(Error::Pipe)?;
        let closed = Arc::clone(&self.close_stdin);
        // We hold the fifo's writing end ourselves, so that a caller may go and come back: it ends by CloseIO alone.
        self.copies.push(tokio::spawn(async move { copy::copy(&source, &mut sink, &closed).await }));
        Ok(())
    }

    /// Lets standard input end, after what is in the fifo now.
    pub(crate) fn close_stdin(&self) {
        self.close_stdin.notify_one();
    }

    /// Says how large the terminal is; without one nothing happens.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn resize(&self, width: u16, height: u16) -> io::Result<()> {
        let size = Winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
        match &self.console {
            Some(console) => Ok(tcsetwinsize(console, size)?),
            None => Ok(()),
        }
    }

    /// Waits until everything that was said has reached its far end, for a while at most.
    pub(crate) fn drained(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut open = self.open.clone();
        async move {
            let _given_up_after_a_while = tokio::time::timeout(DRAIN, open.wait_for(|open| *open == 0)).await;
        }
    }
}

fn sink(uri: &str, stream: Stream, logs: &Logs) -> Result<Option<Sink>, Error> {
    let opened = |path: &Path, result: io::Result<Sink>| {
        result.map(Some).map_err(|source| Error::Open { path: path.to_owned(), source })
    };
    match uri::output(uri)? {
        Place::Nothing => Ok(None),
        Place::Fifo(path) => {
            let descriptor = fifo(&path)?;
            opened(&path, Sink::descriptor(descriptor))
        }
        Place::File(path) => {
            no_fifo(&path)?;
            opened(&path, rotate::append(&path).map(Sink::File))
        }
        Place::Log(path, limits) => {
            no_fifo(&path)?;
            let log = logs.open(&path, limits);
            opened(&path, log.map(|log| Sink::Log(log, Lines::new(stream))))
        }
    }
}

/// Opens a fifo for both: Linux does so without waiting for the other side (fifo(7)), and then the other side may go and
/// come back without an EPIPE here or an end of file there.
fn fifo(path: &Path) -> Result<OwnedFd, Error> {
    let failed = |source: rustix::io::Errno| Error::Open { path: path.to_owned(), source: source.into() };
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let descriptor = open(path, flags, Mode::empty()).map_err(failed)?;
    let kind = FileType::from_raw_mode(fstat(&descriptor).map_err(failed)?.st_mode);
    if kind == FileType::Fifo { Ok(descriptor) } else { Err(Error::NotAFifo(path.to_owned())) }
}

fn no_fifo(path: &Path) -> Result<(), Error> {
    let is_fifo = std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo());
    if is_fifo { Err(Error::Fifo(path.to_owned())) } else { Ok(()) }
}

fn pipe((user, group): (u32, u32)) -> Result<(OwnedFd, OwnedFd), Error> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| Error::Pipe(error.into()))?;
    if (user, group) != (0, 0) {
        for end in [&reader, &writer] {
            std::os::unix::fs::fchown(end.as_fd(), Some(user), Some(group)).map_err(Error::Pipe)?;
        }
    }
    Ok((reader, writer))
}

/// Each end of a pipe has flags of its own, so the container's end still blocks.
fn non_blocking(descriptor: OwnedFd) -> Result<OwnedFd, Error> {
    fcntl_setfl(&descriptor, OFlags::NONBLOCK).map_err(|error| Error::Pipe(error.into()))?;
    Ok(descriptor)
}

fn null(access: OFlags) -> Result<OwnedFd, Error> {
    open("/dev/null", access | OFlags::CLOEXEC, Mode::empty()).map_err(|error| Error::Pipe(error.into()))
}
