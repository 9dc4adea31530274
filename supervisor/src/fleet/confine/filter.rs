//! The system calls that a child is denied (seccomp(2)). A list of what is denied rather than of what is allowed: these are
//! whole programs with a C library of somebody's choice in them, and they have no files, no user and no capabilities left
//! anyway. Whatever could make a process, enter another's, or reach a rarely used part of the kernel is on it.

mod program;

use super::Error;
use program::{Machine, Rule, When};

/// What a child may do beside computing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::fleet) enum Filter {
    /// Calling out by TCP and UDP, with threads.
    Network,
    /// Writing files.
    Files,
}

/// Denied to both.
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

/// Calls that other machines have not got.
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
const DENIED_HERE: &[libc::c_long] = &[libc::SYS_kexec_file_load];
#[cfg(target_arch = "arm")]
const DENIED_HERE: &[libc::c_long] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_mknod,
    libc::SYS_uselib,
    libc::SYS_kexec_file_load,
    libc::SYS_inotify_init,
    libc::SYS_pciconfig_write,
    SYS_CLOCK_SETTIME64,
    SYS_CLOCK_ADJTIME64,
];

/// With 64 bits for seconds, these two are other calls on a 32-bit machine; libc has no names for them
/// (arch/arm/tools/syscall.tbl).
#[cfg(target_arch = "arm")]
const SYS_CLOCK_SETTIME64: libc::c_long = 404;
#[cfg(target_arch = "arm")]
const SYS_CLOCK_ADJTIME64: libc::c_long = 405;

const REFUSED: u16 = libc::EPERM as u16;
const ABSENT: u16 = libc::ENOSYS as u16;

impl Filter {
    /// Puts the filter in place. Returns what could not be done.
    pub(super) fn apply(self) -> Result<Option<String>, Error> {
        match seccompiler::apply_filter(&program::assemble(Machine::HERE, &self.rules())) {
            Ok(()) => Ok(None),
            Err(seccompiler::Error::Seccomp(error)) if lacks_seccomp(&error) => {
                Ok(Some("seccomp: not at all, this kernel does not have it".to_owned()))
            }
            Err(error) => Err(Error::Calls(Box::new(error))),
        }
    }

    fn rules(self) -> Vec<Rule> {
        let mut rules: Vec<_> = DENIED.iter().chain(DENIED_HERE).map(|call| Rule::always(*call, REFUSED)).collect();
        // `clone3` has its flags in memory, where a filter cannot look; a C library that does not find it uses `clone`.
        rules.push(Rule::always(libc::SYS_clone3, ABSENT));
        match self {
            Self::Network => rules.extend([
                Rule {
                    call: libc::SYS_socket,
                    when: When::FirstIsNeither(libc::AF_INET, libc::AF_INET6),
                    errno: REFUSED,
                },
                // A thread, which looking up names needs, is not a process.
                Rule { call: libc::SYS_clone, when: When::FirstLacks(libc::CLONE_THREAD), errno: REFUSED },
            ]),
            Self::Files => rules
                .extend([libc::SYS_socket, libc::SYS_connect, libc::SYS_clone].map(|call| Rule::always(call, REFUSED))),
        }
        rules
    }
}

fn lacks_seccomp(error: &std::io::Error) -> bool {
    // seccomp(2): ENOSYS without seccomp, EINVAL without filters; our own programs are not what EINVAL means here, since
    // the tests run them.
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL))
}

#[cfg(test)]
mod tests;
