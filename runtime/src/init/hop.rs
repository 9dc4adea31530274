//! The process between the runtime and init, where the kernel needs one (see `namespaces`): it joins and makes what
//! only its children will be in, makes init as its own sibling, tells its pid and ends.

use super::step::{self, failed};
use super::{Error, Kit, expect_proceed};
use crate::namespaces::{Hop, Kind, Plan};
use crate::sync::Message;
use crate::sys::clone::{Request, Side, clone};
use std::fs::File;
use std::io::Write;

/// Goes through the hop; returns in init, which does not know its pid as the runtime sees it.
pub(super) fn take(kit: &Kit<'_>, hop: &Hop) -> Result<i32, Error> {
    let plan = &kit.plans.namespaces;
    if kit.wait_first {
        // Cgroups of version 1 are inherited from here on.
        expect_proceed(&kit.channel)?;
    }
    let offsets = open_offsets(plan)?;
    step::join(plan, &kit.namespaces, &hop.join)?;
    if hop.new_user {
        step::separate(Kind::User)?;
        kit.channel.send(&Message::Map)?;
        expect_proceed(&kit.channel)?;
    }
    // Without ids of the namespace the rights over what comes next would be there, but what is made would be nobody's.
    if hop.new_user {
        step::become_root_inside(plan)?;
    } else if joins_user(plan) {
        step::become_root_if_mapped()?;
    }
    make_time(plan, hop, offsets)?;
    if hop.new_pid {
        step::separate(Kind::Pid)?;
    }
    // Whom init joins may see it from its first moment, with descriptors of the host in its hands: the flag is inherited.
    // Not earlier, because the maps and offsets of a process that hides can be written by root only.
    step::hide()?;
    match clone(Request { flags: plan.clone_flags, cgroup: None, sibling: true }) {
        Ok(Side::Child { .. }) => {
            step::die_with_parent()?;
            Ok(0)
        }
        Ok(Side::Parent { pid, .. }) => {
            kit.channel.send(&Message::Pid(pid))?;
            step::exit(0)
        }
        Err(source) => Err(failed("make the container's first process (clone)")(source)),
    }
}

fn joins_user(plan: &Plan) -> bool {
    plan.join.iter().any(|(kind, _)| *kind == Kind::User)
}

/// Opened with the rights of our beginning: a process that has become somebody else may not open it (it is not dumpable
/// any more, proc(5)), and the kernel asks who opened the file, not who writes (`file_ns_capable`, kernel/time/namespace.c).
fn open_offsets(plan: &Plan) -> Result<Option<File>, Error> {
    if plan.time_offsets.is_empty() {
        return Ok(None);
    }
    let opened = File::options().write(true).open("/proc/self/timens_offsets");
    opened.map(Some).map_err(failed("open `/proc/self/timens_offsets` for `linux.timeOffsets` (Linux 5.6)"))
}

/// The offsets can be written only while nobody is in the namespace: after the unshare, which moves only children to
/// be, and before the clone (time_namespaces(7)).
fn make_time(plan: &Plan, hop: &Hop, offsets: Option<File>) -> Result<(), Error> {
    if !hop.new_time {
        return Ok(());
    }
    step::separate(Kind::Time)?;
    let Some(mut offsets) = offsets else { return Ok(()) };
    let lines: String =
        plan.time_offsets.iter().map(|(clock, seconds, nanos)| format!("{clock} {seconds} {nanos}\n")).collect();
    offsets.write_all(lines.as_bytes()).map_err(failed("set `linux.timeOffsets`"))
}
