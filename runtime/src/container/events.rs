//! What happens to a container: its figures at intervals and its lacks of memory, until its program ends. Nothing of it is
//! changed and its lock is not taken.

use super::kill::{Handle, handle};
use super::observe::{Seen, look};
use crate::cgroup::{self, Notice, Stats};
use crate::log;
use crate::state::{self, Entry, Identity, Record};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use skiff_contract::status::Status;
use std::io;
use std::time::{Duration, Instant};

/// One thing that happened.
#[derive(Debug)]
pub enum Event {
    /// An interval is over.
    Stats(Box<Stats>),
    /// The kernel has killed a process at the container's memory limit.
    Oom,
}

/// Why nothing can be told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The container's state cannot be read.
    #[error(transparent)]
    State(#[from] state::Error),
    /// It is over. The words are those that runc's callers know.
    #[error("container with id `{id}` is not running: it is {status}")]
    NotRunning {
        /// The container.
        id: String,
        /// What it is instead.
        status: Status,
    },
    /// It was made with `--cgroup-manager disabled`, or by a user who has no part of the cgroup tree.
    #[error("container `{0}` has no cgroup of its own, so nothing is counted of it")]
    NoCgroup(String),
    /// Its counters cannot be read.
    #[error(transparent)]
    Cgroup(#[from] cgroup::Error),
    /// It cannot be waited for.
    #[error("cannot wait for what happens to container `{id}`")]
    Wait {
        /// The container.
        id: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Nobody takes what is told.
    #[error("cannot tell what happens")]
    Tell(#[source] io::Error),
}

/// How often the process is looked at where the kernel cannot wake us, and the count of kills for a moment after a notice.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long the count may lag behind the notice.
const LAG: Duration = Duration::from_millis(500);

/// The figures now.
///
/// # Errors
/// See [`Error`].
pub fn stats(entry: &Entry) -> Result<Stats, Error> {
    let (record, _) = living(entry)?;
    Ok(cgroup::stats(&record.cgroup))
}

/// Tells what happens until the container's program has ended.
///
/// # Errors
/// See [`Error`]; [`Error::Tell`] is what `tell` returns.
pub fn watch(entry: &Entry, interval: Duration, mut tell: impl FnMut(Event) -> io::Result<()>) -> Result<(), Error> {
    let (record, init) = living(entry)?;
    let failed = |source| Error::Wait { id: record.id.clone(), source };
    let process = handle(&init).map_err(failed)?;
    // If it lives now, the number meant it.
    if !init.is_alive() {
        return Err(Error::NotRunning { id: record.id, status: Status::Stopped });
    }
    let mut notice = match Notice::of(&record.cgroup) {
        Ok(notice) => notice,
        // Kills are still counted; they are looked for at each interval.
        Err(error) => {
            log::warn(&format!("the kernel gives no notice of a lack of memory: {:#}", anyhow::Error::from(error)));
            None
        }
    };
    let mut kills = cgroup::oom_kills(&record.cgroup)?;
    let mut next = Instant::now() + interval;
    let mut restless_until = Instant::now();
    loop {
        let now = Instant::now();
        let restless = now < restless_until || !matches!(process, Handle::Pidfd(_));
        let moment = next.saturating_duration_since(now).min(if restless { LOOK_AGAIN } else { Duration::MAX });
        if wait(&process, notice.as_ref(), moment).map_err(failed)? {
            restless_until = Instant::now() + LAG;
            // One that gives nothing any more would wake us again and again.
            notice = notice.filter(|notice| notice.take().is_ok());
        }
        // Before the count, so that no kill comes after the last look.
        let ended = !init.is_alive();
        let count = cgroup::oom_kills(&record.cgroup)?;
        for _ in kills..count {
            tell(Event::Oom).map_err(Error::Tell)?;
        }
        kills = count;
        if ended {
            return Ok(());
        }
        if Instant::now() >= next {
            tell(Event::Stats(Box::new(cgroup::stats(&record.cgroup)))).map_err(Error::Tell)?;
            // What was missed, while we were stopped or not read, is not made up for.
            next = (next + interval).max(Instant::now());
        }
    }
}

fn living(entry: &Entry) -> Result<(Record, Identity), Error> {
    let Seen { record, status } = look(entry)?;
    let id = record.id.clone();
    match (&record.init, status) {
        (Some(_), Status::Created | Status::Running | Status::Paused)
            if !record.cgroup.dirs.iter().any(|dir| dir.path.is_dir()) =>
        {
            Err(Error::NoCgroup(id))
        }
        (Some(init), Status::Created | Status::Running | Status::Paused) => {
            let init = init.clone();
            Ok((record, init))
        }
        _ => Err(Error::NotRunning { id, status }),
    }
}

/// Waits for the end of the process, a notice or the moment; whether it was a notice.
fn wait(process: &Handle, notice: Option<&Notice>, moment: Duration) -> io::Result<bool> {
    let mut set = Vec::with_capacity(2);
    set.extend(notice.map(Notice::waits));
    if let Handle::Pidfd(pidfd) = process {
        set.push(PollFd::new(pidfd, PollFlags::IN));
    }
    let moment = Timespec::try_from(moment).ok();
    match poll(&mut set, moment.as_ref()) {
        Ok(_) => Ok(notice.is_some() && !set[0].revents().is_empty()),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}
