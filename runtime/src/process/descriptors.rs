//! Closing what the program must not inherit. Every descriptor of ours is close-on-exec already; this is the second
//! lock, and it holds against what our caller leaked to us, too.

use std::io;

use rustix::fs::{Dir, Mode, OFlags};
use rustix::process::Resource;

use super::Error;
use crate::sys::prctl;

/// What is tried at most when neither `close_range(2)` nor a procfs tells what is open.
const BLIND_LIMIT: u64 = 1 << 16;

/// Closes every descriptor from `first` on. Nothing that owns one of them may be used or dropped afterwards: go on to
/// `execve(2)` or exit.
///
/// # Errors
/// The kernel refused `close_range(2)` for another reason than not having it.
pub fn close_from(first: u32) -> Result<(), Error> {
    match prctl::close_from(first) {
        Ok(()) => Ok(()),
        // Before Linux 5.9; EPERM is what old seccomp profiles around us say instead.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
            close_one_by_one(first);
            Ok(())
        }
        Err(source) => Err(Error::Apply { property: "close_range", hint: "", source }),
    }
}

fn close_one_by_one(first: u32) {
    let numbers = listed().unwrap_or_else(|_no_procfs| blind());
    for number in numbers.into_iter().filter(|number| u32::try_from(*number).is_ok_and(|number| number >= first)) {
        prctl::close_number(number);
    }
}

/// The open descriptors, if /proc is a procfs: the list of any other file system would be the image's.
fn listed() -> io::Result<Vec<i32>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open("/proc/self/fd", flags, Mode::empty())?;
    if rustix::fs::fstatfs(&folder)?.f_type != rustix::fs::PROC_SUPER_MAGIC {
        return Err(io::ErrorKind::NotFound.into());
    }
    let mut numbers = Vec::new();
    for entry in Dir::new(folder)? {
        let name = entry?;
        numbers.extend(name.file_name().to_str().ok().and_then(|name| name.parse::<i32>().ok()));
    }
    // The folder's own descriptor was in its list and is closed by now: closing it again is a harmless EBADF.
    Ok(numbers)
}

fn blind() -> Vec<i32> {
    let limit = rustix::process::getrlimit(Resource::Nofile).maximum.unwrap_or(BLIND_LIMIT).min(BLIND_LIMIT);
    // A limit may have been lowered below what is open; the usual 1024 are tried in any case.
    (0..i32::try_from(limit.max(1024)).unwrap_or(i32::MAX)).collect()
}
