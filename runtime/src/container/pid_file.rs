//! The file of `--pid-file`, by which callers learn which process to watch.

use rustix::fs::{CWD, Mode, OFlags};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// `--pid-file` cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("pid file `{path}` cannot be written (--pid-file)")]
pub struct Error {
    path: PathBuf,
    source: io::Error,
}

/// A reader sees no file or the whole number.
///
/// # Errors
/// See [`Error`].
pub(super) fn write(path: &Path, pid: i32) -> Result<(), Error> {
    publish(path, pid).map_err(|source| Error { path: path.to_owned(), source })
}

fn publish(path: &Path, pid: i32) -> io::Result<()> {
    let mut name = OsString::from(".");
    name.push(path.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::IsADirectory))?);
    name.push(format!(".{}", std::process::id()));
    let temporary = path.with_file_name(name);
    // What lies there is left of a process of our number, or was put there by others who may write to the folder.
    match rustix::fs::unlinkat(CWD, &temporary, rustix::fs::AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, &temporary, flags, Mode::from_raw_mode(0o644))?;
    let written = rustix::io::write(&file, pid.to_string().as_bytes()).map(|_| ());
    let published = written.and_then(|()| rustix::fs::renameat(CWD, &temporary, CWD, path));
    published.map_err(|errno| {
        // The error that led here is the one to tell.
        let _already_failing = rustix::fs::unlinkat(CWD, &temporary, rustix::fs::AtFlags::empty());
        errno.into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_lies_in_its_way_is_not_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let (path, victim) = (folder.path().join("pid"), folder.path().join("victim"));
        let temporary = folder.path().join(format!(".pid.{}", std::process::id()));
        fs::write(&victim, "precious").unwrap();
        let ways: [fn(&Path, &Path) -> io::Result<()>; 2] =
            [|from, to| fs::hard_link(from, to), |from, to| std::os::unix::fs::symlink(from, to)];
        for way in ways {
            way(&victim, &temporary).unwrap();
            write(&path, 7).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), "7");
            assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
            assert!(!temporary.exists());
        }
    }
}
