//! Documents on disk: published whole or not at all, and checked when they are read.
//!
//! ```text
//!   publish:   write `.name.new`, fsync ──> `name` to `name.previous` ──> `.name.new` to `name` ──> fsync of the folder
//!   load:      `name` ──(absent or garbled)──> `name.previous` ──(absent)──> nothing
//! ```
//!
//! The first line of a file is the checksum of the rest. Whatever moment a machine dies at, and whichever byte of a file goes
//! bad, what is read is the newer document or the one before it. Nothing here compares: whoever has nothing new to say does
//! not publish.

pub mod journal;

use crate::chain::chain;
use crate::digest;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// For us alone.
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// What can go wrong with a document on disk.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused. After a failed publish the older document is still there.
    #[error("cannot {operation} `{path}`")]
    File {
        /// What was asked of it.
        operation: &'static str,
        /// Of which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is not what was written.
    #[error("`{path}` is garbled: {reason}")]
    Garbled {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The file is whole, and holds something else.
    #[error("`{path}` does not hold what it should")]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The document cannot be written as JSON.
    #[error("cannot put into words what `{path}` should hold")]
    Words {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: serde_json::Error,
    },
    /// A line that a journal does not take.
    #[error("cannot note {length} bytes in `{path}`; a line has at most {} and no line break", journal::LONGEST)]
    Line {
        /// Which journal.
        path: PathBuf,
        /// How long it is.
        length: usize,
    },
}

/// What was found on disk.
#[derive(Debug)]
pub enum Found<T> {
    /// Nothing was ever published.
    Nothing,
    /// The newest document.
    Newest(T),
    /// The one before it, and what is wrong with the newest.
    Previous(T, Error),
}

/// Publishes a document: a reader sees the older one or this one, whole, also after a power cut.
///
/// # Errors
/// [`Error::File`], and then the older document is what is read. When only the last step failed, this one may be read as
/// well; it is not promised to outlive a power cut. Nothing is ever taken for written because a second `fsync` was quiet:
/// trying again writes a new file.
pub fn publish<T: Serialize>(path: &Path, document: &T) -> Result<(), Error> {
    let body = serde_json::to_vec_pretty(document).map_err(|source| Error::Words { path: path.to_owned(), source })?;
    let mut bytes = checksum(&body).into_bytes();
    bytes.push(b'\n');
    bytes.extend(body);
    write_new(path, &bytes, PRIVATE)?;
    // A garbled file must not take the place of a good one.
    if read(path).is_ok_and(|text| text.is_some()) {
        rename(path, &previous(path))?;
    }
    rename(&new(path), path)?;
    sync_folder(path)
}

/// Publishes bytes as they are, for files that carry their own proof: a digest in their name, or a signature.
///
/// # Errors
/// As [`publish`].
pub fn publish_bytes(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write_new(path, bytes, PRIVATE)?;
    rename(&new(path), path)?;
    sync_folder(path)
}

/// As [`publish_bytes`], for everybody to read: what a web server is to serve.
///
/// # Errors
/// As [`publish`].
pub fn publish_for_all(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write_new(path, bytes, PRIVATE | Mode::RGRP | Mode::ROTH)?;
    rename(&new(path), path)?;
    sync_folder(path)
}

/// Reads the newest document that is whole, and logs when that is not the last one published.
///
/// # Errors
/// When there is something and none of it can be read.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    match find(path)? {
        Found::Nothing => Ok(None),
        Found::Newest(document) => Ok(Some(document)),
        Found::Previous(document, error) => {
            tracing::warn!("{}; going on with the one before it", chain(&error));
            Ok(Some(document))
        }
    }
}

/// As [`load`], for those who want to say themselves what was wrong.
///
/// # Errors
/// When there is something and none of it can be read: what is wrong with the newest.
pub fn find<T: DeserializeOwned>(path: &Path) -> Result<Found<T>, Error> {
    match document(path) {
        Ok(Some(newest)) => Ok(Found::Newest(newest)),
        // A publisher that died between its two renames leaves only the older one.
        Ok(None) => Ok(document(&previous(path))?.map_or(Found::Nothing, Found::Newest)),
        Err(error) => match document(&previous(path)) {
            Ok(Some(older)) => Ok(Found::Previous(older, error)),
            Ok(None) | Err(_) => Err(error),
        },
    }
}

