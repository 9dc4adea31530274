//! Signal calls that take numbers: libraries know the named signals only, and a runtime forwards real-time ones, too.

use std::ffi::c_int;
use std::io;
use std::ptr;

/// The highest signal number plus one (`_NSIG` of <asm/signal.h>, signal(7)).
pub const COUNT: c_int = 65;

/// Gives every signal its default disposition again. Handlers do not survive execve(2), but ignored signals do:
/// Rust ignores SIGPIPE, and a caller may have ignored others.
pub fn restore_defaults() {
    // SAFETY: an all-zero sigaction is SIG_DFL with no flags and an empty mask.
    let default: libc::sigaction = unsafe { std::mem::zeroed() };
    for signal in 1..COUNT {
        // SAFETY: sigaction(2) reads `default`, which outlives the call, and writes nothing through a null pointer.
        // SIGKILL, SIGSTOP and the C library's own two numbers answer EINVAL, and have their default anyway.
        let _einval_for_some = unsafe { libc::sigaction(signal, &raw const default, ptr::null_mut()) };
    }
}

/// Sends signal number `signal` (0 only checks) to process `pid`; kill(2).
///
/// # Errors
/// EPERM, or ESRCH when there is no such process.
pub fn send(pid: i32, signal: c_int) -> io::Result<()> {
    // SAFETY: kill(2) takes two numbers.
    match unsafe { libc::kill(pid, signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
