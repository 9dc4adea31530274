//! What the kernel says of the machine and of this process. What it does not say is absent.

use crate::view::Node;
use std::collections::BTreeMap;
use std::path::Path;

/// The machine.
pub(super) fn look(state: &Path) -> Node {
    let psi = ["mem", "io", "cpu"].into_iter().filter_map(|what| {
        let file = if what == "mem" { "memory" } else { what };
        let text = std::fs::read_to_string(format!("/proc/pressure/{file}")).ok()?;
        Some((format!("{what}10"), avg10(&text)?))
    });
    Node {
        mem_avail_ki_b: field("/proc/meminfo", "MemAvailable:"),
        disk_free_ki_b: rustix::fs::statvfs(state)
            .ok()
            .map(|found| found.f_bavail.saturating_mul(found.f_frsize) / 1024),
        psi: psi.collect::<BTreeMap<_, _>>(),
    }
}

/// The share of memory of this process, in KiB (smaps_rollup of proc_pid_smaps(5)).
pub(super) fn pss() -> Option<u64> {
    field("/proc/self/smaps_rollup", "Pss:")
}

fn field(path: &str, name: &str) -> Option<u64> {
    number(&std::fs::read_to_string(path).ok()?, name)
}

fn number(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn avg10(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with("some "))?;
    line.split(' ').find_map(|word| word.strip_prefix("avg10="))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_understood() {
        assert_eq!(number("MemTotal:  9 kB\nMemAvailable:    310222 kB\n", "MemAvailable:"), Some(310_222));
        assert_eq!(number("MemTotal: 9 kB\n", "MemAvailable:"), None);
        assert_eq!(avg10("some avg10=1.20 avg60=0.10 avg300=0.00 total=1\nfull avg10=9.00\n"), Some(1.2));
        assert!(pss().is_some_and(|pss| pss > 100));
    }
}
