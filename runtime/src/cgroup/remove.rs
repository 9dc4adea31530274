//! Removes the cgroups of a container and everything that it made below them; never anything above.

use std::{
    ffi::{CStr, CString},
    fs, io,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::fs::{AtFlags, CWD, Dir as Listing, FileType, unlinkat};

use super::{
    Dir, Error, Location,
    kill::{is_gone, open_dir},
};

/// How long a cgroup is asked to go: one whose last process was just killed is busy until that has exited.
const PATIENCE: Duration = Duration::from_secs(5);

/// Removes every directory; one that is gone already is fine. All are tried before the first error is told.
pub fn remove(location: &Location) -> Result<(), Error> {
    let mut result = Ok(());
    for dir in &location.dirs {
        let removed = dir.check().and_then(|()| remove_dir(dir));
        result = result.and(removed);
    }
    result
}

/// Usually one rmdir(2). A cgroup with sub-cgroups or dying processes answers EBUSY.
pub(super) fn remove_dir(dir: &Dir) -> Result<(), Error> {
    let (start, mut pause) = (Instant::now(), Duration::from_micros(500));
    loop {
        let busy = match fs::remove_dir(&dir.path) {
            Ok(()) => return Ok(()),
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EBUSY | libc::ENOTEMPTY)) => error,
            Err(source) => return Err(Error::Remove { path: dir.path.clone(), source }),
        };
        match open_dir(CWD, &dir.path).and_then(clear) {
            // Sub-cgroups are gone now, so the next attempt may well succeed at once.
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) if is_gone(&error) || error.raw_os_error() == Some(libc::EBUSY) => {}
            Err(source) => return Err(Error::Remove { path: dir.path.clone(), source }),
        }
        if start.elapsed() > PATIENCE {
            return Err(Error::Remove { path: dir.path.clone(), source: busy });
        }
        crate::patience::pause(pause);
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

/// Removes all sub-cgroups, deepest first, and tells whether there was one. It goes down and up by descriptor, holding
/// one at a time, because a container with a writable cgroup can nest them deeper than a path may be long; `..` is
/// safe as a cgroup file system has neither links nor moves between directories.
fn clear(top: OwnedFd) -> io::Result<bool> {
    let (mut at, mut names, mut any) = (top, Vec::<CString>::new(), false);
    loop {
        if let Some(name) = first_directory(&at)? {
            at = open_dir(&at, name.as_c_str())?;
            names.push(name);
            continue;
        }
        let Some(name) = names.pop() else { return Ok(any) };
        at = open_dir(&at, "..")?;
        unlinkat(&at, name.as_c_str(), AtFlags::REMOVEDIR)?;
        any = true;
    }
}

fn first_directory(dir: &OwnedFd) -> io::Result<Option<CString>> {
    for entry in Listing::read_from(dir)? {
        let entry = entry?;
        let name: &CStr = entry.file_name();
        if entry.file_type() == FileType::Directory && !matches!(name.to_bytes(), b"." | b"..") {
            return Ok(Some(name.to_owned()));
        }
    }
    Ok(None)
}
