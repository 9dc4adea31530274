//! A procfs that nobody else can see, for writes to the kernel: the container's own `/proc` could be dressed by its mounts to
//! lead one elsewhere (CVE-2025-52881), and what looks like `/proc` need not be one (CVE-2019-16884).

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use super::attach;
use super::resolve;

/// A procfs of this process's pid namespace, open.
pub struct Procfs(OwnedFd);

impl Procfs {
    /// One of our own. Before Linux 5.2, or where the kernel shows a user namespace no procfs beyond the host's, that of the
    /// host: call it before the root is changed.
    ///
    /// # Errors
    /// The kernel's; `EXDEV` where `/proc` is no procfs.
    pub fn open() -> Result<Self, Errno> {
        match private() {
            Err(Errno::NOSYS | Errno::PERM) => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let procfs = rustix::fs::open("/proc", flags, Mode::empty())?;
                if attach::is_on(&procfs, attach::PROC_SUPER_MAGIC)? { Ok(Self(procfs)) } else { Err(Errno::XDEV) }
            }
            result => result.map(Self),
        }
    }

    /// The folder of the calling thread: `1/task/1`. By number, because no link is followed when a file is opened.
    ///
    /// # Errors
    /// The kernel's.
    pub fn own(&self) -> Result<PathBuf, Errno> {
        let link = rustix::fs::readlinkat(&self.0, "thread-self", Vec::new())?;
        Ok(PathBuf::from(String::from_utf8(link.into_bytes()).map_err(|_no_text| Errno::ILSEQ)?))
    }

    /// Opens a file for writing; only one that lies on this procfs itself.
    ///
    /// # Errors
    /// The kernel's; `ELOOP` for a link, `EXDEV` for what is mounted there.
    pub fn open_to_write(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
        let file = match rustix::fs::openat2(&self.0, path, flags, Mode::empty(), resolve) {
            Err(Errno::NOSYS) => resolve::open(self.0.as_fd(), path, resolve::Links::Refuse, OFlags::WRONLY)?,
            result => result?,
        };
        if attach::is_on(&file, attach::PROC_SUPER_MAGIC)? { Ok(file) } else { Err(Errno::XDEV) }
    }
}

/// Writes all of a value at once: the kernel takes it as a whole, and a rest would be a second value.
///
/// # Errors
/// The kernel's; `EIO` when it took a part.
pub fn write_whole(file: &OwnedFd, text: &str) -> Result<(), Errno> {
    let written = rustix::io::write(file, text.as_bytes())?;
    if written == text.len() { Ok(()) } else { Err(Errno::IO) }
}

fn private() -> Result<OwnedFd, Errno> {
    let context = rustix::mount::fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_create(context.as_fd())?;
    let attributes =
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}
