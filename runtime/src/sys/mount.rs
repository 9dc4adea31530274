//! `mount_setattr(2)`, which no library wraps, and the user namespaces that id-mapped mounts take their mapping from.
//! The other mount calls are safe functions of `rustix::mount`.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

/// What `mount_setattr(2)` changes: `set` and `clear` are `MOUNT_ATTR_*` bits, `propagation` is one of `MS_PRIVATE`,
/// `MS_SLAVE`, `MS_SHARED`, `MS_UNBINDABLE` or 0 for no change.
#[derive(Clone, Copy, Debug, Default)]
pub struct Change<'a> {
    /// `MOUNT_ATTR_*` bits to switch on.
    pub set: u64,
    /// `MOUNT_ATTR_*` bits to switch off; the access-time bits only all together (`MOUNT_ATTR__ATIME`).
    pub clear: u64,
    /// The new propagation type, 0 to keep it.
    pub propagation: u64,
    /// The user namespace that gives an id-mapped mount its mapping; sets `MOUNT_ATTR_IDMAP` by itself.
    pub user_namespace: Option<BorrowedFd<'a>>,
}

/// Changes the mount whose root `mount` is, with everything below it when `recursive`.
///
/// # Errors
/// `ENOSYS` before Linux 5.12; otherwise see `mount_setattr(2)`.
pub fn set_attributes(mount: BorrowedFd<'_>, recursive: bool, change: Change<'_>) -> Result<(), Errno> {
    let idmap = if change.user_namespace.is_some() { libc::MOUNT_ATTR_IDMAP } else { 0 };
    let attributes = libc::mount_attr {
        attr_set: change.set | idmap,
        attr_clr: change.clear,
        propagation: change.propagation,
        userns_fd: change.user_namespace.map_or(0, |fd| u64::try_from(fd.as_raw_fd()).unwrap_or(0)),
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the kernel reads an empty C string and `size` bytes of `attributes`; both live across the call, `size`
    // is the structure's own, and the call writes to neither.
    let status = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if status == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Makes a user namespace with the given contents of `uid_map` and `gid_map` (`user_namespaces(7)`) and gives a
/// descriptor of it. A child process holds it while its maps are written, and is gone when this returns.
///
/// # Errors
/// The clone, the writes to `/proc/PID/{uid,gid}_map` or the opening of `/proc/PID/ns/user`.
pub fn user_namespace(uid_map: &str, gid_map: &str) -> io::Result<OwnedFd> {
    let holder = Holder::start()?;
    let folder = format!("/proc/{}", holder.pid);
    std::fs::write(format!("{folder}/uid_map"), uid_map)?;
    std::fs::write(format!("{folder}/gid_map"), gid_map)?;
    Ok(File::open(format!("{folder}/ns/user"))?.into())
}

/// A stopped child in a user namespace of its own, killed and reaped when dropped.
struct Holder {
    pid: libc::pid_t,
}

impl Holder {
    fn start() -> io::Result<Self> {
        let flags = libc::c_long::from(libc::CLONE_NEWUSER | libc::SIGCHLD);
        // SAFETY: `clone` without CLONE_VM and with a null stack is `fork`: the child runs on a copy of this memory.
        // Every other argument is null because no flag that reads it is given. The runtime has one thread, so that
        // no lock is held in the child, which calls nothing but the system calls below.
        let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
        match pid {
            -1 => Err(io::Error::last_os_error()),
            0 => Self::wait_for_the_end(),
            pid => Ok(Self { pid: libc::pid_t::try_from(pid).expect("the kernel's own process id") }),
        }
    }

    /// The child's life: to die with its parent, or by its hand.
    fn wait_for_the_end() -> ! {
        // SAFETY: neither call touches memory; PR_SET_PDEATHSIG takes a signal number.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        loop {
            // SAFETY: `pause` has no arguments and only sleeps.
            unsafe { libc::pause() };
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // SAFETY: the process is our own unreaped child, so that the id cannot belong to another; a null status
        // pointer is allowed by waitpid(2).
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            libc::waitpid(self.pid, std::ptr::null_mut(), 0);
        }
    }
}

/// Whether the kernel has `move_mount(2)` (Linux 5.2). Asked before trees are opened, because a detached tree cannot
/// be attached in any other way.
#[must_use]
pub fn has_move_mount() -> bool {
    let here = rustix::fs::CWD.as_fd();
    // An empty path without the flag that allows it is refused with ENOENT before anything is done.
    rustix::mount::move_mount(here, "", here, "", rustix::mount::MoveMountFlags::empty()) != Err(Errno::NOSYS)
}

fn last_errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    #[test]
    fn attributes_lie_where_the_kernel_reads_them() {
        let (clear, namespace) = (offset_of!(libc::mount_attr, attr_clr), offset_of!(libc::mount_attr, userns_fd));
        assert_eq!((size_of::<libc::mount_attr>(), clear, namespace), (32, 8, 24));
    }
}
