//! Waiting for what the kernel has no descriptor for: a cgroup that empties, a lock of another command, a process on a
//! kernel without pidfds. Whoever waits here looks at the thing again afterwards and keeps a deadline.

use std::time::Duration;

/// Lets others run for a moment.
#[expect(clippy::disallowed_methods, reason = "the one place for it; callers look again and keep a deadline")]
pub fn pause(moment: Duration) {
    std::thread::sleep(moment);
}
