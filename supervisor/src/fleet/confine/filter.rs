//! The system calls that a child is denied (seccomp(2)). A list of what is denied rather than of what is allowed: these are
//! whole programs with a C library of somebody's choice in them, and they have no files, no user and no capabilities left
//! anyway. Whatever could make a process, enter another's, or reach a rarely used part of the kernel is on it.

use super::Error;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// What a child may do beside computing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::fleet) enum Filter {
    /// Calling out by TCP and UDP, with threads.
    Network,
    /// Writing files.
    Files,
}

/// Denied to both.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const DENIED: &[libc::c_long] = &[
    // Other programs and processes.
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_kcmp,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_personality,
    // Mounts.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_mknodat,
    libc::SYS_quotactl,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    // Rarely used parts of the kernel.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_setup,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_memfd_create,
    libc::SYS_memfd_secret,
    libc::SYS_inotify_init1,
    libc::SYS_fanotify_init,
    libc::SYS_shmget,
    libc::SYS_semget,
    libc::SYS_msgget,
    libc::SYS_mq_open,
    // The machine.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_acct,
    libc::SYS_syslog,
    // Being called.
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_socketpair,
];

#[cfg(target_arch = "x86_64")]
const DENIED_HERE: &[libc::c_long] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_mknod,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_kexec_file_load,
    libc::SYS_inotify_init,
];
#[cfg(target_arch = "aarch64")]
const DENIED_HERE: &[libc::c_long] = &[];

impl Filter {
    /// Puts the filter in place. Returns what could not be done.
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    pub(super) fn apply(self) -> Result<Option<String>, Error> {
        for program in self.programs().map_err(|error| Error::Calls(Box::new(error)))? {
            match seccompiler::apply_filter(&program) {
                Ok(()) => {}
                Err(seccompiler::Error::Seccomp(error)) if lacks_seccomp(&error) => {
                    return Ok(Some("seccomp: not at all, this kernel does not have it".to_owned()));
                }
                Err(error) => return Err(Error::Calls(Box::new(error))),
            }
        }
        Ok(None)
    }

    /// Puts the filter in place. Returns what could not be done.
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub(super) fn apply(self) -> Result<Option<String>, Error> {
        Ok(Some(format!("seccomp: not at all, there is no filter for `{}`", std::env::consts::ARCH)))
    }

    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    fn programs(self) -> Result<[BpfProgram; 2], seccompiler::BackendError> {
        let arch = std::env::consts::ARCH.try_into()?;
        let mut denied: std::collections::BTreeMap<_, _> =
            DENIED.iter().chain(DENIED_HERE).map(|call| (*call, Vec::new())).collect();
        match self {
            Self::Network => {
                let (v4, v6) = (libc::AF_INET as u64, libc::AF_INET6 as u64);
                let other = [argument(0, SeccompCmpOp::Ne, v4)?, argument(0, SeccompCmpOp::Ne, v6)?];
                denied.insert(libc::SYS_socket, vec![SeccompRule::new(other.to_vec())?]);
                // A thread, which looking up names needs, is not a process.
                let thread = libc::CLONE_THREAD as u64;
                let process = argument(0, SeccompCmpOp::MaskedEq(thread), 0)?;
                denied.insert(libc::SYS_clone, vec![SeccompRule::new(vec![process])?]);
            }
            Self::Files => {
                denied.extend([libc::SYS_socket, libc::SYS_connect, libc::SYS_clone].map(|call| (call, Vec::new())));
            }
        }
        let refuse = SeccompAction::Errno(libc::EPERM as u32);
        let first = SeccompFilter::new(denied, SeccompAction::Allow, refuse, arch)?.try_into()?;
        // `clone3` has its flags in memory, where a filter cannot look; a C library that does not find it uses `clone`.
        let absent = SeccompAction::Errno(libc::ENOSYS as u32);
        let clone3 = [(libc::SYS_clone3, Vec::new())].into_iter().collect();
        let second = SeccompFilter::new(clone3, SeccompAction::Allow, absent, arch)?.try_into()?;
        Ok([without_x32(first), second])
    }
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn argument(index: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, value)
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn lacks_seccomp(error: &std::io::Error) -> bool {
    // seccomp(2): ENOSYS without seccomp, EINVAL without filters; our own programs are not what EINVAL means here, since
    // the compiler made them.
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL))
}

/// On x86-64 each call has a second number, for the x32 way of calling, that passes as the same architecture: a list of
/// denied numbers would not hold it, so all of them go first. `ld [nr]; jge 0x40000000, +0, +1; ret ENOSYS`.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn without_x32(program: BpfProgram) -> BpfProgram {
    if !cfg!(target_arch = "x86_64") {
        return program;
    }
    let instruction = |code, jt, jf, k| seccompiler::sock_filter { code, jt, jf, k };
    let errno = 0x0005_0000 | libc::ENOSYS as u32;
    let mut whole =
        vec![instruction(0x20, 0, 0, 0), instruction(0x35, 0, 1, 0x4000_0000), instruction(0x06, 0, 0, errno)];
    whole.extend(program);
    whole
}

#[cfg(all(test, any(target_arch = "x86_64", target_arch = "aarch64")))]
mod tests {
    use super::*;

    #[test]
    fn programs_are_made_for_both() {
        for filter in [Filter::Network, Filter::Files] {
            let [denied, clone3] = filter.programs().unwrap();
            assert!(denied.len() > DENIED.len() && !clone3.is_empty());
        }
    }
}
