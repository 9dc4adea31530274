//! Standard output and standard error, for text that is whole and for streams. That nobody reads any more is an error of
//! its own kind, because it ends a command without a word.

use crate::control::Stream;
use std::io::{self, BufWriter, Stderr, Stdout, Write as _};

/// What was to be said cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write")]
pub(super) struct Unprinted(#[from] io::Error);

impl Unprinted {
    /// The reader has gone, as `head` does.
    pub(super) fn nobody_reads(&self) -> bool {
        self.0.kind() == io::ErrorKind::BrokenPipe
    }
}

/// Prints text.
pub(super) fn text(text: &str) -> Result<(), Unprinted> {
    let mut stdout = io::stdout();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

/// Both, with what is written to either in order.
pub(super) struct Both {
    stdout: BufWriter<Stdout>,
    stderr: BufWriter<Stderr>,
    last: Stream,
}

impl Both {
    pub(super) fn new() -> Self {
        let (stdout, stderr) = (BufWriter::new(io::stdout()), BufWriter::new(io::stderr()));
        Self { stdout, stderr, last: Stream::Stdout }
    }

    pub(super) fn write(&mut self, to: Stream, text: &str) -> Result<(), Unprinted> {
        if std::mem::replace(&mut self.last, to) != to {
            // They may be the same terminal, and then the order is seen.
            self.flush()?;
        }
        match to {
            Stream::Stdout => self.stdout.write_all(text.as_bytes())?,
            Stream::Stderr => self.stderr.write_all(text.as_bytes())?,
        }
        Ok(())
    }

    pub(super) fn flush(&mut self) -> Result<(), Unprinted> {
        self.stdout.flush()?;
        self.stdout.get_mut().flush()?;
        Ok(self.stderr.flush()?)
    }
}
