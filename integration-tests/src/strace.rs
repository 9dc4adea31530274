//! System calls made to fail, or to kill their caller, by `strace` injection. Always with `-D`: the program stays the
//! caller's own child and is waited for, while the tracer goes on with the container that the program leaves.

use std::collections::BTreeMap;
use std::path::Path;

use crate::runtime::on_path;

/// Whether strace is there to inject with.
pub fn available() -> bool {
    on_path("strace").is_some()
}

/// The words before a command line that make every `call` fail with `error`, in all its processes; `log` receives the
/// trace.
pub fn failing<'a>(injections: &'a [String], log: &'a str) -> Vec<&'a str> {
    let mut words = vec!["strace", "-D", "-f", "-qq", "-o", log];
    for injection in injections {
        words.extend(["-e", injection.as_str()]);
    }
    words
}

/// `inject=` for a failing call.
pub fn failure(call: &str, error: &str) -> String {
    format!("inject={call}:error={error}")
}

/// `inject=` for a call that kills its caller the `nth` time it is made.
pub fn death(call: &str, nth: usize) -> String {
    format!("inject={call}:signal=SIGKILL:when={nth}")
}

/// Counts the calls of each name in a trace written with `-f -o`: those of the first process, or with `children` the
/// most that any one process made (strace counts for each process by itself).
pub fn counts(log: &Path, children: bool) -> BTreeMap<String, usize> {
    let text = std::fs::read_to_string(log).expect("strace wrote its log");
    let first = text.split_whitespace().next().unwrap_or_default();
    let mut of_each: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for line in text.lines() {
        let Some((pid, rest)) = line.split_once(char::is_whitespace) else { continue };
        let Some((name, _)) = rest.trim_start().split_once('(') else { continue };
        let is_name =
            name.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_');
        if (children || pid == first) && is_name {
            *of_each.entry((name, pid)).or_insert(0) += 1;
        }
    }
    let mut most: BTreeMap<String, usize> = BTreeMap::new();
    for ((name, _), count) in of_each {
        let entry = most.entry(name.to_owned()).or_insert(0);
        *entry = count.max(*entry);
    }
    most
}
