//! Making the container's first process: `clone3(2)` with everything at once, and `clone(2)` where there is none.

use rustix::io::Errno;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

const CLONE_PARENT: u64 = 0x0000_8000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// What the new process is to be.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// `CLONE_NEW*` bits.
    pub flags: u64,
    /// The cgroup v2 folder to be born in; migrating later costs an RCU grace period.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// The new process becomes a child of our parent (`CLONE_PARENT`).
    pub sibling: bool,
}

/// Which side of the fork this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The caller.
    Parent {
        /// The new process, in the caller's pid namespace.
        pid: i32,
        /// It was born in the cgroup that was asked for.
        in_cgroup: bool,
    },
    /// The new process.
    Child {
        /// It was born in the cgroup that was asked for.
        in_cgroup: bool,
    },
}

/// The kernel's `struct clone_args` (clone(2)), the 88 bytes of Linux 5.7.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Forks. The child returns from this function on a copy of the caller's stack, like fork(2).
///
/// # Errors
/// The kernel's, of the last of the calls that were tried: `clone3` into the cgroup; `clone3` (Linux 5.3 to 5.6 answer
/// `EINVAL` or `E2BIG` to the cgroup, others cannot be born into but can be joined, perhaps by somebody who may); `clone` (older ones answer `ENOSYS`, as do seccomp filters that know no better).
pub fn clone(request: Request<'_>) -> io::Result<Side> {
    let plain = Request { cgroup: None, ..request };
    let outcome = match clone3(request) {
        Err(Errno::INVAL | Errno::TOOBIG | Errno::BUSY | Errno::OPNOTSUPP | Errno::ACCESS)
            if request.cgroup.is_some() =>
        {
            clone3(plain)
        }
        other => other,
    };
    match outcome {
        // EPERM is what filters say that know `clone` alone and refuse by it.
        Err(Errno::NOSYS | Errno::PERM) => clone2(plain),
        other => other,
    }
    .map_err(io::Error::from)
}

fn clone3(request: Request<'_>) -> Result<Side, Errno> {
    let into = if request.cgroup.is_some() { CLONE_INTO_CGROUP } else { 0 };
    let args = CloneArgs {
        flags: request.flags | into | if request.sibling { CLONE_PARENT } else { 0 },
        // With CLONE_PARENT the signal is that of the caller, and naming one is an error.
        exit_signal: if request.sibling { 0 } else { libc::SIGCHLD as u64 },
        cgroup: request.cgroup.map_or(0, |dir| u64::try_from(dir.as_raw_fd()).unwrap_or(0)),
        ..CloneArgs::default()
    };
    // SAFETY: `args` is a live, fully initialised structure of the size passed. Neither CLONE_VM nor a stack is asked
    // for, so the child gets its own copy of memory and the program has one thread: this is fork(2).
    let outcome = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) };
    side(outcome, request.cgroup.is_some())
}

fn clone2(request: Request<'_>) -> Result<Side, Errno> {
    let sibling = if request.sibling { CLONE_PARENT } else { 0 };
    // As wide as a register: a variable argument of 64 bits would take two of a 32-bit machine's, and move the others on.
    let flags = usize::try_from(request.flags | sibling | libc::SIGCHLD as u64).map_err(|_| Errno::INVAL)?;
    // SAFETY: as for clone3; a null stack means the child goes on with its copy of the caller's. The remaining
    // arguments are only read for flags that are not set, so their architecture-specific order is of no account.
    let outcome = unsafe { libc::syscall(libc::SYS_clone, flags, 0_usize, 0_usize, 0_usize, 0_usize) };
    side(outcome, false)
}

fn side(outcome: libc::c_long, in_cgroup: bool) -> Result<Side, Errno> {
    match i32::try_from(outcome) {
        Ok(0) => Ok(Side::Child { in_cgroup }),
        Ok(pid) if pid > 0 => Ok(Side::Parent { pid, in_cgroup }),
        _ => Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}

/// The `CLONE_NEW*` bit of the namespace behind a descriptor (`NS_GET_NSTYPE`, ioctl_ns(2)).
///
/// # Errors
/// `ENOTTY` when it is not a namespace.
pub fn namespace_type(fd: BorrowedFd<'_>) -> io::Result<u64> {
    const NS_GET_NSTYPE: libc::c_ulong = 0xb703;
    // SAFETY: the descriptor is open for the borrow's life and this request takes no argument.
    let outcome = unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE as _) };
    u64::try_from(outcome).map_err(|_| io::Error::last_os_error())
}

/// Ends the process at once, without destructors or exit handlers: what a forked child must use, because those belong
/// to the program it was forked from.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit(2) has no preconditions and does not return.
    unsafe { libc::_exit(code) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structure_has_the_kernels_size() {
        assert_eq!(size_of::<CloneArgs>(), 88);
    }

    /// On a 32-bit machine a wide argument would arrive in the place of the next one; under qemu-user, which has no
    /// `clone3`, and on kernels before 5.3 the second is the only one.
    #[test]
    fn both_calls_make_a_process() {
        use rustix::process::{Pid, WaitOptions, waitpid};
        let plain = Request { flags: 0, cgroup: None, sibling: false };
        let calls: [fn(Request<'_>) -> Result<Side, Errno>; 2] = [clone3, clone2];
        for (place, call) in calls.into_iter().enumerate() {
            match call(plain) {
                Ok(Side::Child { .. }) => exit_now(7),
                Ok(Side::Parent { pid, .. }) => {
                    let (_, status) = waitpid(Pid::from_raw(pid), WaitOptions::empty()).unwrap().unwrap();
                    assert_eq!(status.exit_status(), Some(7));
                }
                Err(errno) => assert_eq!((place, errno), (0, Errno::NOSYS)),
            }
        }
        #[cfg(target_pointer_width = "32")]
        assert_eq!(clone2(Request { flags: CLONE_INTO_CGROUP, ..plain }), Err(Errno::INVAL));
    }

    #[test]
    fn answers_are_told_apart() {
        assert_eq!(side(0, true), Ok(Side::Child { in_cgroup: true }));
        assert_eq!(side(7, true), Ok(Side::Parent { pid: 7, in_cgroup: true }));
        assert!(side(-1, true).is_err());
    }
}
