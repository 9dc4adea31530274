//! The files of one log, from the oldest that is read to the one that is written: `<id>.log` becomes `<id>.log.1` when it is
//! full, what was `<id>.log.1` becomes `<id>.log.2`, and the oldest goes. Files are known by their numbers on the file system
//! (inode(7)), which renaming does not change, and are held open, so that no other can have the same number.

use super::cri::{Cutter, Piece};
use rustix::fs::{Mode, OFlags};
use skiff_planner::name::InstanceId;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// What is read at once, in bytes.
const BLOCK: usize = 16 << 10;
/// Older files are not read: each costs a descriptor.
const MOST_FILES: usize = 100;
/// File systems take the time of a change from a clock that lags by a tick (ktime_get_coarse).
const LAG: Duration = Duration::from_secs(1);

/// One log, and how far it is read.
#[derive(Debug)]
pub(super) struct Source {
    path: PathBuf,
    instance: InstanceId,
    /// The oldest first. The last one stays when it is read, because more may come.
    files: VecDeque<Part>,
    cutter: Cutter,
    follow: bool,
    /// Only as far as the files went when they were opened.
    bounded: bool,
}

/// One file.
#[derive(Debug)]
struct Part {
    file: File,
    /// Device and inode.
    number: (u64, u64),
    /// How far it is read.
    at: u64,
    /// Its length when it was opened.
    length: u64,
    modified: SystemTime,
}

impl Source {
    /// Opens what there is of a log, without the files that ended before `since`.
    pub(super) fn open(
        folder: &Path,
        instance: &InstanceId,
        follow: bool,
        since: Option<SystemTime>,
    ) -> io::Result<Self> {
        let path = folder.join(format!("{instance}.log"));
        let mut files = chain(&path, None)?;
        let since = since.and_then(|since| since.checked_sub(LAG));
        while files.len() > 1 && since.is_some_and(|since| files[0].modified < since) {
            files.pop_front();
        }
        let instance = instance.clone();
        Ok(Self { path, instance, files, cutter: Cutter::default(), follow, bounded: true })
    }

    pub(super) fn instance(&self) -> &InstanceId {
        &self.instance
    }

    /// Goes to the beginning of so many of the last lines, and returns how many there are.
    pub(super) async fn rewind(&mut self, lines: u64) -> io::Result<u64> {
        let mut missing = lines;
        let mut wanted = VecDeque::new();
        while let Some(mut part) = self.files.pop_back() {
            if missing == 0 && !wanted.is_empty() {
                break;
            }
            missing -= part.rewind(missing).await?;
            wanted.push_front(part);
        }
        self.files = wanted;
        Ok(lines - missing)
    }

    /// The next piece, if there is one now.
    pub(super) fn next(&mut self) -> io::Result<Option<Piece>> {
        loop {
            if let Some(piece) = self.cutter.next() {
                return Ok(Some(piece));
            }
            let Some(part) = self.files.front_mut() else { return Ok(None) };
            if part.read(&mut self.cutter, self.bounded)? {
                continue;
            }
            let is_last = self.files.len() == 1;
            if is_last && self.follow {
                return Ok(None);
            }
            if !is_last {
                self.files.pop_front();
            }
            // Nothing will be written there any more.
            match self.cutter.finish() {
                None if is_last => return Ok(None),
                None => {}
                piece => return Ok(piece),
            }
        }
    }

    /// Looks for what was written since, in this file or, after a rotation, in others.
    pub(super) fn refresh(&mut self) -> io::Result<()> {
        self.bounded = false;
        let Some(last) = self.files.back_mut() else {
            self.files = chain(&self.path, None)?;
            return Ok(());
        };
        match std::fs::symlink_metadata(&self.path) {
            // Between two renames.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(now) if (now.dev(), now.ino()) == last.number => {
                // With one file in all, a log that is full is begun anew.
                if now.len() < last.at {
                    last.at = 0;
                    self.cutter = Cutter::default();
                }
            }
            // The writer is done with the file before it makes the next: it is read to its end, and then those.
            Ok(_other) => {
                let later = chain(&self.path, Some(last))?;
                self.files.extend(later);
            }
        }
        Ok(())
    }
}

