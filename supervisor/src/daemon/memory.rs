//! What the daemon remembers across its own restart: of instances for this boot, below the run folder; of releases for good,
//! in the state folder, with a journal of the steps of each update.

use crate::store::journal::{Journal, LONGEST};
use crate::store::{self, Error};
use serde::{Deserialize, Serialize};
use skiff_planner::ledger::Ledger;
use skiff_planner::moment::Moment;
use skiff_planner::name::Digest;
use skiff_planner::rollout::{Rollout, Step};
use std::path::{Path, PathBuf};

/// The journal's older half goes when it is longer than this, in bytes.
const JOURNAL: u64 = 256 << 10;

/// What is remembered for this boot. It lies in memory and is replaced by renaming, without waiting for a disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfBoot {
    boot_id: String,
    ledger: Ledger,
    /// When the trial of a release began, so that killing skiffd gives it no longer time.
    trial: Option<(Digest, Moment)>,
}

/// Both memories.
#[derive(Debug)]
pub(super) struct Memory {
    of_boot: PathBuf,
    of_releases: PathBuf,
    journal: Journal,
    boot_id: String,
    kept: OfBoot,
}

impl Memory {
    /// Reads both memories.
    ///
    /// # Errors
    /// When the state folder cannot be used.
    pub(super) fn open(run: &Path, state: &Path, boot_id: &str) -> Result<(Self, Ledger, Rollout), Error> {
        let (of_boot, of_releases) = (run.join("memory.json"), state.join("rollout.json"));
        // Nobody stands beside the device to mend it, and what the fleet wants is remembered elsewhere: it is tried anew.
        let lost = |error| {
            let text = format!("{:#}", anyhow::Error::from(error));
            tracing::error!("which releases proved themselves, or failed, is lost: {text}");
        };
        let mut rollout: Rollout = store::load(&of_releases).map_err(lost).ok().flatten().unwrap_or_default();
        // What is garbled here costs the count of restarts, and nothing else.
        let kept: OfBoot =
            store::load(&of_boot).ok().flatten().filter(|kept: &OfBoot| kept.boot_id == boot_id).unwrap_or_default();
        if let (Some(trial), Some((digest, began))) = (&mut rollout.trial, &kept.trial) {
            if trial.release.digest == *digest {
                trial.began = Some(*began);
            }
        }
        let ledger = kept.ledger.clone();
        let (journal, _lines) = Journal::open(&state.join("journal"), JOURNAL)?;
        Ok((Self { of_boot, of_releases, journal, boot_id: boot_id.to_owned(), kept }, ledger, rollout))
    }

    /// Keeps what is remembered of releases, and then the steps that led there. Nothing is done before this returns.
    ///
    /// # Errors
    /// When the disk refuses: what was remembered before still is.
    pub(super) fn keep_rollout(&mut self, rollout: &Rollout, steps: &[Step], time: &str) -> Result<(), Error> {
        // The moments of a trial are this boot's; without them nothing may have changed.
        if !steps.is_empty() {
            store::publish(&self.of_releases, rollout)?;
        }
        for step in steps {
            self.journal.append(&line(step, time))?;
        }
        Ok(())
    }

    /// Keeps what is remembered of this boot, if it changed.
    ///
    /// # Errors
    /// When the run folder refuses.
    pub(super) fn keep_of_boot(&mut self, ledger: &Ledger, rollout: &Rollout) -> Result<(), Error> {
        let trial = rollout.trial.as_ref().and_then(|trial| Some((trial.release.digest.clone(), trial.began?)));
        let next = OfBoot { boot_id: self.boot_id.clone(), ledger: ledger.clone(), trial };
        if next != self.kept {
            store::publish(&self.of_boot, &next)?;
            self.kept = next;
        }
        Ok(())
    }
}

/// One line of the journal: time, step, release, and why.
fn line(step: &Step, time: &str) -> String {
    let mut text = match step {
        Step::Switch { from: Some(from), to } => format!("{time} switching {from} -> {to}"),
        Step::Switch { from: None, to } => format!("{time} switching to {to}"),
        Step::Commit { release } => format!("{time} committed {release}"),
        Step::Withdraw { from, to } => format!("{time} withdrawn {from} -> {to}"),
        Step::Revert { from, to, reason } => format!("{time} reverted {from} -> {to}: {reason}"),
        Step::Resume { release, boots } => format!("{time} resumed {release} after boot {boots}"),
        Step::Overdue { release, reason } => format!("{time} overdue {release}: {reason}"),
    };
    text = text.replace('\n', " ");
    let mut end = text.len().min(LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}
