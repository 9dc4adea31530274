//! A log file of bounded size: when it is full it becomes `NAME.1`, what was `NAME.1` becomes `NAME.2`, and the oldest
//! goes. One log has one writer here, however many streams and containers are written into it.

use super::uri::Limits;
use rustix::fs::{Mode, OFlags, open};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A log that several streams share.
pub(crate) type Shared = Arc<Mutex<Log>>;

/// One log.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    file: File,
    size: u64,
    limits: Limits,
    /// Bytes that could not be written, for want of space mostly.
    lost: u64,
}

impl Log {
    fn open(path: &Path, limits: Limits) -> io::Result<Self> {
        let file = append(path)?;
        let size = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, size, limits, lost: 0 })
    }

    /// Appends whole lines. What cannot be written is counted and given up, because the container must go on.
    pub(crate) fn append(&mut self, lines: &[u8]) {
        let mut rest = lines;
        while !rest.is_empty() {
            let room = self.limits.max_size.saturating_sub(self.size);
            let length = whole_lines(rest, room);
            if length == 0 && self.size > 0 {
                if let Err(error) = self.rotate() {
                    // Growing beyond the limit is better than losing what the container says.
                    tracing::warn!(path = %self.path.display(), %error, "log cannot be rotated");
                    self.write(rest);
                    return;
                }
                continue;
            }
            // A line that is longer than a whole file gets a file of its own.
            let length = if length == 0 { first_line(rest) } else { length };
            self.write(&rest[..length]);
            rest = &rest[length..];
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        match self.file.write_all(bytes) {
            Ok(()) => {
                self.size += bytes.len() as u64;
                if self.lost > 0 {
                    tracing::warn!(path = %self.path.display(), bytes = self.lost, "log has a gap");
                    self.lost = 0;
                }
            }
            Err(error) => {
                if self.lost == 0 {
                    tracing::warn!(path = %self.path.display(), %error, "log cannot be written");
                }
                self.lost += bytes.len() as u64;
            }
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        let oldest = self.limits.max_files - 1;
        if oldest == 0 {
            self.file.set_len(0)?;
            self.size = 0;
            return Ok(());
        }
        for number in (1..oldest).rev() {
            put_aside(&self.numbered(number), &self.numbered(number + 1))?;
        }
        put_aside(&self.path, &self.numbered(1))?;
        self.file = append(&self.path)?;
        self.size = 0;
        Ok(())
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

/// Somebody may have removed the file; then there is nothing to put aside, and what follows begins a new one.
fn put_aside(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// How much of `lines` fits into `room` without breaking a line.
fn whole_lines(lines: &[u8], room: u64) -> usize {
    let fits = usize::try_from(room).unwrap_or(usize::MAX);
    if lines.len() <= fits {
        return lines.len();
    }
    lines[..fits].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)
}

fn first_line(lines: &[u8]) -> usize {
    lines.iter().position(|byte| *byte == b'\n').map_or(lines.len(), |end| end + 1)
}

/// Opens a file for appending; what a container says is its owner's and its group's to read. Something else that was put
/// in its place must not stop our one thread.
pub(super) fn append(path: &Path) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC;
    Ok(open(path, flags | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::from_raw_mode(0o640))?.into())
}

/// The logs of this process by path, so that two streams never rotate one file against each other.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    open: Mutex<HashMap<PathBuf, Weak<Mutex<Log>>>>,
}

impl Logs {
    /// The log at `path`; the limits of who opened it first hold.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub(crate) fn open(&self, path: &Path, limits: Limits) -> io::Result<Shared> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(log) = open.get(path).and_then(Weak::upgrade) {
            return Ok(log);
        }
        open.retain(|_, log| log.strong_count() > 0);
        let log = Arc::new(Mutex::new(Log::open(path, limits)?));
        open.insert(path.to_owned(), Arc::downgrade(&log));
        Ok(log)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(max_size: u64, max_files: u32, lines: usize) -> Vec<(String, String)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut log = Log::open(&path, Limits { max_size, max_files }).unwrap();
        for number in 0..lines {
            log.append(format!("line {number:04}\n").as_bytes());
        }
        let mut files: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read_to_string(entry.path()).unwrap()))
            .collect();
        files.sort();
        files
    }

    #[test]
    fn files_are_put_aside_when_full_and_the_oldest_goes() {
        let files = filled(30, 3, 10);
        let names: Vec<_> = files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["log", "log.1", "log.2"]);
        assert_eq!(files[0].1, "line 0009\n");
        assert_eq!(files[1].1, "line 0006\nline 0007\nline 0008\n");
        assert_eq!(files[2].1, "line 0003\nline 0004\nline 0005\n");
        assert_eq!(filled(30, 1, 10), [("log".to_owned(), "line 0009\n".to_owned())]);
        assert_eq!(filled(3000, 3, 10).len(), 1);
    }

    #[test]
    fn one_append_of_many_lines_and_one_line_of_many_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut log = Log::open(&path, Limits { max_size: 20, max_files: 100 }).unwrap();
        let all = "short\n".repeat(50) + &"x".repeat(50) + "\nend\n";
        log.append(all.as_bytes());
        let mut seen = String::new();
        for number in (1..100).rev() {
            seen += &std::fs::read_to_string(log.numbered(number)).unwrap_or_default();
        }
        seen += &std::fs::read_to_string(&path).unwrap();
        assert_eq!(seen, all);
    }

    /// Sizes have 64 bits, and so have places in files (O_LARGEFILE, without which open(2) answers EOVERFLOW).
    #[test]
    fn a_log_beyond_4_gib_is_one_like_any_other() {
        const LARGE: u64 = 5 << 30;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        File::create(&path).unwrap().set_len(LARGE).unwrap();
        let mut log = Log::open(&path, Limits { max_size: LARGE + 8, max_files: 2 }).unwrap();
        log.append(b"here\n");
        assert_eq!(std::fs::metadata(&path).unwrap().len(), LARGE + 5);
        log.append(b"next\n");
        assert_eq!(std::fs::metadata(log.numbered(1)).unwrap().len(), LARGE + 5);
        assert_eq!((log.lost, std::fs::read_to_string(&path).unwrap().as_str()), (0, "next\n"));
    }

    #[test]
    fn a_log_goes_on_where_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let limits = Limits { max_size: 12, max_files: 2 };
        Log::open(&path, limits).unwrap().append(b"before\n");
        let mut log = Log::open(&path, limits).unwrap();
        log.append(b"after\n");
        assert_eq!(std::fs::read_to_string(log.numbered(1)).unwrap(), "before\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "after\n");
    }

    #[test]
    fn streams_share_one_log_and_a_full_disk_is_survived() {
        let folder = tempfile::tempdir().unwrap();
        let logs = Logs::default();
        let path = folder.path().join("log");
        let first = logs.open(&path, Limits::default()).unwrap();
        assert!(Arc::ptr_eq(&first, &logs.open(&path, Limits::default()).unwrap()));
        assert!(logs.open(Path::new("/does/not/exist"), Limits::default()).is_err());
        let full = logs.open(Path::new("/dev/full"), Limits::default()).unwrap();
        full.lock().unwrap().append(b"gone\n");
        assert_eq!(full.lock().unwrap().lost, 5);
    }
}
