//! CPU scheduling attributes (`sched_setattr(2)`) and I/O priorities (`ioprio_set(2)`), which have no C wrappers.

use std::io;

/// `IOPRIO_WHO_PROCESS`.
const WHO_PROCESS: libc::c_int = 1;

/// The kernel's `struct sched_attr` (include/uapi/linux/sched/types.h), 56 bytes since Linux 5.3.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// How many bytes of this structure the kernel shall read: [`Attributes::SIZE_BASE`] or [`Attributes::SIZE_CLAMP`].
    pub size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// -20 to 19, for the time-sharing policies.
    pub nice: i32,
    /// 1 to 99, for the real-time policies.
    pub priority: u32,
    /// Nanoseconds, for the deadline policy.
    pub runtime: u64,
    /// Nanoseconds, for the deadline policy.
    pub deadline: u64,
    /// Nanoseconds, for the deadline policy.
    pub period: u64,
    /// Utilisation clamps, 0 to 1024.
    pub util_min: u32,
    /// Utilisation clamps, 0 to 1024.
    pub util_max: u32,
}

impl Attributes {
    /// What kernels before Linux 5.3 know; asking for no more keeps them working.
    pub const SIZE_BASE: u32 = 48;
    /// With the utilisation clamps.
    pub const SIZE_CLAMP: u32 = 56;
}

/// Sets the scheduling policy and attributes of `pid` (0: the caller).
///
/// # Errors
/// `EPERM` without `CAP_SYS_NICE` or a real-time budget, `EINVAL` for a combination the kernel refuses, `EBUSY` when a
/// deadline reservation does not fit.
pub fn set_attributes(pid: i32, attributes: &Attributes) -> io::Result<()> {
    // The kernel writes the size it knows back on E2BIG, so it gets a copy.
    let mut copy = *attributes;
    copy.size = copy.size.min(Attributes::SIZE_CLAMP);
    // SAFETY: sched_setattr reads `size` bytes at the pointer and may write its `size` field: the copy is repr(C) with
    // the kernel's layout, is ours alone, outlives the call, and `size` was just capped to its length.
    match unsafe { libc::syscall(libc::SYS_sched_setattr, pid, &raw mut copy, 0) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Sets the I/O priority of process `pid` (0: the caller) to `class << 13 | level`.
///
/// # Errors
/// `EPERM` without the right to the real-time class.
pub fn set_io_priority(pid: i32, priority: i32) -> io::Result<()> {
    // SAFETY: ioprio_set takes three numbers and touches no memory of ours.
    match unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, pid, priority) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::Attributes;
    use std::mem::offset_of;

    #[test]
    fn attributes_lie_where_the_kernel_reads_them() {
        let places = [offset_of!(Attributes, flags), offset_of!(Attributes, runtime), offset_of!(Attributes, util_min)];
        assert_eq!(places, [8, 24, Attributes::SIZE_BASE as usize]);
        assert_eq!(size_of::<Attributes>(), Attributes::SIZE_CLAMP as usize);
    }
}
