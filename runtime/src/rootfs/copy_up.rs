//! `tmpcopyup`: a new tmpfs starts with a copy of what the image has at its place. The walk goes by descriptors and
//! follows no links.

use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;

/// Copies what is in directory `from` into directory `to`, and the directory's own owner and mode.
pub(super) fn copy(from: &OwnedFd, to: &OwnedFd) -> Result<(), Errno> {
    let stat = rustix::fs::fstat(from)?;
    own(to.as_fd(), c".", &stat)?;
    contents(from.as_fd(), to.as_fd())
}

fn contents(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Errno> {
    let folder = rustix::fs::openat(from, ".", READ | OFlags::DIRECTORY, Mode::empty())?;
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            one(folder.as_fd(), to, name)?;
        }
    }
    Ok(())
}

const READ: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

fn one(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let mode = Mode::from_raw_mode(stat.st_mode);
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            rustix::fs::mkdirat(to, name, mode)?;
            let below = rustix::fs::openat(from, name, READ | OFlags::DIRECTORY, Mode::empty())?;
            let made = rustix::fs::openat(to, name, READ | OFlags::DIRECTORY, Mode::empty())?;
            contents(below.as_fd(), made.as_fd())?;
        }
        FileType::RegularFile => {
            // O_NONBLOCK: should it have become a FIFO since, opening it must not wait for a writer.
            let source = rustix::fs::openat(from, name, READ | OFlags::NONBLOCK, Mode::empty())?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let copy = rustix::fs::openat(to, name, flags, mode)?;
            std::io::copy(&mut File::from(source), &mut File::from(copy))
                .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        }
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(from, name, Vec::new())?;
            rustix::fs::symlinkat(target.as_c_str(), to, name)?;
        }
        special => rustix::fs::mknodat(to, name, special, mode, stat.st_rdev)?,
    }
    own(to, name, &stat)
}

/// Owner first: changing it takes set-user-id bits away.
#[allow(clippy::useless_conversion)]
fn own(folder: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    if (stat.st_uid, stat.st_gid) != (0, 0) {
        rustix::fs::chownat(folder, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        rustix::fs::chmodat(folder, name, Mode::from_raw_mode(stat.st_mode), AtFlags::empty())?;
    }
    let times = Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime.try_into().unwrap_or(0), tv_nsec: 0 },
        last_modification: Timespec { tv_sec: stat.st_mtime.try_into().unwrap_or(0), tv_nsec: 0 },
    };
    rustix::fs::utimensat(folder, name, &times, AtFlags::SYMLINK_NOFOLLOW)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    /// What another program says of the time of a file, in seconds.
    fn seconds(path: &std::path::Path) -> String {
        let said = Command::new("stat").args(["-c", "%Y %s"]).arg(path).output().unwrap();
        String::from_utf8(said.stdout).unwrap().trim_end().to_owned()
    }

    #[test]
    fn times_after_2038_are_copied() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let file = from.path().join("file");
        std::fs::write(&file, "x").unwrap();
        assert!(Command::new("touch").args(["-d", "@4102444800"]).arg(&file).status().unwrap().success());
        let open = |folder: &tempfile::TempDir| std::fs::File::open(folder.path()).unwrap().into();
        super::copy(&open(&from), &open(&to)).unwrap();
        // File systems without such times keep another, but the same for both.
        assert_eq!(seconds(&to.path().join("file")), seconds(&file));
    }
}