/// Takes a document away, with the one before it; its absence is fine.
///
/// # Errors
/// [`Error::File`]
pub fn remove(path: &Path) -> Result<(), Error> {
    // The older one first: otherwise it would be read where a removal was cut short.
    for path in [previous(path), new(path), path.to_owned()] {
        match std::fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(Error::File { operation: "remove", path, source }),
        }
    }
    sync_folder(path)
}

/// Makes a folder and what is missing of the way to it: the inner ones traversable, the last one of this mode.
///
/// # Errors
/// [`Error::File`]
pub fn make_folder(path: &Path, mode: u32) -> Result<(), Error> {
    let mut ancestors: Vec<&Path> = path.ancestors().filter(|path| !path.as_os_str().is_empty()).collect();
    ancestors.reverse();
    for (index, folder) in ancestors.iter().enumerate() {
        let mode = if index + 1 == ancestors.len() { mode } else { 0o755 };
        match rustix::fs::mkdirat(CWD, *folder, Mode::from_raw_mode(mode)) {
            Ok(()) | Err(Errno::EXIST) => {}
            // A folder of a read-only file system that exists.
            Err(Errno::ROFS) if folder.is_dir() => {}
            Err(errno) => return Err(fail("make the folder", folder)(errno.into())),
        }
    }
    Ok(())
}

/// Makes the renames and removals in a file's folder outlive a power cut.
///
/// # Errors
/// [`Error::File`]
pub fn sync_folder(path: &Path) -> Result<(), Error> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(fail("sync the folder", folder))
}

/// The document in one file, checked.
fn document<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let Some(body) = read(path)? else { return Ok(None) };
    let content = |source| Error::Content { path: path.to_owned(), source };
    serde_json::from_slice(&body).map(Some).map_err(content)
}

/// What a file holds below its first line, which must be right.
fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    let Some(mut bytes) = read_bytes(path)? else { return Ok(None) };
    let garbled = |reason| Error::Garbled { path: path.to_owned(), reason };
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(|| garbled("it has no first line"))?;
    let body = bytes.split_off(end + 1);
    if bytes[..end] != *checksum(&body).as_bytes() {
        return Err(garbled("its first line is not the checksum of the rest"));
    }
    Ok(Some(body))
}

/// All bytes of a file; none where there is no file.
///
/// # Errors
/// [`Error::File`]
pub fn read_bytes(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(fail("open", path)(errno.into())),
    };
    let mut bytes = Vec::new();
    File::from(file).read_to_end(&mut bytes).map_err(fail("read", path))?;
    Ok(Some(bytes))
}

/// Writes the file that is about to be published, down to the disk. Its name is fixed, so that a killed writer leaves at
/// most one, and the next writer begins with an empty one.
fn write_new(path: &Path, bytes: &[u8], mode: Mode) -> Result<(), Error> {
    let path = new(path);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::open(&path, flags, mode).map_err(|errno| fail("make", &path)(errno.into()));
    let mut file = File::from(file?);
    let written = file.write_all(bytes).map_err(fail("write", &path));
    let written = written.and_then(|()| file.sync_all().map_err(fail("sync", &path)));
    if written.is_err() {
        // It may hold the last bytes of a full disk, and what is wrong is already known.
        let _left_for_the_next_writer = std::fs::remove_file(&path);
    }
    written
}

fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    std::fs::rename(from, to).map_err(fail("publish", to))
}

fn fail(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { operation, path, source }
}

fn checksum(body: &[u8]) -> String {
    digest::of(body).to_string()
}

fn new(path: &Path) -> PathBuf {
    path.with_file_name(joined(&[OsStr::new("."), name(path), OsStr::new(".new")]))
}

fn previous(path: &Path) -> PathBuf {
    path.with_file_name(joined(&[name(path), OsStr::new(".previous")]))
}

fn name(path: &Path) -> &OsStr {
    path.file_name().unwrap_or_default()
}

fn joined(parts: &[&OsStr]) -> OsString {
    parts.iter().copied().collect()
}

#[cfg(test)]
mod tests;
