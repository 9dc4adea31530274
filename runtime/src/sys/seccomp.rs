//! seccomp(2), which no library of ours wraps: a filter for this process and all that come of it.

use crate::seccomp::Instruction;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const SECCOMP_SET_MODE_FILTER: libc::c_long = 1;
const NEW_LISTENER: u32 = 1 << 3;

/// `struct sock_fprog` of linux/filter.h.
#[repr(C)]
struct Program {
    length: u16,
    instructions: *const Instruction,
}

/// Installs a filter; it can never be taken away. With `SECCOMP_FILTER_FLAG_NEW_LISTENER` among the flags it comes with a
/// descriptor (close-on-exec) of the lowest number that is free.
///
/// # Errors
/// `EACCES` without `no_new_privs` and `CAP_SYS_ADMIN`; `EINVAL` for a program or a flag that this kernel does not take.
pub fn set_filter(flags: u32, instructions: &[Instruction]) -> io::Result<Option<OwnedFd>> {
    let length = u16::try_from(instructions.len()).map_err(|_too_many| io::Error::from_raw_os_error(libc::EINVAL))?;
    let program = Program { length, instructions: instructions.as_ptr() };
    // SAFETY: the kernel reads `program` and the `length` instructions that it points to, which are laid out as struct
    // sock_filter (`repr(C)`), checks them, and keeps a copy; it writes nothing of ours.
    let done = unsafe {
        libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, libc::c_ulong::from(flags), &raw const program)
    };
    match i32::try_from(done).unwrap_or(-1) {
        number if number < 0 => Err(io::Error::last_os_error()),
        // SAFETY: with this flag, and only with it, the kernel returns a new descriptor, which nobody else knows yet.
        number if flags & NEW_LISTENER != 0 => Ok(Some(unsafe { OwnedFd::from_raw_fd(number) })),
        _ => Ok(None),
    }
}

/// A call that waits at a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Whose it is, as this process numbers processes; 0 if it is in none of its pid namespaces.
    pub pid: u32,
    /// Which convention of calls its number is of (`AUDIT_ARCH_*`).
    pub arch: u32,
    /// Which one.
    pub number: u32,
    /// Its first two arguments: which prctl(2) or ioctl(2) is asked for.
    pub arguments: [u64; 2],
}

/// Decides about the call that waits at a listener: it is made as if there were no filter (`SECCOMP_USER_NOTIF_FLAG_CONTINUE`,
/// Linux 5.5), or it is refused (`EPERM`). To be called when poll(2) says that one waits; that it has gone meanwhile, with its
/// process, is no error.
///
/// # Errors
/// The kernel's; `EINVAL` before Linux 5.5.
pub fn decide(listener: BorrowedFd<'_>, passes: impl FnOnce(Call) -> bool) -> io::Result<()> {
    let gone = |error: io::Error| if error.raw_os_error() == Some(libc::ENOENT) { Ok(()) } else { Err(error) };
    // SAFETY: all zeros is a value of this struct of integers, and the one that the kernel asks for.
    let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open, and the kernel writes one struct seccomp_notif to the address passed.
    if unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV as _, &raw mut call) } != 0 {
        return gone(io::Error::last_os_error());
    }
    let arguments = [call.data.args[0], call.data.args[1]];
    let asked = Call { pid: call.pid, arch: call.data.arch, number: call.data.nr as u32, arguments };
    let (error, flags) = match passes(asked) {
        true => (0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
        false => (-libc::EPERM, 0),
    };
    let answer = libc::seccomp_notif_resp { id: call.id, val: 0, error, flags };
    // SAFETY: as above; the kernel reads one struct seccomp_notif_resp.
    match unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND as _, &raw const answer) } {
        0 => Ok(()),
        _ => gone(io::Error::last_os_error()),
    }
}

/// Whether the kernel knows a flag: it looks at flags before it looks for a program, and there is none.
pub fn knows(flag: u32) -> bool {
    let none = std::ptr::null::<Program>();
    // SAFETY: a null program is refused (EFAULT) before anything is installed.
    let done = unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, libc::c_ulong::from(flag), none) };
    done == -1 && io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT)
}
