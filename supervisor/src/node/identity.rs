//! Whether a process is still the one that was written down: start time and cgroup tell, because the kernel gives process
//! ids out again (proc_pid_stat(5), cgroups(7)).

use serde::{Deserialize, Serialize};
use skiff_planner::moment::Moment;
use std::fs;

/// The first process of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Identity {
    pub(super) pid: i32,
    /// In clock ticks since the boot: field 22 of `/proc/PID/stat`.
    pub(super) start_time: u64,
    /// Its cgroup, as the kernel names it; empty where none had the name that was asked for.
    pub(super) cgroup: String,
}

/// How an identity holds against `/proc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Match {
    /// It is that process.
    Same,
    /// It ended.
    Gone,
    /// It ended, and its id is another's now.
    Another,
    /// It is that process, in another cgroup.
    Elsewhere,
}

impl Identity {
    /// Of a process that is there, whose cgroup ends with `wanted`.
    pub(super) fn of(pid: i32, wanted: &str) -> Option<Self> {
        let start_time = start_time(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
        let cgroup = cgroup(&fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?, wanted).unwrap_or_default();
        Some(Self { pid, start_time, cgroup })
    }

    /// Looks again.
    pub(super) fn look(&self) -> Match {
        let pid = self.pid;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok();
        let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        self.compare(stat.as_deref().and_then(start_time), &cgroups)
    }

    fn compare(&self, start: Option<u64>, cgroups: &str) -> Match {
        let Some(start) = start else { return Match::Gone };
        if start != self.start_time {
            Match::Another
        } else if self.cgroup.is_empty() || paths(cgroups).any(|path| is_within(path, &self.cgroup)) {
            Match::Same
        } else {
            Match::Elsewhere
        }
    }

    /// When it was started.
    pub(super) fn since(&self) -> Moment {
        let ticks = rustix::param::clock_ticks_per_second().max(1);
        Moment(self.start_time.saturating_mul(1000) / ticks)
    }
}

/// The id of this boot (random(4)): whatever was written down in another is gone.
pub(super) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// The start time in the text of `/proc/PID/stat`; none of a process that has ended and only waits for its parent. The name
/// of the program may hold anything, so fields are counted from the last bracket.
fn start_time(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X" | "x") {
        return None;
    }
    // The state is field 3.
    fields.nth(18)?.parse().ok()
}

/// The cgroup that ends with `wanted`, of those in the text of `/proc/PID/cgroup`.
fn cgroup(text: &str, wanted: &str) -> Option<String> {
    paths(text).find(|path| path.ends_with(wanted)).map(str::to_owned)
}

fn paths(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.splitn(3, ':').nth(2))
}

/// The program may have made cgroups of its own below the one that it was given.
fn is_within(path: &str, cgroup: &str) -> bool {
    path.strip_prefix(cgroup).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str =
        "7 (a) R (b) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 1 1 18446744073709551615 0 0 0 0";
    const CGROUPS: &str = "3:memory:/box/skiff/web-0\n1:name=systemd:/box/skiff/web-0\n0::/\n";

    #[test]
    fn start_times() {
        assert_eq!(start_time(STAT), Some(4711));
        assert_eq!(start_time(&STAT.replace(") S", ") Z")), None);
        for text in ["", "7", "7 (a)", "7 (a) S 1 2"] {
            assert_eq!(start_time(text), None, "{text}");
        }
    }

    #[test]
    fn a_process_is_the_same_by_start_time_and_cgroup() {
        let cgroup = cgroup(CGROUPS, "/skiff/web-0").unwrap();
        assert_eq!(cgroup, "/box/skiff/web-0");
        let identity = Identity { pid: 7, start_time: 4711, cgroup };
        assert_eq!(identity.compare(Some(4711), CGROUPS), Match::Same);
        assert_eq!(identity.compare(Some(4711), "0::/box/skiff/web-0/inner\n"), Match::Same);
        assert_eq!(identity.compare(Some(4711), "0::/box/skiff/web-01\n"), Match::Elsewhere);
        assert_eq!(identity.compare(Some(4712), CGROUPS), Match::Another);
        assert_eq!(identity.compare(None, ""), Match::Gone);
    }

    #[test]
    fn this_process_is_itself() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let own = Identity::of(pid, "").unwrap();
        assert_eq!(own.look(), Match::Same);
        let (since, now) = (own.since(), crate::clock::now());
        assert!(since <= now && now.since(since).millis() < 86_400_000, "{since:?} {now:?}");
        assert_eq!(Identity { start_time: own.start_time + 1, ..own }.look(), Match::Another);
        assert_eq!(boot_id().len(), 36);
    }
}
