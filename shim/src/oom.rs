//! The kernel's lack of memory inside a task: a counter that is looked at when the kernel gives notice, and once more
//! before an exit is told, so that the reason always comes before the death.
//!
//! Version 1 gives notice through an eventfd, version 2 by a change of `memory.events`. Either may come a moment before
//! the counter moves.

use crate::cgroup::Cgroups;
use crate::sys::watched;
use crate::task::Task;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;

/// How long after a notice the counter is looked at again.
const LOOKS: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(20), Duration::from_millis(100), Duration::from_millis(500)];

/// The watch on one task.
#[derive(Debug)]
pub(crate) struct Watch {
    counter: PathBuf,
    seen: u64,
    notice: Option<JoinHandle<()>>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(notice) = &self.notice {
            notice.abort();
        }
    }
}

impl Watch {
    /// Begins to watch. Without a memory controller there is nothing to see.
    pub(crate) fn begin(task: &Arc<Task>, cgroups: &Cgroups) -> Option<Self> {
        let (counter, notice) = match (cgroups.v1("memory"), cgroups.unified()) {
            (Some(folder), _) => (folder.join("memory.oom_control"), version_one(folder)),
            (None, Some(folder)) => (folder.join("memory.events"), version_two(&folder.join("memory.events"))),
            (None, None) => return None,
        };
        let seen = kills(&fs::read_to_string(&counter).ok()?)?;
        let notice = notice.and_then(|notice| watched(notice, Interest::READABLE));
        let notice = match notice {
            Ok(notice) => Some(tokio::spawn(listen(notice, Arc::downgrade(task)))),
            Err(error) => {
                // The counter is still looked at before every exit.
                tracing::warn!(path = %counter.display(), %error, "the kernel gives no notice of a lack of memory");
                None
            }
        };
        Some(Self { counter, seen, notice })
    }

    /// Looks at the counter and tells when it has grown.
    pub(crate) fn check(&mut self, task: &Task) {
        let Some(kills) = fs::read_to_string(&self.counter).ok().as_deref().and_then(kills) else { return };
        if kills > self.seen {
            self.seen = kills;
            task.tell_oom();
        }
    }
}

/// The number of processes that were killed, in `memory.oom_control` (version 1) as in `memory.events` (version 2).
fn kills(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

/// cgroup-v1/memory.txt, section 9: `<eventfd> <memory.oom_control>` to `cgroup.event_control`.
fn version_one(folder: &Path) -> io::Result<OwnedFd> {
    let notice = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let control = File::open(folder.join("memory.oom_control"))?;
    let line = format!("{} {}", notice.as_raw_fd(), control.as_raw_fd());
    fs::write(folder.join("cgroup.event_control"), line)?;
    Ok(notice)
}

fn version_two(events: &Path) -> io::Result<OwnedFd> {
    let notice = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    inotify::add_watch(&notice, events, WatchFlags::MODIFY)?;
    Ok(notice)
}

async fn listen(notice: AsyncFd<OwnedFd>, task: Weak<Task>) {
    loop {
        let Ok(mut ready) = notice.readable().await else { return };
        // What it says is of no interest; it must be taken off, so that the next one is noticed.
        let mut bytes = [0; 256];
        let taken = ready.try_io(|notice| Ok(rustix::io::read(notice.get_ref(), &mut bytes)?));
        if matches!(taken, Ok(Err(_) | Ok(0))) {
            return;
        }
        for pause in LOOKS {
            tokio::time::sleep(pause).await;
            match task.upgrade() {
                Some(task) => task.check_oom(),
                None => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters() {
        assert_eq!(kills("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"), Some(3));
        assert_eq!(kills("low 0\nhigh 0\nmax 9\noom 2\noom_kill 1\noom_group_kill 0\n"), Some(1));
        assert_eq!(kills("oom_kill_disable 0\nunder_oom 1\n"), None);
        assert_eq!(kills(""), None);
    }
}
