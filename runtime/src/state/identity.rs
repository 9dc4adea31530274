//! Who a process is beyond its number: pids are given out again, so a container's init is known by pid *and* start
//! time *and* the boot in which both were seen.

use serde::{Deserialize, Serialize};
use std::fs;
use std::io;

/// A process that cannot be mistaken for a later one with its pid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// In the pid namespace of the runtime.
    pub pid: i32,
    /// Clock ticks from boot to its start (proc_pid_stat(5), field 22).
    pub start_time: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
}

/// What a look at `/proc` says of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    state: char,
    start_time: u64,
}

/// Looks at a process that is known to live.
///
/// # Errors
/// When `/proc` does not show it.
pub fn observe(pid: i32) -> io::Result<Identity> {
    let stat = read_stat(pid)?;
    Ok(Identity { pid, start_time: stat.start_time, boot_id: boot_id()? })
}

impl Identity {
    /// Whether this very process still runs. A zombie does not: its program has ended.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let Ok(stat) = read_stat(self.pid) else { return false };
        let running = !matches!(stat.state, 'Z' | 'X' | 'x');
        running && stat.start_time == self.start_time && boot_id().is_ok_and(|boot_id| boot_id == self.boot_id)
    }
}

/// Which boot this is.
///
/// # Errors
/// When `/proc` does not say.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim_end().to_owned())
}

fn read_stat(pid: i32) -> io::Result<Stat> {
    let text = fs::read(format!("/proc/{pid}/stat"))?;
    parse_stat(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "unexpected form of /proc/PID/stat"))
}

/// The command name in the second field may hold spaces and parentheses, so fields are counted from the last `)`.
fn parse_stat(text: &[u8]) -> Option<Stat> {
    let name_end = text.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(text.get(name_end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    // `state` is field 3, so field 22 is the nineteenth after it.
    let start_time = fields.nth(18)?.parse().ok()?;
    Some(Stat { state, start_time })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parentheses_do_not_shift_the_fields() {
        let text = b"12 (a) b) (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20 21\n";
        assert_eq!(parse_stat(text), Some(Stat { state: 'S', start_time: 4242 }));
        let late = b"12 (a) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4294967297 20\n";
        assert_eq!(parse_stat(late).map(|stat| stat.start_time), Some((1 << 32) + 1), "497 days at 100 ticks a second");
        assert_eq!(parse_stat(b"12 (a) S 1 2"), None);
        assert_eq!(parse_stat(b""), None);
    }

    #[test]
    fn a_reused_pid_is_another_process() {
        let own = observe(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(own.is_alive());
        assert!(!Identity { start_time: own.start_time + 1, ..own.clone() }.is_alive());
        assert!(!Identity { boot_id: "another boot".into(), ..own.clone() }.is_alive());
        assert!(!Identity { pid: i32::MAX, ..own }.is_alive());
    }
}
