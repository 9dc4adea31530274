//! The file that takes the place of the binary: a detached read-only mount of it, or a sealed copy in memory.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{CWD, MemfdFlags, SealFlags, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;

use super::open_read;

const MEMORY_PREFIX: &[u8] = b"/memfd:";

/// Our binary, opened through a bind mount of its own that is read-only and attached nowhere; and the tree that holds
/// the mount.
pub(super) fn read_only_mount() -> Result<(OwnedFd, OwnedFd), Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = rustix::mount::open_tree(CWD, "/proc/self/exe", flags)?;
    // Only this attribute is added: nosuid and noexec would change what executing the image means.
    let attr = libc::mount_attr { attr_set: libc::MOUNT_ATTR_RDONLY, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: mount_setattr(2) reads a NUL-terminated path (the empty string: the descriptor itself) and `size` bytes
    // of `attr`; both live across the call and the kernel keeps neither.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    if done != 0 {
        return Err(last_errno());
    }
    // The tree's descriptor is O_PATH, which neither mmap(2) nor PR_SET_MM take.
    Ok((open_read(&link_of(&tree))?, tree))
}

/// The bytes of our binary in a memory file that can be neither written nor resized, opened for reading.
pub(super) fn sealed_copy() -> Result<OwnedFd, Errno> {
    let binary = open_read("/proc/self/exe")?;
    let length = rustix::fs::fstat(&binary)?.st_size;
    let memory = executable_memory_file()?;
    let mut left = usize::try_from(length).map_err(|_| Errno::FBIG)?;
    while left > 0 {
        match rustix::fs::sendfile(&memory, &binary, None, left)? {
            0 => return Err(Errno::IO),
            copied => left -= copied.min(left),
        }
    }
    rustix::fs::fcntl_add_seals(&memory, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    // A file that is open for writing can be neither executed nor made the executable of a process (ETXTBSY).
    open_read(&link_of(&memory))
}

/// A memory file that may be executed: `MFD_EXEC` must be said since Linux 6.3 and is unknown (EINVAL) before.
fn executable_memory_file() -> Result<OwnedFd, Errno> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match rustix::fs::memfd_create(c"skiff", flags | MemfdFlags::EXEC) {
        Err(Errno::INVAL) => rustix::fs::memfd_create(c"skiff", flags),
        made => made,
    }
}

/// Whether the magic link at `path`, which reads `name`, leads to one of our images. An ordinary read-only disk does not count: it can be
/// remounted. The path of a file that *is* the root of a mount attached nowhere reads `/`, which no other file has.
pub(super) fn shields(path: &str, name: &CStr) -> Result<bool, Errno> {
    let name = name.to_bytes();
    if name.starts_with(MEMORY_PREFIX) {
        // A disk file can bear that name, too, but it has no seals (EINVAL).
        let seals = rustix::fs::fcntl_get_seals(open_read(path)?).unwrap_or(SealFlags::empty());
        return Ok(seals.contains(SealFlags::WRITE));
    }
    if name == b"/" || name == b"/ (deleted)" || name == b"//deleted" {
        return Ok(rustix::fs::statvfs(path)?.f_flag.contains(StatVfsMountFlags::RDONLY));
    }
    Ok(false)
}

/// The magic link of a descriptor of ours.
pub(super) fn link_of(descriptor: impl AsFd) -> String {
    format!("/proc/self/fd/{}", descriptor.as_fd().as_raw_fd())
}

pub(super) fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