/// Opens the files of a log, the oldest first; only those after `known`, if it is given.
fn chain(path: &Path, known: Option<&Part>) -> io::Result<VecDeque<Part>> {
    let mut found: VecDeque<Part> = VecDeque::new();
    let mut gap = false;
    for number in 0..MOST_FILES {
        match Part::open(&numbered(path, number)) {
            Ok(part) if known.is_some_and(|known| known.number == part.number) => return Ok(found),
            // It was renamed after it was found.
            Ok(part) if found.iter().any(|other| other.number == part.number) => {}
            Ok(part) => found.push_front(part),
            // One name is free for a moment while files are renamed.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !gap => gap = true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        }
    }
    if let Some(known) = known {
        // It is gone, and with it perhaps others that nobody read. Those that are older than it were read. Of the same age are
        // only those of a few milliseconds, and lines that are told twice are better than lines that are lost.
        let modified = known.file.metadata()?.modified()?;
        found.retain(|part| part.modified >= modified);
    }
    Ok(found)
}

fn numbered(path: &Path, number: usize) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let mut name = path.to_owned().into_os_string();
    name.push(format!(".{number}"));
    name.into()
}

impl Part {
    fn open(path: &Path) -> io::Result<Self> {
        // Neither a link to elsewhere is followed, nor is a fifo waited for that nobody writes into.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other(format!("`{}` is not a file", path.display())));
        }
        let number = (metadata.dev(), metadata.ino());
        Ok(Self { file, number, at: 0, length: metadata.len(), modified: metadata.modified()? })
    }

    /// Reads on by a block. Whether there was anything.
    fn read(&mut self, cutter: &mut Cutter, bounded: bool) -> io::Result<bool> {
        let left = if bounded { self.length.saturating_sub(self.at) } else { u64::MAX };
        let mut block = [0; BLOCK];
        let size = usize::try_from(left).map_or(BLOCK, |left| left.min(BLOCK));
        let count = match self.file.read_at(&mut block[..size], self.at) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
            count => count?,
        };
        cutter.push(&block[..count]);
        self.at += count as u64;
        Ok(count > 0)
    }

    /// Goes to the beginning of so many of the last lines, and returns how many there are.
    async fn rewind(&mut self, lines: u64) -> io::Result<u64> {
        self.at = self.length;
        let mut found = 0;
        let mut block = vec![0; BLOCK];
        while self.at > 0 && found < lines {
            let begin = self.at.saturating_sub(BLOCK as u64);
            let block = &mut block[..usize::try_from(self.at - begin).unwrap_or(BLOCK)];
            match self.file.read_exact_at(block, begin) {
                // It was emptied meanwhile.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    (self.at, self.length) = (0, 0);
                    return Ok(0);
                }
                outcome => outcome?,
            }
            // The byte before a line is the end of another, or there is none.
            let ends_file = self.at == self.length;
            let (count, place) = beginnings(block, lines - found, ends_file);
            found += count;
            self.at = begin + place as u64;
            if begin == 0 && found < lines {
                found += 1;
            }
            tokio::task::yield_now().await;
        }
        Ok(found)
    }
}

/// Counts the lines that begin inside a block, backwards and up to `wanted`, and where the last of them does. A line end that
/// is the last byte of the file has none after it.
fn beginnings(block: &[u8], wanted: u64, ends_file: bool) -> (u64, usize) {
    let looked_at = if ends_file { block.len().saturating_sub(1) } else { block.len() };
    let mut count = 0;
    for (place, _) in block[..looked_at].iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
        count += 1;
        if count == wanted {
            return (count, place + 1);
        }
    }
    (count, 0)
}
