//! bpf(2) for device programs of cgroup v2: the few instructions they are made of, loading and attaching. A program
//! lives as long as the cgroup it is attached to.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_ATTACH: libc::c_long = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
/// Programs of cgroups below may be added, but never widen what this one allows.
const BPF_F_ALLOW_MULTI: u32 = 2;

/// One instruction, `struct bpf_insn` of linux/bpf.h.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insn {
    /// Class, operation and source of the operand.
    pub code: u8,
    /// Destination and source, four bits each, in the order of the machine's bit fields.
    registers: u8,
    /// Offset of a jump or of a load.
    pub off: i16,
    /// The operand.
    pub imm: i32,
}

impl Insn {
    const fn new(code: u8, to: u8, from: u8, off: i16, imm: i32) -> Insn {
        let registers = if cfg!(target_endian = "little") { from << 4 | to } else { to << 4 | from };
        Insn { code, registers, off, imm }
    }

    /// The destination and the source register.
    pub const fn registers(&self) -> (usize, usize) {
        let (high, low) = ((self.registers >> 4) as usize, (self.registers & 15) as usize);
        if cfg!(target_endian = "little") { (low, high) } else { (high, low) }
    }

    /// `to = *(u32 *)(from + off)`
    pub const fn load_u32(to: u8, from: u8, off: i16) -> Insn {
        Insn::new(0x61, to, from, off, 0)
    }

    /// `to = from`, 32 bits.
    pub const fn copy(to: u8, from: u8) -> Insn {
        Insn::new(0xbc, to, from, 0, 0)
    }

    /// `to = imm`, 32 bits.
    pub const fn set(to: u8, imm: i32) -> Insn {
        Insn::new(0xb4, to, 0, 0, imm)
    }

    /// `to &= imm`, 32 bits.
    pub const fn and(to: u8, imm: i32) -> Insn {
        Insn::new(0x54, to, 0, 0, imm)
    }

    /// `to >>= imm`, 32 bits.
    pub const fn shift_right(to: u8, imm: i32) -> Insn {
        Insn::new(0x74, to, 0, 0, imm)
    }

    /// Skips `off` instructions if `register != imm`.
    pub const fn jump_if_not(register: u8, imm: i32, off: i16) -> Insn {
        Insn::new(0x55, register, 0, off, imm)
    }

    /// Skips `off` instructions if `register == imm`.
    pub const fn jump_if(register: u8, imm: i32, off: i16) -> Insn {
        Insn::new(0x15, register, 0, off, imm)
    }

    /// Returns with the value of register 0.
    pub const fn exit() -> Insn {
        Insn::new(0x95, 0, 0, 0, 0)
    }
}

/// The members of `union bpf_attr` for `BPF_PROG_LOAD`, as far as Linux 4.15 has them.
#[repr(C)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

/// The members of `union bpf_attr` for `BPF_PROG_ATTACH`.
#[repr(C)]
struct AttachAttr {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
}

/// Loads a device program. Kernels before 5.11 charge it to RLIMIT_MEMLOCK and answer EPERM if that is too small, so
/// the limit is lifted for a second attempt. Errors are those of bpf(2).
pub fn load_device_program(insns: &[Insn]) -> io::Result<OwnedFd> {
    match load(insns) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            let before = getrlimit(Resource::Memlock);
            let lifted = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None })
                .or_else(|_| setrlimit(Resource::Memlock, Rlimit { current: before.maximum, ..before }));
            if lifted.is_err() {
                return Err(error);
            }
            let second = load(insns);
            // The limit is inherited by what is executed later. Without CAP_SYS_RESOURCE the old one is within reach.
            let _restored = setrlimit(Resource::Memlock, before);
            second
        }
        result => result,
    }
}

fn load(insns: &[Insn]) -> io::Result<OwnedFd> {
    let attr = LoadAttr {
        prog_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(insns.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?,
        insns: insns.as_ptr() as u64,
        // The program calls no helper, so any licence will do.
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
    };
    // SAFETY: bpf(2) reads `size` bytes at the pointer: `attr` is that large, has no padding and outlives the call, and
    // so do the instructions and the NUL-terminated licence whose addresses it holds.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const attr, size_of::<LoadAttr>()) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so the number is a new descriptor (close-on-exec by itself) that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Attaches a device program to a cgroup of v2; the descriptor of the cgroup may be of O_PATH. Errors are those of
/// bpf(2).
pub fn attach_device_program(program: BorrowedFd<'_>, cgroup: BorrowedFd<'_>) -> io::Result<()> {
    let attr = AttachAttr {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_bpf_fd: program.as_raw_fd() as u32,
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: BPF_F_ALLOW_MULTI,
    };
    // SAFETY: bpf(2) reads `size` bytes at the pointer: `attr` is that large, has no padding and outlives the call; the
    // two descriptors in it are borrowed and hence open.
    let done = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_ATTACH, &raw const attr, size_of::<AttachAttr>()) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;

    /// Pointers have 64 bits in this structure, whatever they have in the program.
    #[test]
    fn attributes_lie_where_the_kernel_reads_them() {
        let load = [
            offset_of!(LoadAttr, insns),
            offset_of!(LoadAttr, license),
            offset_of!(LoadAttr, log_level),
            offset_of!(LoadAttr, log_buf),
            offset_of!(LoadAttr, prog_flags),
        ];
        assert_eq!(load, [8, 16, 24, 32, 44]);
        assert_eq!((size_of::<LoadAttr>(), size_of::<AttachAttr>(), size_of::<Insn>()), (48, 16, 8));
    }
}
