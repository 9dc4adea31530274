//! How often the kernel killed a process of the container for want of memory.

use std::fs;

use super::{Error, Location, kill::is_gone};

/// The count of OOM kills since the cgroup was made: `memory.events` of v2, `memory.oom_control` of v1 (Linux 4.13).
/// Zero without a memory controller.
pub fn oom_kills(location: &Location) -> Result<u64, Error> {
    let path = match (location.v1("memory"), location.v2()) {
        (Some(dir), _) => dir.path.join("memory.oom_control"),
        (None, Some(dir)) => dir.path.join("memory.events"),
        (None, None) => return Ok(0),
    };
    match fs::read_to_string(&path) {
        Ok(text) => Ok(count(&text)),
        Err(error) if is_gone(&error) => Ok(0),
        Err(source) => Err(Error::Read { path, source }),
    }
}

fn count(text: &str) -> u64 {
    let value = |line: &str| line.strip_prefix("oom_kill ").and_then(|number| number.trim().parse().ok());
    text.lines().find_map(value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn both_versions_spell_it_alike() {
        assert_eq!(count("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n"), 2);
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n"), 7);
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\n"), 0);
    }
}
