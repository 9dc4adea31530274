//! A task: one container with its own process and its execs, from Create to Delete. What may happen when is the table in
//! [`state`]; the calls are in `create`, `start`, `delete` and `calls`, the end of a process in `exit`.
//!
//! Locks are held between two waits only: a call enters a state, works without a lock, and leaves that state.

mod calls;
mod create;
mod delete;
mod error;
mod exit;
mod process;
mod record;
mod start;
mod state;

pub(crate) use create::runtime as default_runtime;
pub(crate) use error::Error;
pub(crate) use record::{last_exit, publish, recorded_runtime};
pub(crate) use state::State;

use crate::cgroup::Cgroups;
use crate::events::Events;
use crate::exits::Reaper;
use crate::oom::Watch;
use crate::runtime::{Runtime, Streams, Verb};
use crate::stdio::Logs;
use process::Process;
use state::Event;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What all tasks of this process share.
#[derive(Debug)]
pub(crate) struct World {
    /// containerd's, not Linux's.
    pub(crate) containerd_namespace: String,
    pub(crate) reaper: Arc<Reaper>,
    pub(crate) events: Arc<Events>,
    pub(crate) logs: Logs,
}

/// One task.
#[derive(Debug)]
pub(crate) struct Task {
    id: String,
    bundle: PathBuf,
    runtime: Runtime,
    world: Arc<World>,
    /// Whether the kernel kills all others of the container with its first process.
    dies_with_init: bool,
    facts: Mutex<Facts>,
}

/// What changes.
#[derive(Debug)]
struct Facts {
    init: Process,
    execs: BTreeMap<String, Process>,
    /// Where the kernel keeps its figures; read once, while its first process certainly lives.
    cgroups: Option<Cgroups>,
    oom: Option<Watch>,
}

/// Which process of a task: its own, or an exec by its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Init,
    Exec(String),
}

impl Which {
    /// An empty exec id means the task's own process, in every request.
    pub(crate) fn of(exec_id: &str) -> Self {
        if exec_id.is_empty() { Self::Init } else { Self::Exec(exec_id.to_owned()) }
    }
}

impl Facts {
    fn process(&mut self, which: &Which) -> Option<&mut Process> {
        match which {
            Which::Init => Some(&mut self.init),
            Which::Exec(exec_id) => self.execs.get_mut(exec_id),
        }
    }
}

impl Task {
    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at, or changes, one process.
    fn with<T>(&self, which: &Which, with: impl FnOnce(&mut Process) -> T) -> Result<T, Error> {
        match self.facts().process(which) {
            Some(process) => Ok(with(process)),
            None => Err(self.no_exec(which)),
        }
    }

    fn no_exec(&self, which: &Which) -> Error {
        match which {
            Which::Init => Error::NoTask(self.id.clone()),
            Which::Exec(exec_id) => Error::NoExec { id: self.id.clone(), exec_id: exec_id.clone() },
        }
    }

    /// Lets `event` happen to a process, or says why it cannot.
    fn enter(&self, which: &Which, event: Event) -> Result<State, Error> {
        let mut facts = self.facts();
        let process = facts.process(which).ok_or_else(|| self.no_exec(which))?;
        process.enter(event).map_err(|refusal| refusal.about(self, which))
    }

    fn log(&self) -> PathBuf {
        self.bundle.join("log.json")
    }

    async fn call(&self, verb: &Verb, streams: Streams) -> Result<Vec<u8>, Error> {
        Ok(self.runtime.call(&self.world.reaper, &self.log(), &self.id, verb, streams).await?)
    }
}
