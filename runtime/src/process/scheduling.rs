//! How the process is scheduled: `process.scheduler`, `process.ioPriority`, and `linux.personality`, which like them is
//! one number handed to the kernel.

use oci_spec::runtime::{
    IOPriorityClass, LinuxIOPriority, LinuxPersonality, LinuxPersonalityDomain, LinuxSchedulerFlag,
    LinuxSchedulerPolicy, Scheduler,
};

use rustix::process::Pid;

use super::Error;
use crate::sys::sched::{self, Attributes};

// Values of include/uapi/linux/sched.h, ioprio.h and personality.h.
const FLAG_RESET_ON_FORK: u64 = 0x01;
const FLAG_RECLAIM: u64 = 0x02;
const FLAG_DL_OVERRUN: u64 = 0x04;
const FLAG_KEEP_POLICY: u64 = 0x08;
const FLAG_KEEP_PARAMS: u64 = 0x10;
const FLAG_UTIL_CLAMP_MIN: u64 = 0x20;
const FLAG_UTIL_CLAMP_MAX: u64 = 0x40;
const IOPRIO_CLASS_SHIFT: i32 = 13;
const PER_LINUX: libc::c_ulong = 0;
const PER_LINUX32: libc::c_ulong = 8;

/// The attributes for `sched_setattr(2)`.
///
/// # Errors
/// A property that does not belong to the policy, or is outside of its range.
pub fn plan(scheduler: &Scheduler) -> Result<Attributes, Error> {
    use LinuxSchedulerPolicy as Policy;
    let policy = *scheduler.policy();
    let sharing = matches!(policy, Policy::SchedOther | Policy::SchedBatch);
    let real_time = matches!(policy, Policy::SchedFifo | Policy::SchedRr);
    let nice = scheduler.nice().unwrap_or(0);
    if !(-20..=19).contains(&nice) {
        return Err(Error::invalid("process.scheduler.nice", format!("is {nice}; it must be between -20 and 19")));
    }
    if nice != 0 && !sharing {
        return Err(Error::invalid("process.scheduler.nice", "is for SCHED_OTHER and SCHED_BATCH only"));
    }
    let priority = scheduler.priority().unwrap_or(0);
    if real_time && !(1..=99).contains(&priority) {
        let problem = format!("is {priority}; for {policy} it must be between 1 and 99");
        return Err(Error::invalid("process.scheduler.priority", problem));
    }
    if !real_time && priority != 0 {
        return Err(Error::invalid("process.scheduler.priority", "is for SCHED_FIFO and SCHED_RR only"));
    }
    let (runtime, deadline, period) = reservation(scheduler)?;
    let flags = scheduler.flags().iter().flatten().map(|flag| flag_bit(*flag)).fold(0, |all, bit| all | bit);
    let clamps = flags & (FLAG_UTIL_CLAMP_MIN | FLAG_UTIL_CLAMP_MAX) != 0;
    Ok(Attributes {
        size: if clamps { Attributes::SIZE_CLAMP } else { Attributes::SIZE_BASE },
        policy: policy_number(policy)?,
        flags,
        nice,
        priority: priority.unsigned_abs(),
        runtime,
        deadline,
        period,
        ..Attributes::default()
    })
}

/// The value for `ioprio_set(2)`.
///
/// # Errors
/// A level outside of 0 to 7.
pub fn plan_io_priority(priority: &LinuxIOPriority) -> Result<i32, Error> {
    let class = match priority.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    match i32::try_from(priority.priority()) {
        Ok(level @ 0..=7) => Ok(class << IOPRIO_CLASS_SHIFT | level),
        _ => {
            let problem = format!("is {}; it must be between 0 and 7", priority.priority());
            Err(Error::invalid("process.ioPriority.priority", problem))
        }
    }
}

/// The value for `personality(2)`. On a 64-bit machine `LINUX32` makes `uname -m` name the 32-bit one; a 32-bit ARM kernel takes
/// the word and goes back to its own at `execve(2)`, since it is what was asked for anyway.
///
/// # Errors
/// Flags: the specification reserves the word and defines none.
pub fn plan_personality(personality: &LinuxPersonality) -> Result<libc::c_ulong, Error> {
    if personality.flags().as_ref().is_some_and(|flags| !flags.is_empty()) {
        return Err(Error::Unsupported {
            property: "linux.personality.flags",
            reason: "the OCI specification defines no flag yet; leave it out",
        });
    }
    Ok(match personality.domain() {
        LinuxPersonalityDomain::PerLinux => PER_LINUX,
        LinuxPersonalityDomain::PerLinux32 => PER_LINUX32,
    })
}

/// Sets the scheduling attributes of `target`, or of this process.
///
/// # Errors
/// What the kernel refuses.
pub fn apply(attributes: &Attributes, target: Option<Pid>) -> Result<(), Error> {
    sched::set_attributes(target.map_or(0, Pid::as_raw_pid), attributes).map_err(|source| Error::Apply {
        property: "process.scheduler",
        hint: match source.raw_os_error() {
            Some(libc::EPERM) => {
                " (it takes CAP_SYS_NICE; SCHED_DEADLINE excludes a cpuset; with cgroup v1, cpu.rt_runtime_us must not be 0)"
            }
            Some(libc::EBUSY) => " (the deadline reservation does not fit on this machine)",
            _ => "",
        },
        source,
    })
}

