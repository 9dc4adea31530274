//! seccomp(2), which no library of ours wraps: a filter for this process and all that come of it.

use crate::seccomp::Instruction;
use std::io;

const SECCOMP_SET_MODE_FILTER: libc::c_long = 1;

/// `struct sock_fprog` of linux/filter.h.
#[repr(C)]
struct Program {
    length: u16,
    instructions: *const Instruction,
}

/// Installs a filter; it can never be taken away.
///
/// # Errors
/// `EACCES` without `no_new_privs` and `CAP_SYS_ADMIN`; `EINVAL` for a program or a flag that this kernel does not take.
pub fn set_filter(flags: u32, instructions: &[Instruction]) -> io::Result<()> {
    let length = u16::try_from(instructions.len()).map_err(|_too_many| io::Error::from_raw_os_error(libc::EINVAL))?;
    let program = Program { length, instructions: instructions.as_ptr() };
    // SAFETY: the kernel reads `program` and the `length` instructions that it points to, which are laid out as struct
    // sock_filter (`repr(C)`), checks them, and keeps a copy; it writes nothing of ours.
    let done = unsafe {
        libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, libc::c_ulong::from(flags), &raw const program)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether the kernel knows a flag: it looks at flags before it looks for a program, and there is none.
pub fn knows(flag: u32) -> bool {
    let none = std::ptr::null::<Program>();
    // SAFETY: a null program is refused (EFAULT) before anything is installed.
    let done = unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, libc::c_ulong::from(flag), none) };
    done == -1 && io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT)
}
