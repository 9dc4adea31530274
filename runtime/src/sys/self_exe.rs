//! Keeps a container from writing to the binary that creates it (CVE-2019-5736): `/proc/self/exe` of this process,
//! and of every process it clones, is made to name a file that nobody can open for writing.
//!
//! A container reaches our binary through the magic link `/proc/<pid>/exe` of a process that joins it, and a
//! magic link leads to the *mount and file* the program was started from. So the process swaps that link:
//!
//! ```text
//!   image   a detached read-only bind mount of the binary   (Linux 5.12; no byte is copied)
//!           or a sealed memory file with its bytes          (older kernels, or no CAP_SYS_ADMIN)
//!   swap    map our own segments again from the image, then PR_SET_MM   (no second exec)
//!           or execveat(2) of the image                                 (kernel refuses PR_SET_MM)
//! ```
//!
//! `PR_SET_MM_EXE_FILE` wants no mapping of the old file to be left (prctl(2): EBUSY), hence the second mapping. The
//! mount ends in no name space at all, so nobody can make it writable. Its path reads `/`, as `ls -l /proc/*/exe` shows.

mod image;
mod segments;
mod swap;

use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MoveMountFlags;

/// What stands behind `/proc/self/exe` now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// It was safe when we looked: this is the second life of a process that executed its image.
    Already,
    /// A detached read-only mount of the binary; nothing was copied or executed.
    ReadOnlyMount,
    /// A sealed copy of the binary in memory; nothing was executed.
    SealedCopy,
}

/// The protection of this process, and what is left to be tidied up.
///
/// The read-only mount is born in a detached tree. While the tree's descriptor is open, its owner could make the mount
/// writable again; when the last copy is closed the tree dissolves, the mount belongs to no name space, and
/// mount_setattr(2) refuses it for ever. But dissolving waits for an RCU grace period, which takes milliseconds on a
/// busy machine. So the descriptor lives in this value: the child [buries](Shield::bury) the mount and drops its
/// copy, the parent drops its own after the container was started.
#[derive(Debug)]
pub struct Shield {
    protection: Protection,
    tree: Option<Tree>,
}

#[derive(Debug)]
struct Tree {
    descriptor: OwnedFd,
    /// Where the binary lay when we were started.
    origin: CString,
}

impl Shield {
    /// What stands behind `/proc/self/exe` now.
    #[must_use]
    pub fn protection(&self) -> Protection {
        self.protection
    }

    /// Attaches the mount over the binary's path in the caller's mount name space, and closes the caller's copy of the
    /// descriptor. For a child in a *new, private* mount name space that is about to pivot: when it unmounts the old
    /// root, this mount goes with it, under the one grace period that the unmount waits for anyway. Without such an
    /// unmount (`--no-pivot`, a joined name space) drop the value instead, or the container could remount it.
    ///
    /// It cannot fail in a way that matters: what is not buried dissolves when the last copy is dropped.
    pub fn bury(self) {
        if let Some(tree) = self.tree {
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            let _dissolves_otherwise = rustix::mount::move_mount(tree.descriptor, "", CWD, &tree.origin, flags);
        }
    }
}

/// Why the binary cannot be kept from the container.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// proc(5) is missing or hides us.
    #[error("cannot read `/proc/self/exe`; mount a proc file system at `/proc`")]
    Link(#[source] io::Error),
    /// `open_tree(2)` or `mount_setattr(2)` failed for another reason than not being there.
    #[error("cannot make a read-only mount of `/proc/self/exe`")]
    Mount(#[source] io::Error),
    /// The memory file could not be made, filled or sealed.
    #[error("cannot copy `/proc/self/exe` into a sealed memory file (sysctl `vm.memfd_noexec` must be below 2)")]
    Copy(#[source] io::Error),
    /// The kernel swaps neither the link nor the program.
    #[error("cannot execute the protected copy of `/proc/self/exe`")]
    Execute(#[source] io::Error),
    /// The image is not what the next life would accept: executing it could go on for ever.
    #[error("the protected copy of `/proc/self/exe` is writable")]
    Writable,
}

/// Makes `/proc/self/exe` unwritable for everybody. To be called first in `create`, `run` and `exec`: the process
/// must still have one thread, and the fallback executes the program anew with the same arguments and environment.
///
/// # Errors
/// When neither a read-only mount nor a sealed copy can take the place of the binary; nothing was changed then.
pub fn protect() -> Result<Shield, Error> {
    let origin = rustix::fs::readlink(OWN, Vec::new()).map_err(|errno| Error::Link(errno.into()))?;
    if image::shields(OWN, &origin).map_err(|errno| Error::Link(errno.into()))? {
        swap::restore_name();
        return Ok(Shield { protection: Protection::Already, tree: None });
    }
    let (image, protection, tree) = match image::read_only_mount() {
        Ok((image, descriptor)) => (image, Protection::ReadOnlyMount, Some(Tree { descriptor, origin })),
        Err(errno) if means_unavailable(errno) => {
            (image::sealed_copy().map_err(|errno| Error::Copy(errno.into()))?, Protection::SealedCopy, None)
        }
        Err(errno) => return Err(Error::Mount(errno.into())),
    };
    // The link is looked at again rather than trusting the swap: this is the promise itself.
    if swap::in_place(&image).is_ok() && shielded(OWN).unwrap_or(false) {
        return Ok(Shield { protection, tree });
    }
    // What the next life asks of its /proc/self/exe is asked of the image now, so a loop is impossible.
    if !shielded(&image::link_of(&image)).map_err(|errno| Error::Execute(errno.into()))? {
        return Err(Error::Writable);
    }
    Err(Error::Execute(swap::execute(&image).into()))
}

fn shielded(link: &str) -> Result<bool, Errno> {
    image::shields(link, &rustix::fs::readlink(link, Vec::new())?)
}

/// Errors that say "this kernel, this user or this sandbox has no such call", not "the call went wrong":
/// EINVAL is `open_tree` on a mount of another mount name space, EPERM a missing capability or a seccomp filter.
fn means_unavailable(errno: Errno) -> bool {
    matches!(errno, Errno::NOSYS | Errno::PERM | Errno::ACCESS | Errno::INVAL | Errno::OPNOTSUPP)
}

const OWN: &str = "/proc/self/exe";
const READ: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC);

fn open_read(path: &str) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, READ, Mode::empty())
}
