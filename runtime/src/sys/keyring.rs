//! The session keyring of a process (`keyctl(2)`), which no library we use wraps.

use std::ffi::CStr;
use std::io;

const JOIN_SESSION_KEYRING: libc::c_int = 1;
const SETPERM: libc::c_int = 5;

/// Leaves the inherited session keyring for the one called `name`, made if need be; returns its serial number.
///
/// # Errors
/// `ENOSYS` in a kernel without keyrings, `EPERM` or `EACCES` where they are forbidden, `EDQUOT` when the user has
/// too many (`keyctl_join_session_keyring(3)`).
pub fn join_session(name: &CStr) -> io::Result<i32> {
    // SAFETY: KEYCTL_JOIN_SESSION_KEYRING reads a NUL-terminated string, which `name` is for the whole call.
    let serial = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, name.as_ptr()) };
    i32::try_from(serial).ok().filter(|serial| *serial >= 0).ok_or_else(io::Error::last_os_error)
}

/// Sets who may do what with the keyring `serial` (`keyctl_setperm(3)`).
///
/// # Errors
/// `EACCES` when the keyring belongs to another user.
pub fn set_permissions(serial: i32, permissions: u32) -> io::Result<()> {
    // SAFETY: KEYCTL_SETPERM takes two numbers and touches no memory of ours.
    match unsafe { libc::syscall(libc::SYS_keyctl, SETPERM, serial, permissions) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
