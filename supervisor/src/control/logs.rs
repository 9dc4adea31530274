//! Logs of instances: the lines of one, or those of a service merged by time, and those to come.
//!
//! ```text
//!   <id>.log.2, <id>.log.1, <id>.log ──> source (blocks) ──> cri (lines) ──┐
//!   another instance of the service  ──> source          ──> cri          ─┴──> merged by time ──> the answer
//! ```
//!
//! Memory does not depend on how long a log or a line of it is: the beginning of the last lines is looked for backwards in
//! blocks, and from there everything is read forwards. The files are the shim's; nothing here writes or locks them.

mod cri;
mod merge;
mod source;

use super::answer::{Feed, Gone};
use super::route::{Name, Reading};
use cri::{Head, Piece};
use merge::Merge;
use serde::{Deserialize, Serialize};
use skiff_planner::name::InstanceId;
use source::Source;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How often a followed log is looked at.
const INTERVAL: Duration = Duration::from_millis(250);
/// Every so many looks, new instances of a service are looked for.
const LOOKS: u32 = 4;
/// Lines that are read without giving others their turn.
const TURN: u32 = 64;

/// Which stream a line was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One line of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// When it was written, RFC 3339 with nanoseconds.
    pub time: String,
    /// Where to.
    pub stream: Stream,
    /// The line goes on in the next one of this instance, or never got an end.
    #[serde(default)]
    pub partial: bool,
    /// What was written. What is not UTF-8 is replaced by U+FFFD.
    pub text: String,
    /// By which instance.
    pub instance: String,
}

/// The instances that have a log.
pub(super) fn list(folder: &Path) -> io::Result<Vec<InstanceId>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        found.extend(name.to_str().and_then(|name| name.strip_suffix(".log")?.parse().ok()));
    }
    found.sort();
    Ok(found)
}

/// Those that a name stands for: the instance that is called so, else all of the service.
pub(super) fn select(name: &Name, instances: impl IntoIterator<Item = InstanceId>) -> Vec<InstanceId> {
    let (mut own, mut of_service) = (Vec::new(), Vec::new());
    for instance in instances {
        if name.instance.as_ref() == Some(&instance) {
            own.push(instance);
        } else if instance.service.as_str() == name.text {
            of_service.push(instance);
        }
    }
    if own.is_empty() { of_service } else { own }
}

/// The logs of one answer.
#[derive(Debug)]
pub(super) struct Logs {
    merge: Merge,
    /// Where new instances of a service may come up.
    service: Option<(PathBuf, Name)>,
}

/// Why an answer ends before its time.
enum End {
    Gone,
    Failed(io::Error),
}

impl From<Gone> for End {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

impl Logs {
    /// Opens what there is now, so that no rotation takes it away.
    pub(super) fn open(folder: &Path, name: &Name, instances: &[InstanceId], reading: &Reading) -> io::Result<Self> {
        let mut merge = Merge::default();
        for instance in instances {
            merge.add(Source::open(folder, instance, reading.follow, reading.since)?);
        }
        let is_instance = matches!((instances, &name.instance), ([only], Some(instance)) if only == instance);
        Ok(Self { merge, service: (!is_instance).then(|| (folder.to_owned(), name.clone())) })
    }

    /// Tells the lines until all are told, or nobody reads any more.
    pub(super) async fn tell(mut self, reading: Reading, mut feed: Feed) {
        match self.tell_all(&reading, &mut feed).await {
            Ok(()) | Err(End::Gone) => {}
            Err(End::Failed(error)) => {
                tracing::warn!("a log cannot be read: {error}");
                feed.cut(error).await;
            }
        }
    }

    async fn tell_all(&mut self, reading: &Reading, feed: &mut Feed) -> Result<(), End> {
        let mut surplus = match reading.tail {
            Some(tail) => self.merge.rewind(tail).await?.saturating_sub(tail),
            None => 0,
        };
        for look in 1_u32.. {
            self.tell_there(reading.since, &mut surplus, feed).await?;
            feed.flush().await?;
            if !reading.follow {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                () = feed.gone() => return Err(End::Gone),
            }
            self.merge.refresh()?;
            if look % LOOKS == 0 {
                self.look_for_new()?;
            }
        }
        Ok(())
    }

    /// Tells what is there, but for so many of the first lines.
    async fn tell_there(&mut self, since: Option<SystemTime>, surplus: &mut u64, feed: &mut Feed) -> Result<(), End> {
        let mut read = 0;
        let wants = |piece: &Piece, surplus: &mut u64| {
            let is_surplus = *surplus > 0;
            *surplus = surplus.saturating_sub(1);
            let is_old = || piece.head.as_ref().is_some_and(|head| since.is_some_and(|since| head.at < since));
            !is_surplus && !is_old()
        };
        while let Some((piece, instance, wanted)) = self.merge.next(|piece| wants(piece, surplus))? {
            read += 1;
            match piece.head {
                Some(head) if wanted => {
                    let instance = instance.to_string();
                    let Head { time, stream, partial, .. } = head;
                    feed.line(&Line { time, stream, partial, text: piece.text, instance }).await?;
                }
                Some(_) | None => {}
            }
            // A long way to the first line that is wanted, or a client that is faster than the disk: others have their turn.
            if read == TURN {
                read = 0;
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    fn look_for_new(&mut self) -> io::Result<()> {
        let Some((folder, name)) = &self.service else { return Ok(()) };
        for instance in select(name, list(folder)?) {
            if !self.merge.has(&instance) {
                self.merge.add(Source::open(folder, &instance, true, None)?);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
