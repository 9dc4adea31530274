//! What a process sets about itself through calls no library wraps safely: personality, signal dispositions, and the
//! closing of every descriptor from a number on.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Sets the execution domain of this process (`personality(2)`); `persona` is a `PER_*` value.
///
/// # Errors
/// `EINVAL` when the kernel cannot change it.
pub fn set_personality(persona: libc::c_ulong) -> io::Result<()> {
    // SAFETY: personality(2) takes a number and touches no memory of ours.
    match unsafe { libc::personality(persona) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Unblocks every signal and gives each its default disposition. A program inherits the mask and what is *ignored* over
/// `execve(2)`: Rust's own start-up ignores `SIGPIPE`, and a caller may have ignored others. Async-signal-safe.
pub fn reset_signals() {
    // First the dispositions: a signal that was sent meanwhile must find the default one.
    super::signals::restore_defaults();
    // SAFETY: sigset_t is plain data for which all zeroes is a valid (empty) value; sigprocmask(2) reads it for the
    // duration of the call, writes nothing as the old set is null, and is async-signal-safe.
    unsafe {
        let mut empty: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut empty);
        let _fails_only_for_a_bad_how = libc::sigprocmask(libc::SIG_SETMASK, &raw const empty, std::ptr::null_mut());
    }
}

/// Makes `command`, between its fork and its exec, enter `directory` (when given) and take default signals.
pub fn prepare_child(command: &mut Command, directory: Option<OwnedFd>) {
    let enter = move || {
        if let Some(directory) = &directory {
            rustix::process::fchdir(directory)?;
        }
        reset_signals();
        keep_from_exec(3);
        Ok(())
    };
    // SAFETY: pre_exec requires that the closure be sound in a forked child: it neither allocates nor takes a lock
    // (these calls are async-signal-safe), and the runtime has one thread anyway.
    let _the_same_command = unsafe { command.pre_exec(enter) };
}

/// Keeps every descriptor from `first` on from the program that is executed next: ours are close-on-exec, but not those
/// that the caller of the runtime has left open.
fn keep_from_exec(first: u32) {
    const CLOSE_RANGE_CLOEXEC: u32 = 4;
    /// What is tried where the kernel cannot do it (before Linux 5.11): the usual limit on open files.
    const BLIND_LIMIT: i32 = 1024;
    // SAFETY: with this flag close_range(2) only sets a flag of descriptors and touches no memory.
    if unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, CLOSE_RANGE_CLOEXEC) } == 0 {
        return;
    }
    for descriptor in i32::try_from(first).unwrap_or(3)..BLIND_LIMIT {
        // SAFETY: F_SETFD takes a number and touches no memory; EBADF for those that are not open is of no account.
        let _not_open = unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// Closes every descriptor from `first` on (`close_range(2)`, Linux 5.9). Whatever still owns one of them must not
/// use or drop it afterwards: the caller is about to `execve(2)` or exit.
///
/// # Errors
/// Only where the fallback cannot tell which descriptors are open.
pub fn close_from(first: u32) -> io::Result<()> {
    // SAFETY: close_range takes three numbers and touches no memory; that no owner uses a closed descriptor again is
    // this function's documented contract, and its one caller goes on to execve(2).
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
    if result == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}

/// Closes one descriptor by number, under the same contract as [`close_from`].
pub fn close_number(descriptor: i32) {
    // SAFETY: close(2) takes a number; that no owner uses it again is the documented contract. EBADF is harmless here:
    // the number was merely free.
    let _only_ebadf_matters_not = unsafe { libc::close(descriptor) };
}

/// Gives a descriptor exactly this number, close-on-exec; whatever had the number is closed (dup3(2)). The caller is
/// about to `execve(2)` and uses nothing else that could own it.
///
/// # Errors
/// `EBADF` when the number is beyond the limit on open files; the descriptor comes back.
pub fn move_descriptor(from: OwnedFd, number: u32) -> Result<OwnedFd, (OwnedFd, io::Error)> {
    let Ok(number) = i32::try_from(number) else { return Err((from, io::Error::from_raw_os_error(libc::EBADF))) };
    if from.as_raw_fd() == number {
        return Ok(from);
    }
    // SAFETY: `from` is open, being owned. The number's former owner, if there is one, is not used again, as the caller
    // promises by what it is about to do.
    let outcome = unsafe { libc::dup3(from.as_raw_fd(), number, libc::O_CLOEXEC) };
    if outcome < 0 {
        return Err((from, io::Error::last_os_error()));
    }
    // SAFETY: dup3 has just made this descriptor and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(outcome) })
}

/// Whether a descriptor is open and was left open for us by whoever executed us.
#[must_use]
pub fn is_inherited(number: u32) -> bool {
    let Ok(number) = i32::try_from(number) else { return false };
    // SAFETY: F_GETFD takes a number, touches no memory, and answers EBADF for one that is not open.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    flags >= 0 && flags & libc::FD_CLOEXEC == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words are the same on all machines, and a thread has its own.
    #[test]
    #[allow(clippy::disallowed_methods, reason = "nothing is forked here")]
    fn a_personality_is_taken() {
        let set = |persona| {
            std::thread::spawn(move || {
                set_personality(persona).unwrap();
                std::fs::read_to_string("/proc/thread-self/personality").unwrap().trim_end().to_owned()
            })
        };
        // 64-bit ARM takes PER_LINUX32 only where it can run 32-bit programs.
        for (persona, read) in [(0, "00000000"), (8, "00000008")] {
            assert_eq!(set(persona).join().unwrap(), read);
        }
    }
}
