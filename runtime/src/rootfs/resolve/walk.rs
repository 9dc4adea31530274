//! The walk of `openat2(2)` with `RESOLVE_IN_ROOT`, component by component, for kernels without it (before Linux 5.6).
//!
//! Every descriptor on the way was opened by one name below the one before it, never through a link and never through
//! the kernel's `..`: the way up is the way back. So no exchange of names in the image can lead out of the root.

use super::{Links, MAX_LINKS, relative};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path};

/// `PATH_MAX`, the end of the string included. Without it a walk would go any distance, and folders be made on its way.
const LONGEST: usize = 4096;

const STEP: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens `path` below `root` with `O_PATH`.
///
/// # Errors
/// As `openat2(2)`: `ENAMETOOLONG`, `ENOENT`, `ENOTDIR`, `ELOOP` for too many links or, with [`Links::Refuse`], for any.
pub(super) fn walk(root: BorrowedFd<'_>, path: &Path, links: Links) -> Result<OwnedFd, Errno> {
    if path.as_os_str().len() >= LONGEST {
        return Err(Errno::NAMETOOLONG);
    }
    let top = rustix::fs::openat(root, ".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut way = vec![top];
    let mut rest = parts(path);
    let mut followed = 0;
    while let Some(part) = rest.pop_front() {
        if part == ".." {
            // The root is its own parent.
            if way.len() > 1 {
                way.pop();
            }
            continue;
        }
        let here = way.last().ok_or(Errno::NOENT)?;
        let next = rustix::fs::openat(here, &part, STEP, Mode::empty())?;
        let Some(target) = link_target(&next)? else {
            way.push(next);
            continue;
        };
        if rest.is_empty() && links == Links::KeepLast {
            way.push(next);
            continue;
        }
        followed += 1;
        if links == Links::Refuse || followed > MAX_LINKS {
            return Err(Errno::LOOP);
        }
        if Path::new(&target).is_absolute() {
            way.truncate(1);
        }
        for part in parts(Path::new(&target)).into_iter().rev() {
            rest.push_front(part);
        }
    }
    way.pop().ok_or(Errno::NOENT)
}

/// The names of a path; `.` is none.
fn parts(path: &Path) -> VecDeque<OsString> {
    let name = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    relative(path).components().filter_map(name).collect()
}

/// Where a link leads; none for other files. A link of procfs itself says nothing that could be followed safely.
fn link_target(file: &OwnedFd) -> Result<Option<OsString>, Errno> {
    let stat = rustix::fs::fstat(file)?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::Symlink {
        return Ok(None);
    }
    let target = rustix::fs::readlinkat(file, OsStr::new(""), Vec::new())?;
    // The kernel's magic links (proc_pid_fd(5)) are the only ones on procfs whose text does not say where they lead;
    // those that do, `/proc/self` and its like, are relative and have no colon.
    let text = target.into_bytes();
    let magic = super::super::attach::is_on(file, super::super::attach::PROC_SUPER_MAGIC)?
        && (text.starts_with(b"/") || text.contains(&b':'));
    if magic { Err(Errno::LOOP) } else { Ok(Some(OsString::from_vec(text))) }
}
