//! Instances and their shims: records, start, stop, adoption, probes and figures.
//!
//! ```text
//!   loop ── start, stop, remove, update ──> Node ── shim.rs ──> `shim start` (or systemd-run) ──> a shim per service
//!     ^                                      │                                                     │
//!     │                                      ├── record.rs ──> <run>/instances/<id>/record.json    │
//!     └──────────── Seen ────────────────────┴── task.rs <── task API over ttrpc ──────────────────┘
//! ```
//!
//! What the planner decided is done here, and what is learnt is told as [`Seen`]; nothing is decided. Every action runs
//! in a task of its own and ends in one [`Seen::Done`], so that the loop never waits for it. What was under way when
//! skiffd died is found again by [`Node::adopt`]: the record is written before anything is made.

mod adoption;
mod ending;
mod error;
mod figures;
mod hints;
mod identity;
mod making;
mod oci;
mod probe;
mod record;
mod seen;
mod shared;
mod shim;
#[cfg(test)]
mod specimen;
mod systemd;
mod task;
mod watching;

pub use error::Error;
pub use figures::{Disk, Figures, Pressure};
pub use seen::{Adopted, Doing, Seen};
pub use task::CallError;

use crate::chain::chain;
use shared::Shared;
use skiff_planner::desired::Blueprint;
use skiff_planner::name::InstanceId;
use skiff_planner::release::Limits;
use skiff_planner::span::Span;
use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc;

/// How many facts may wait for the loop before those who learn more are made to wait.
const WAITING: usize = 256;

/// Where things are, and what containers are run with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is true of this boot: records, bundles, sockets.
    pub run: PathBuf,
    /// The logs of instances.
    pub logs: PathBuf,
    /// The shim: ours or any other of containerd's.
    pub shim: PathBuf,
    /// The OCI runtime that the shim is to use.
    pub runtime: PathBuf,
    /// The folder of the runtime's own state.
    pub runtime_root: PathBuf,
    /// Shims are started by systemd (see [`systemd_runs`]).
    pub systemd: bool,
    /// The cgroup below which containers are put where systemd does not run.
    pub cgroup: String,
    /// How logs are written.
    pub log: Log,
}

/// How the output of an instance is kept, in `<logs>/<instance>.log`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Log {
    /// In CRI lines, rotated by our own shim.
    Rotated {
        /// Of one file, in bytes.
        max_size: u64,
        /// With the one that is written to.
        max_files: u32,
    },
    /// As it comes and without end, which every shim knows.
    Plain,
}

/// What an instance is made from.
#[derive(Clone, Debug)]
pub struct Making {
    /// What the release says.
    pub blueprint: Blueprint,
    /// The folder with the root file system that `config` names.
    pub bundle: PathBuf,
    /// The OCI configuration, derived from the blueprint. Its group, a relative root path and its cgroup are completed
    /// here.
    pub config: serde_json::Value,
    /// The safe defaults that are not enforced for it, which are remembered with it.
    pub not_enforced: Vec<String>,
}

/// Whether systemd is the machine's service manager (sd_booted(3)).
#[must_use]
pub fn systemd_runs() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// All instances of this device. Clones are the same node.
#[derive(Clone, Debug)]
pub struct Node {
    shared: Arc<Shared>,
}

impl Node {
    /// A node that has not looked at anything yet: call [`Node::open`], then [`Node::adopt`], before the first action.
    /// Everything that is learnt comes out of the receiver.
    #[must_use]
    pub fn new(settings: Settings) -> (Self, mpsc::Receiver<Seen>) {
        let (seen, receiver) = mpsc::channel(WAITING);
        (Self { shared: Arc::new(Shared::new(settings, identity::boot_id(), seen)) }, receiver)
    }

    /// Makes the folders below the run folder, which is there, and listens for events of shims.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Listen`]
    pub async fn open(&self) -> Result<(), Error> {
        let run = &self.shared.settings.run;
        for folder in [record::folder(run), run.join("shims"), run.join("s"), self.shared.settings.runtime_root.clone()]
        {
            match DirBuilder::new().mode(0o700).create(&folder) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                outcome => outcome.map_err(Error::file("make the folder", folder))?,
            }
        }
        self.shared.keep_events(hints::listen(run, self.shared.seen.clone()).await?);
        Ok(())
    }

    /// Takes over what an earlier skiffd left: every record is held against its shim and `/proc`. What has to be taken
    /// back or cannot be said at once is `Unknown`, and [`Seen::Found`] or [`Seen::Absent`] tells later.
    pub async fn adopt(&self) -> Vec<Adopted> {
        adoption::adopt(&self.shared).await
    }

    /// Makes an instance and starts its program. [`Seen::Started`] comes before `Done(Start)`. Where it fails, everything
    /// is taken back; [`Node::remove`] then has nothing to do, or tries again what could not be taken back.
    pub fn start(&self, instance: InstanceId, making: Making) {
        let shared = Arc::clone(&self.shared);
        self.perform(instance.clone(), Doing::Start, async move { making::start(&shared, &instance, making).await });
    }

    /// Asks the program to end, and makes it after `grace`. [`Seen::Ended`] comes before `Done(Stop)`.
    pub fn stop(&self, instance: InstanceId, signal: String, grace: Span) {
        let shared = Arc::clone(&self.shared);
        let grace = grace.duration();
        self.perform(
            instance.clone(),
            Doing::Stop,
            async move { ending::stop(&shared, &instance, &signal, grace).await },
        );
    }

    /// Takes away what is left of an instance that ended, or that could not be started. Ends in `Done(Remove)`.
    pub fn remove(&self, instance: InstanceId) {
        let shared = Arc::clone(&self.shared);
        self.perform(instance.clone(), Doing::Remove, async move { ending::remove(&shared, &instance).await });
    }

    /// Changes limits; `resources` are the same limits as OCI has them. Ends in `Done(Update)`.
    pub fn update(&self, instance: InstanceId, limits: Limits, resources: serde_json::Value) {
        let shared = Arc::clone(&self.shared);
        self.perform(instance.clone(), Doing::Update, async move {
            let task = shared.task(&instance).ok_or_else(|| Error::NotRunning(instance.clone()))?;
            task.update(&instance.to_string(), &resources).await?;
            let written = shared.with(&instance, |entry| {
                entry.record.limits = limits;
                entry.record.write(&shared.settings.run)
            });
            // An instance that ended meanwhile has no limits to remember.
            written.unwrap_or(Ok(()))
        });
    }

    /// What an instance uses.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::Call`], [`Error::Figures`]
    pub async fn stats(&self, instance: &InstanceId) -> Result<Figures, Error> {
        let task = self.shared.task(instance).ok_or_else(|| Error::NotRunning(instance.clone()))?;
        let answer = task.stats(&instance.to_string()).await?;
        Figures::of(&answer.stats).ok_or_else(|| Error::Figures(instance.clone()))
    }

    /// The place of an instance's log.
    #[must_use]
    pub fn log(&self, instance: &InstanceId) -> PathBuf {
        log_path(&self.shared.settings, instance)
    }

    fn perform(
        &self,
        instance: InstanceId,
        doing: Doing,
        action: impl Future<Output = Result<(), Error>> + Send + 'static,
    ) {
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            let outcome = action.await.map_err(|error| chain(&error));
            shared.tell(Seen::Done { instance, doing, outcome }).await;
        });
    }
}

fn log_path(settings: &Settings, instance: &InstanceId) -> PathBuf {
    settings.logs.join(format!("{instance}.log"))
}
