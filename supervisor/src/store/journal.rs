//! A list of short lines that only grows at its end, each on disk before the next step is taken: what happened, in order. A
//! line that a power cut tore is as if it had never been written; one that went bad is left out and counted.

use super::{Error, fail, read_bytes};
use rustix::fs::{Mode, OFlags};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The longest line in bytes: with its checksum it stays below 200, which no disk tears in more than two.
pub const LONGEST: usize = 180;
/// Sixteen digits and a space.
const PREFIX: usize = 17;

/// A journal that is open for writing.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// None when the last write is not known to have reached the disk, or none was possible: the file is then written anew
    /// before anything is added.
    file: Option<File>,
    /// How long the file is; past `limit` its older half goes.
    length: u64,
    limit: u64,
}

/// What a journal holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// The lines that are whole, the oldest first.
    pub whole: Vec<String>,
    /// How many are not.
    pub bad: usize,
}

impl Journal {
    /// Opens a journal or begins one, and reads what it holds. Past `limit` bytes its older half is dropped. A disk that takes
    /// nothing is told of, and hinders only whoever has a line to add: what is there can be run without one.
    ///
    /// # Errors
    /// [`Error::File`] when what it holds cannot be read.
    pub fn open(path: &Path, limit: u64) -> Result<(Self, Lines), Error> {
        let held = read_bytes(path)?;
        let is_new = held.is_none();
        let bytes = held.unwrap_or_default();
        let lines = parse(&bytes);
        let mut journal = Self { path: path.to_owned(), file: None, length: bytes.len() as u64, limit };
        let opened = if lines.bad > 0 {
            // A torn line would swallow the next one.
            journal.rewrite(&lines.whole)
        } else {
            append_to(path).and_then(|file| if is_new { super::sync_folder(path).map(|()| file) } else { Ok(file) })
        };
        match opened {
            Ok(file) => journal.file = Some(file),
            Err(error) => tracing::warn!("nothing can be noted yet: {:#}", anyhow::Error::from(error)),
        }
        Ok((journal, lines))
    }

    /// Adds a line, and returns when it is on disk.
    ///
    /// # Errors
    /// [`Error::Line`] for one that is too long or has a line break. After [`Error::File`] the line may be there or not; the
    /// next one is added to a file that was written anew, because a disk says only once that it lost something.
    pub fn append(&mut self, text: &str) -> Result<(), Error> {
        if text.len() > LONGEST || text.contains('\n') {
            return Err(Error::Line { path: self.path.clone(), length: text.len() });
        }
        let mut file = match self.file.take().filter(|_| self.length <= self.limit) {
            Some(file) => file,
            None => {
                let held = parse(&read_bytes(&self.path)?.unwrap_or_default());
                self.rewrite(newest(&held.whole, self.limit / 2))?
            }
        };
        let line = line(text);
        file.write_all(line.as_bytes()).map_err(fail("write", &self.path))?;
        file.sync_data().map_err(fail("sync", &self.path))?;
        self.length += line.len() as u64;
        self.file = Some(file);
        Ok(())
    }

    fn rewrite(&mut self, lines: &[String]) -> Result<File, Error> {
        let text: String = lines.iter().map(|text| line(text)).collect();
        super::publish_bytes(&self.path, text.as_bytes())?;
        self.length = text.len() as u64;
        append_to(&self.path)
    }
}

/// Reads a journal that somebody else may be writing.
///
/// # Errors
/// [`Error::File`]
pub fn read(path: &Path) -> Result<Lines, Error> {
    Ok(parse(&read_bytes(path)?.unwrap_or_default()))
}

fn append_to(path: &Path) -> Result<File, Error> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR);
    file.map(File::from).map_err(|errno| fail("open", path)(errno.into()))
}

fn line(text: &str) -> String {
    format!("{} {text}\n", checksum(text))
}

fn checksum(text: &str) -> String {
    format!("{:x}", Sha256::digest(text))[..PREFIX - 1].to_owned()
}

fn parse(bytes: &[u8]) -> Lines {
    let mut lines = Lines::default();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_suffix(b"\n").and_then(checked) {
            Some(text) => lines.whole.push(text.to_owned()),
            None => lines.bad += 1,
        }
    }
    lines
}

fn checked(line: &[u8]) -> Option<&str> {
    let (prefix, text) = std::str::from_utf8(line).ok()?.split_at_checked(PREFIX)?;
    (prefix.strip_suffix(' ')? == checksum(text)).then_some(text)
}

/// The last lines that fit.
fn newest(lines: &[String], limit: u64) -> &[String] {
    let mut room = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut first = lines.len();
    while first > 0 && lines[first - 1].len() + PREFIX < room {
        first -= 1;
        room -= lines[first].len() + PREFIX + 1;
    }
    &lines[first..]
}

#[cfg(test)]
mod tests;
