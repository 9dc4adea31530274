//! The architectures whose programs a machine of ours can run, and what each calls its system calls.
//!
//! The numbers are the kernel's (`arch/x86/entry/syscalls/*.tbl`, `include/uapi/asm-generic/unistd.h`,
//! `arch/arm/tools/syscall.tbl`), up to Linux 6.17. A test holds them to libseccomp's.

use oci_spec::runtime::Arch as Name;

/// An architecture, as far as a system call tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// 64-bit x86.
    X86_64,
    /// 32-bit x86.
    X86,
    /// x86-64 with 32-bit pointers: the same calls under other numbers.
    X32,
    /// 64-bit ARM.
    Aarch64,
    /// 32-bit ARM (EABI).
    Arm,
}

/// Those that this machine's kernel can run, the machine's own first.
#[cfg(target_arch = "x86_64")]
pub const OURS: &[Arch] = &[Arch::X86_64, Arch::X86, Arch::X32];
/// Those that this machine's kernel can run, the machine's own first.
#[cfg(target_arch = "aarch64")]
pub const OURS: &[Arch] = &[Arch::Aarch64, Arch::Arm];
/// Those that this machine's kernel can run, the machine's own first.
#[cfg(target_arch = "arm")]
pub const OURS: &[Arch] = &[Arch::Arm, Arch::Aarch64];

/// Set in the numbers of [`Arch::X32`] (`__X32_SYSCALL_BIT`).
pub const X32_BIT: u32 = 0x4000_0000;

/// Where the numbers begin that only [`Arch::Arm`] has (`__ARM_NR_BASE`).
pub const ARM_PRIVATE: u32 = 0x000f_0000;

/// Where the numbers begin that only [`Arch::X32`] has.
const X32_OWN: u32 = X32_BIT | 512;

/// The calls that 32-bit x86 also has as parts of `socketcall(2)`, from part 1 on (linux/net.h).
const SOCKETCALL: [&str; 20] = [
    "socket",
    "bind",
    "connect",
    "listen",
    "accept",
    "getsockname",
    "getpeername",
    "socketpair",
    "send",
    "recv",
    "sendto",
    "recvfrom",
    "shutdown",
    "setsockopt",
    "getsockopt",
    "sendmsg",
    "recvmsg",
    "accept4",
    "recvmmsg",
    "sendmmsg",
];

/// The same of `ipc(2)` (linux/ipc.h).
const IPC: [(&str, u64); 12] = [
    ("semop", 1),
    ("semget", 2),
    ("semctl", 3),
    ("semtimedop", 4),
    ("msgsnd", 11),
    ("msgrcv", 12),
    ("msgget", 13),
    ("msgctl", 14),
    ("shmat", 21),
    ("shmdt", 22),
    ("shmget", 23),
    ("shmctl", 24),
];

/// `__NR_socketcall` and `__NR_ipc` of 32-bit x86 (arch/x86/entry/syscalls/syscall_32.tbl).
const SOCKETCALL_NUMBER: u32 = 102;
const IPC_NUMBER: u32 = 117;

/// One call that is a part of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    /// The number of the other.
    pub of: u32,
    /// Its first argument, as far as `mask` goes.
    pub value: u64,
    /// What of the first argument says which part is meant.
    pub mask: u64,
}

impl Arch {
    /// By its name in `linux.seccomp.architectures`; `None` for one that no machine of ours can run.
    #[must_use]
    pub const fn of(name: Name) -> Option<Self> {
        match name {
            Name::ScmpArchX86 => Some(Self::X86),
            Name::ScmpArchX86_64 => Some(Self::X86_64),
            Name::ScmpArchX32 => Some(Self::X32),
            Name::ScmpArchArm => Some(Self::Arm),
            Name::ScmpArchAarch64 => Some(Self::Aarch64),
            _ => None,
        }
    }

    /// Its name in `linux.seccomp.architectures`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "SCMP_ARCH_X86_64",
            Self::X86 => "SCMP_ARCH_X86",
            Self::X32 => "SCMP_ARCH_X32",
            Self::Aarch64 => "SCMP_ARCH_AARCH64",
            Self::Arm => "SCMP_ARCH_ARM",
        }
    }

    /// What the kernel tells a filter (`AUDIT_ARCH_*`, linux/audit.h). x32 and x86-64 share theirs.
    #[must_use]
    pub const fn token(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
        }
    }

    /// Whether arguments have 64 bits; of the others a filter sees the lower half.
    #[must_use]
    pub const fn is_wide(self) -> bool {
        matches!(self, Self::X86_64 | Self::Aarch64)
    }

    /// From which number on calls are the architecture's own, whose numbers say nothing about their age.
    #[must_use]
    pub const fn private_from(self) -> Option<u32> {
        match self {
            Self::Arm => Some(ARM_PRIVATE),
            Self::X32 => Some(X32_OWN),
            _ => None,
        }
    }

    /// Whether the number is one of those.
    #[must_use]
    pub fn is_private(self, number: u32) -> bool {
        self.private_from().is_some_and(|from| number >= from)
    }

    /// How the call can also be made, with its arguments out of a filter's sight: on 32-bit x86 all about sockets and System V
    /// IPC is behind two calls of many parts.
    #[must_use]
    pub fn part(self, name: &str) -> Option<Part> {
        if self != Self::X86 {
            return None;
        }
        if let Some(at) = SOCKETCALL.iter().position(|part| *part == name) {
            return Some(Part { of: SOCKETCALL_NUMBER, value: at as u64 + 1, mask: u64::MAX });
        }
        let (_, value) = IPC.iter().find(|(part, _)| *part == name)?;
        // Above it is the version of the calling convention.
        Some(Part { of: IPC_NUMBER, value: *value, mask: 0xffff })
    }
}

/// A line for each name, in the order of its bytes: the name, and its number on each architecture, in the order of [`Arch`].
const TABLE: &str = include_str!("numbers.txt");

/// Every system call of every architecture, by name.
#[derive(Debug)]
pub struct Names {
    /// Names, with what stands behind them.
    lines: Vec<(&'static str, &'static str)>,
}

/// What a call is on each architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers([Option<u32>; 5]);

impl Names {
    /// Ready to be looked through.
    #[must_use]
    pub fn new() -> Self {
        Self { lines: TABLE.lines().filter_map(|line| line.split_once(' ')).collect() }
    }

    /// A call; `None` when no architecture has one of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Numbers> {
        let at = self.lines.binary_search_by(|(known, _)| (*known).cmp(name)).ok()?;
        let mut numbers = [None; 5];
        for (number, word) in numbers.iter_mut().zip(self.lines[at].1.split(' ')) {
            *number = word.parse().ok();
        }
        Some(Numbers(numbers))
    }
}

impl Default for Names {
    fn default() -> Self {
        Self::new()
    }
}

impl Numbers {
    /// The number on one of them, if it has the call.
    #[must_use]
    pub fn on(&self, arch: Arch) -> Option<u32> {
        let bit = if arch == Arch::X32 { X32_BIT } else { 0 };
        self.0[arch as usize].map(|number| number | bit)
    }
}
