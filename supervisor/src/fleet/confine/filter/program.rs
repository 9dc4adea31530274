//! A list of refused calls as a program for the kernel: classic BPF over `struct seccomp_data` (seccomp(2)), which is
//! looked at by its low halves only, so that 32-bit and 64-bit machines share one form.

pub(super) use seccompiler::sock_filter as Instruction;

/// The kernel's name for a way of calling it (`AUDIT_ARCH_*` of linux/audit.h), and what else tells calls apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Machine {
    /// `seccomp_data.arch`.
    pub(super) audit: u32,
    /// Numbers from here on are another way of calling that passes as the same architecture.
    pub(super) second_table: Option<u32>,
}

impl Machine {
    /// x86-64. Each call has a second number, for the x32 way of calling: a list of refused numbers would not hold it.
    #[cfg(any(test, target_arch = "x86_64"))]
    pub(super) const X86_64: Self = Self { audit: 0xc000_003e, second_table: Some(0x4000_0000) };
    #[cfg(any(test, target_arch = "aarch64"))]
    pub(super) const AARCH64: Self = Self { audit: 0xc000_00b7, second_table: None };
    /// 32-bit ARM, on its own kernels and on those of aarch64. (Kernels that still have the first ABI of ARM, whose numbers
    /// begin at 0x900000, have no seccomp filters.)
    #[cfg(any(test, target_arch = "arm"))]
    pub(super) const ARM: Self = Self { audit: 0x4000_0028, second_table: None };

    /// What this program was built for.
    #[cfg(target_arch = "x86_64")]
    pub(super) const HERE: Self = Self::X86_64;
    #[cfg(target_arch = "aarch64")]
    pub(super) const HERE: Self = Self::AARCH64;
    #[cfg(target_arch = "arm")]
    pub(super) const HERE: Self = Self::ARM;
}

/// One call that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// Its number, `libc::SYS_*`.
    pub(super) call: libc::c_long,
    pub(super) when: When,
    /// What the caller is told.
    pub(super) errno: u16,
}

impl Rule {
    pub(super) const fn always(call: libc::c_long, errno: u16) -> Self {
        Self { call, when: When::Always, errno }
    }
}

/// With which arguments. They are `int`s, of which the kernel, too, reads no more than 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    Always,
    /// The first argument is neither of these.
    FirstIsNeither(i32, i32),
    /// The first argument has not this bit.
    FirstLacks(i32),
}

// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const FIRST_LOW: u32 = if cfg!(target_endian = "little") { 16 } else { 20 };

/// Kills on another way of calling, answers each refused call with its errno, allows the rest.
pub(super) fn assemble(machine: Machine, rules: &[Rule]) -> Vec<Instruction> {
    let mut program =
        vec![load(ARCH), jump_if_equal(machine.audit, 1, 0), give(libc::SECCOMP_RET_KILL_PROCESS), load(NUMBER)];
    if let Some(second_table) = machine.second_table {
        program.extend([jump_if_at_least(second_table, 0, 1), refuse(libc::ENOSYS as u16)]);
    }
    // The number is what the machine holds at the beginning and the end of each rule.
    for rule in rules {
        let inside = match rule.when {
            When::Always => vec![refuse(rule.errno)],
            When::FirstIsNeither(one, other) => vec![
                load(FIRST_LOW),
                jump_if_equal(one as u32, 2, 0),
                jump_if_equal(other as u32, 1, 0),
                refuse(rule.errno),
                load(NUMBER),
            ],
            When::FirstLacks(bit) => {
                vec![load(FIRST_LOW), jump_if_any(bit as u32, 1, 0), refuse(rule.errno), load(NUMBER)]
            }
        };
        program.push(jump_if_equal(rule.call as u32, 0, inside.len() as u8));
        program.extend(inside);
    }
    program.push(give(libc::SECCOMP_RET_ALLOW));
    program
}

const fn load(offset: u32) -> Instruction {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset)
}

const fn jump_if_equal(value: u32, yes: u8, no: u8) -> Instruction {
    instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, yes, no, value)
}

const fn jump_if_at_least(value: u32, yes: u8, no: u8) -> Instruction {
    instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, yes, no, value)
}

const fn jump_if_any(bits: u32, yes: u8, no: u8) -> Instruction {
    instruction(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, yes, no, bits)
}

const fn refuse(errno: u16) -> Instruction {
    give(libc::SECCOMP_RET_ERRNO | errno as u32)
}

const fn give(value: u32) -> Instruction {
    instruction(libc::BPF_RET | libc::BPF_K, 0, 0, value)
}

const fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> Instruction {
    Instruction { code: code as u16, jt, jf, k }
}