/// Sets the I/O priority of this process.
///
/// # Errors
/// What the kernel refuses.
pub fn apply_io_priority(value: i32) -> Result<(), Error> {
    sched::set_io_priority(0, value).map_err(|source| Error::Apply {
        property: "process.ioPriority",
        hint: match source.raw_os_error() {
            Some(libc::EPERM) => " (IOPRIO_CLASS_RT takes CAP_SYS_ADMIN or CAP_SYS_NICE)",
            _ => "",
        },
        source,
    })
}

fn reservation(scheduler: &Scheduler) -> Result<(u64, u64, u64), Error> {
    let values = [("runtime", scheduler.runtime()), ("deadline", scheduler.deadline()), ("period", scheduler.period())];
    if *scheduler.policy() != LinuxSchedulerPolicy::SchedDeadline {
        if let Some((name, _)) = values.iter().find(|(_, value)| value.unwrap_or(0) != 0) {
            return Err(Error::invalid(format!("process.scheduler.{name}"), "is for SCHED_DEADLINE only"));
        }
    }
    let [runtime, deadline, period] = values.map(|(_, value)| value.unwrap_or(0));
    Ok((runtime, deadline, period))
}

fn policy_number(policy: LinuxSchedulerPolicy) -> Result<u32, Error> {
    Ok(match policy {
        LinuxSchedulerPolicy::SchedOther => 0,
        LinuxSchedulerPolicy::SchedFifo => 1,
        LinuxSchedulerPolicy::SchedRr => 2,
        LinuxSchedulerPolicy::SchedBatch => 3,
        LinuxSchedulerPolicy::SchedIdle => 5,
        LinuxSchedulerPolicy::SchedDeadline => 6,
        LinuxSchedulerPolicy::SchedIso => {
            return Err(Error::Unsupported {
                property: "process.scheduler.policy",
                reason: "Linux reserves SCHED_ISO and has never implemented it; use SCHED_RR",
            });
        }
    })
}

const fn flag_bit(flag: LinuxSchedulerFlag) -> u64 {
    match flag {
        LinuxSchedulerFlag::SchedResetOnFork => FLAG_RESET_ON_FORK,
        LinuxSchedulerFlag::SchedFlagReclaim => FLAG_RECLAIM,
        LinuxSchedulerFlag::SchedFlagDLOverrun => FLAG_DL_OVERRUN,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => FLAG_KEEP_POLICY,
        LinuxSchedulerFlag::SchedFlagKeepParams => FLAG_KEEP_PARAMS,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => FLAG_UTIL_CLAMP_MIN,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => FLAG_UTIL_CLAMP_MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, expected: Result<(u32, u64, i32, u32, u64), &str>) {
        let planned = plan(&serde_json::from_str(json).unwrap());
        match expected {
            Ok(wanted) => {
                let found = planned.unwrap();
                assert_eq!((found.policy, found.flags, found.nice, found.priority, found.runtime), wanted, "{json}");
            }
            Err(text) => assert_eq!(planned.unwrap_err().to_string(), text, "{json}"),
        }
    }

    #[test]
    fn schedulers() {
        check(r#"{"policy":"SCHED_OTHER","nice":-5}"#, Ok((0, 0, -5, 0, 0)));
        check(r#"{"policy":"SCHED_FIFO","priority":10}"#, Ok((1, 0, 0, 10, 0)));
        check(r#"{"policy":"SCHED_BATCH","flags":["SCHED_RESET_ON_FORK"]}"#, Ok((3, 1, 0, 0, 0)));
        check(r#"{"policy":"SCHED_DEADLINE","runtime":9,"deadline":10,"period":10}"#, Ok((6, 0, 0, 0, 9)));
        check(
            r#"{"policy":"SCHED_OTHER","nice":20}"#,
            Err("`process.scheduler.nice` is 20; it must be between -20 and 19"),
        );
        check(
            r#"{"policy":"SCHED_RR"}"#,
            Err("`process.scheduler.priority` is 0; for SCHED_RR it must be between 1 and 99"),
        );
        check(
            r#"{"policy":"SCHED_IDLE","priority":1}"#,
            Err("`process.scheduler.priority` is for SCHED_FIFO and SCHED_RR only"),
        );
        check(r#"{"policy":"SCHED_OTHER","period":1}"#, Err("`process.scheduler.period` is for SCHED_DEADLINE only"));
        check(
            r#"{"policy":"SCHED_ISO"}"#,
            Err(
                "`process.scheduler.policy` is not supported: Linux reserves SCHED_ISO and has never implemented it; use SCHED_RR",
            ),
        );
    }

    #[test]
    fn io_priorities() {
        let value = |json: &str| plan_io_priority(&serde_json::from_str(json).unwrap());
        assert_eq!(value(r#"{"class":"IOPRIO_CLASS_BE","priority":4}"#).unwrap(), 2 << 13 | 4);
        assert_eq!(
            value(r#"{"class":"IOPRIO_CLASS_RT","priority":8}"#).unwrap_err().to_string(),
            "`process.ioPriority.priority` is 8; it must be between 0 and 7"
        );
    }

    #[test]
    fn personalities() {
        let value = |json: &str| plan_personality(&serde_json::from_str(json).unwrap());
        assert_eq!(value(r#"{"domain":"LINUX32"}"#).unwrap(), 8);
        assert!(value(r#"{"domain":"LINUX","flags":["X"]}"#).is_err());
    }
}
