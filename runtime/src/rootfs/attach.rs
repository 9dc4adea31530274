//! Putting a mount onto a descriptor, and the few checks that every mount shares.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Stat, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags};

use super::options::{Attributes, Propagation};
use super::resolve::proc_path;
use crate::sys::mount as kernel;

/// Which file something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// Of a file whose status is at hand.
    #[allow(clippy::useless_conversion)]
    pub(super) fn of(stat: &Stat) -> Self {
        // The width of these fields differs between machines.
        Self { device: u64::from(stat.st_dev), inode: u64::from(stat.st_ino) }
    }

    /// Of an open file.
    pub(super) fn of_fd(fd: impl AsFd) -> Result<Self, Errno> {
        Ok(Self::of(&rustix::fs::fstat(fd)?))
    }
}

/// Whether a file is on a file system of the given type (statfs(2), `f_type`).
pub(super) fn is_on(fd: impl AsFd, magic: u64) -> Result<bool, Errno> {
    // The type of `f_type` differs between machines; all magic numbers fit 32 bits.
    Ok(rustix::fs::fstatfs(fd)?.f_type as u64 & 0xffff_ffff == magic)
}

/// statfs(2).
pub(super) const PROC_SUPER_MAGIC: u64 = 0x9fa0;
/// statfs(2).
pub(super) const SYSFS_MAGIC: u64 = 0x6265_6572;
/// statfs(2).
pub(super) const TMPFS_MAGIC: u64 = 0x0102_1994;

/// Puts a detached tree onto a descriptor: no path is looked at.
pub(super) fn attach(tree: &OwnedFd, target: &OwnedFd) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(tree, "", target, "", flags)
}

/// A detached copy of what a descriptor of this mount namespace shows.
pub(super) fn copy(source: BorrowedFd<'_>, recursive: bool) -> Result<OwnedFd, Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    rustix::mount::open_tree(source, "", flags)
}

/// The same as copy and attach with `mount(2)`.
pub(super) fn bind(source: &OwnedFd, target: &OwnedFd, recursive: bool) -> Result<(), Errno> {
    if recursive {
        rustix::mount::mount_bind_recursive(proc_path(source), proc_path(target))
    } else {
        rustix::mount::mount_bind(proc_path(source), proc_path(target))
    }
}

/// Changes the attributes of the one mount whose root `mount` is, whichever calls the kernel has.
pub(super) fn set_attributes(mount: &OwnedFd, attributes: Attributes) -> Result<(), Errno> {
    let change = kernel::Change { set: attributes.set, clear: attributes.clear, ..kernel::Change::default() };
    match kernel::set_attributes(mount.as_fd(), false, change) {
        Err(Errno::NOSYS) => remount(mount, &proc_path(mount), attributes),
        result => result,
    }
}

/// A remount sets all flags anew, so that those in force must be named again; in a user namespace some of them are
/// locked and leaving them out is refused. `path` leads to the mount.
pub(super) fn remount(mount: &OwnedFd, path: &str, attributes: Attributes) -> Result<(), Errno> {
    let flags = attributes.over(flags_now(mount)?) | MountFlags::BIND;
    rustix::mount::mount_remount(path, flags, c"")
}

/// Sets the propagation type of a mount.
pub(super) fn set_propagation(mount: &OwnedFd, propagation: Propagation) -> Result<(), Errno> {
    let change = kernel::Change { propagation: propagation.kind, ..kernel::Change::default() };
    match kernel::set_attributes(mount.as_fd(), propagation.recursive, change) {
        Err(Errno::NOSYS) => rustix::mount::mount_change(proc_path(mount), propagation_flags(propagation)),
        result => result,
    }
}

/// A propagation type for `mount(2)`.
pub(super) fn propagation_flags(propagation: Propagation) -> MountPropagationFlags {
    let kind = u32::try_from(propagation.kind).expect("propagation flags fit 32 bits");
    let mut flags = MountPropagationFlags::from_bits_retain(kind);
    flags.set(MountPropagationFlags::REC, propagation.recursive);
    flags
}

/// Whether a mount is read-only.
pub(super) fn is_read_only(fd: &OwnedFd) -> Result<bool, Errno> {
    Ok(flags_now(fd)?.contains(MountFlags::RDONLY))
}

fn flags_now(fd: &OwnedFd) -> Result<MountFlags, Errno> {
    const PAIRS: [(StatVfsMountFlags, MountFlags); 7] = [
        (StatVfsMountFlags::RDONLY, MountFlags::RDONLY),
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ];
    let now = rustix::fs::fstatvfs(fd)?.f_flag;
    Ok(PAIRS.iter().filter(|(bit, _)| now.contains(*bit)).map(|(_, flag)| *flag).collect())
}
