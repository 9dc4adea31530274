//! Signal dispositions by number: libraries know the named signals only, and keep some real-time ones to themselves.

use std::ffi::c_int;
use std::ptr;

/// The highest signal number plus one (`_NSIG` of <asm/signal.h>, signal(7)).
pub const COUNT: c_int = 65;

/// Gives every signal its default disposition again. Handlers do not survive execve(2), but ignored signals do:
/// Rust ignores SIGPIPE, and a caller may have ignored others.
pub fn restore_defaults() {
    (1..COUNT).for_each(restore_default);
}

/// Gives signal number `signal` its default disposition. Not through libc: that hides signals 32 and 33, which it uses
/// itself, but a caller may have left them ignored, and the container's C library is another one.
pub fn restore_default(signal: c_int) {
    // The kernel's `struct sigaction` (handler, flags, restorer where there is one, mask) is at most this long, and
    // all zeroes are SIG_DFL, no flags and an empty mask on every architecture.
    let default = [0_u64; 4];
    const MASK_SIZE: usize = 8;
    // SAFETY: rt_sigaction(2) reads no more than `default`, which outlives the call, and writes nothing through a null
    // pointer. SIG_DFL runs no code of ours.
    let _einval_for_kill_and_stop =
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), ptr::null_mut::<u64>(), MASK_SIZE) };
}
