//! What could not be tested here, and why: printed, and appended to the file that `SKIFF_SKIP_LOG` names so that a
//! caller can count.

use std::io::Write;

/// Name of the running test, as libtest gave it to the thread.
pub fn test_name() -> String {
    std::thread::current().name().unwrap_or("unnamed").to_owned()
}

/// Says that the running test cannot be made on this machine.
pub fn skip(reason: &str) {
    record("SKIP", reason);
}

/// Says that one reference runtime is left out of the running test, and why the reference is not the measure there.
pub fn exempt(runtime: &str, reason: &str) {
    record("EXEMPT", &format!("{runtime}: {reason}"));
}

fn record(kind: &str, reason: &str) {
    let line = format!("{kind} {}: {reason}\n", test_name());
    print!("{line}");
    if let Some(path) = std::env::var_os("SKIFF_SKIP_LOG") {
        let mut log = std::fs::OpenOptions::new().create(true).append(true).open(path).expect("skip log opens");
        log.write_all(line.as_bytes()).expect("skip log takes a line");
    }
}
