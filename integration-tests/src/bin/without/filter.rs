//! The filter: a comparison for each missing call, ENOSYS for those, the watcher for what opens a path.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// The newer calls by name. What is not here has no fallback in Skiff that could be tested.
const CALLS: [(&str, libc::c_long); 17] = [
    ("clone3", libc::SYS_clone3),
    ("openat2", libc::SYS_openat2),
    ("open_tree", libc::SYS_open_tree),
    ("move_mount", libc::SYS_move_mount),
    ("fsopen", libc::SYS_fsopen),
    ("fsconfig", libc::SYS_fsconfig),
    ("fsmount", libc::SYS_fsmount),
    ("fspick", libc::SYS_fspick),
    ("mount_setattr", libc::SYS_mount_setattr),
    ("pidfd_open", libc::SYS_pidfd_open),
    ("pidfd_send_signal", libc::SYS_pidfd_send_signal),
    ("pidfd_getfd", libc::SYS_pidfd_getfd),
    ("close_range", libc::SYS_close_range),
    ("faccessat2", libc::SYS_faccessat2),
    ("epoll_pwait2", libc::SYS_epoll_pwait2),
    ("statx", libc::SYS_statx),
    ("execveat", libc::SYS_execveat),
];
/// Calls from this number on came after Linux 4.19 (4.20 added none, 5.1 began here; the numbers are the same on every
/// architecture since then): linux/include/uapi/asm-generic/unistd.h.
const AFTER_4_19: libc::c_long = 424;
/// A program of seccomp has at most 4096 instructions, and jumps go 255 far.
const MOST: usize = 200;

/// What the kernel is to lack.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Missing {
    calls: Vec<libc::c_long>,
    after_4_19: bool,
    pub(crate) cgroup_kill: bool,
}

impl Missing {
    pub(crate) fn parse(words: &str) -> Result<Self, String> {
        let mut missing = Self::default();
        for word in words.split(',') {
            match word {
                "cgroup.kill" => missing.cgroup_kill = true,
                "linux-4.19" => (missing.after_4_19, missing.cgroup_kill) = (true, true),
                call => match CALLS.iter().find(|(name, _)| *name == call) {
                    Some((_, number)) => missing.calls.push(*number),
                    None => return Err(format!("`{call}` is none of the calls that can be taken away")),
                },
            }
        }
        Ok(missing)
    }

    /// The program, in the order of its instructions. `watched` asks the watcher about each opening of a path.
    fn program(&self, watched: bool) -> Vec<libc::sock_filter> {
        let load = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
        let give = (libc::BPF_RET | libc::BPF_K) as u16;
        let jump = |kind: u32| (libc::BPF_JMP | kind | libc::BPF_K) as u16;
        let step = |code: u16, k: u32| libc::sock_filter { code, jt: 0, jf: 0, k };
        let unless = |code: u16, k: u32| libc::sock_filter { code, jt: 0, jf: 1, k };
        let number = |call: &libc::c_long| u32::try_from(*call).expect("numbers of calls are small");
        // offsetof(struct seccomp_data, nr) is 0.
        let mut program = vec![step(load, 0)];
        let enosys = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
        for call in &self.calls {
            program.push(unless(jump(libc::BPF_JEQ), number(call)));
            program.push(step(give, enosys));
        }
        if self.after_4_19 {
            program.push(unless(jump(libc::BPF_JGE), number(&AFTER_4_19)));
            program.push(step(give, enosys));
        }
        if watched {
            for call in [libc::SYS_openat, libc::SYS_openat2] {
                program.push(unless(jump(libc::BPF_JEQ), number(&call)));
                program.push(step(give, libc::SECCOMP_RET_USER_NOTIF));
            }
        }
        program.push(step(give, libc::SECCOMP_RET_ALLOW));
        assert!(program.len() < MOST, "the list above is short");
        program
    }
}

/// Puts this process, and all that it will start, behind the filter. With `watched` the listener comes back.
/// It needs CAP_SYS_ADMIN, in place of no_new_privs, which the program would see.
pub(crate) fn install(missing: &Missing, watched: bool) -> Result<Option<OwnedFd>, String> {
    let mut program = missing.program(watched);
    let length = u16::try_from(program.len()).expect("checked to be short");
    let filter = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    let flags = if watched { libc::SECCOMP_FILTER_FLAG_NEW_LISTENER } else { 0 };
    // SAFETY: seccomp(2) reads `filter`, which points at `len` instructions; both live until the call returns.
    let answer = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const filter) };
    if answer < 0 {
        return Err(format!("the filter is refused ({}); root may set one", io::Error::last_os_error()));
    }
    if !watched {
        return Ok(None);
    }
    let number = i32::try_from(answer).expect("a descriptor fits");
    // SAFETY: with NEW_LISTENER the call answers with a new descriptor, which nobody else has.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(number) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_calls_or_kernels() {
        let both = Missing::parse("clone3,cgroup.kill").unwrap();
        assert_eq!(both, Missing { calls: vec![libc::SYS_clone3], after_4_19: false, cgroup_kill: true });
        assert!(Missing::parse("linux-4.19").unwrap().after_4_19);
        assert!(Missing::parse("clone4").unwrap_err().contains("`clone4`"));
    }

    /// What the program answers for a call.
    fn answer(program: &[libc::sock_filter], call: libc::c_long) -> u32 {
        let mut at = 1;
        loop {
            let step = &program[at];
            let code = u32::from(step.code);
            if code & 7 == libc::BPF_RET {
                return step.k;
            }
            let call = u32::try_from(call).unwrap();
            let holds = if code & 0xf0 == libc::BPF_JEQ { call == step.k } else { call >= step.k };
            at += 1 + usize::from(if holds { step.jt } else { step.jf });
        }
    }

    #[test]
    fn only_what_is_named_is_missing() {
        let enosys = libc::SECCOMP_RET_ERRNO | 38;
        let one = Missing::parse("clone3").unwrap().program(false);
        assert_eq!(answer(&one, libc::SYS_clone3), enosys);
        assert_eq!(answer(&one, libc::SYS_openat2), libc::SECCOMP_RET_ALLOW);
        let old = Missing::parse("linux-4.19").unwrap().program(true);
        assert_eq!(answer(&old, libc::SYS_close_range), enosys);
        assert_eq!(answer(&old, libc::SYS_openat2), enosys, "missing wins over watched");
        assert_eq!(answer(&old, libc::SYS_openat), libc::SECCOMP_RET_USER_NOTIF);
        assert_eq!(answer(&old, libc::SYS_execve), libc::SECCOMP_RET_ALLOW);
    }
}
