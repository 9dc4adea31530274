//! Delete: of an exec, which is forgetting it; of a task, which takes the container from the runtime and its root from
//! the mount table.

use super::state::{Event, State};
use super::{Error, Task, Which};
use crate::events;
use crate::exits::Exit;
use crate::mounts;
use crate::runtime::{Streams, Verb};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How long the exit of a process that `delete` has killed may be on its way.
const PATIENCE: Duration = Duration::from_secs(5);

/// What nobody has seen.
const UNKNOWN: u32 = 255;

/// What a deleted process was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deleted {
    pub(crate) pid: u32,
    pub(crate) exit: Exit,
}

impl Task {
    /// Deletes a process. The caller forgets the task after its own process is deleted.
    ///
    /// # Errors
    /// When the state does not allow it, or something cannot be removed; then it can be tried again.
    pub(crate) async fn delete(self: Arc<Self>, which: Which) -> Result<Deleted, Error> {
        match which {
            Which::Init => self.delete_init().await,
            Which::Exec(_) => self.delete_exec(&which),
        }
    }

    fn delete_exec(&self, which: &Which) -> Result<Deleted, Error> {
        let mut facts = self.facts();
        let exec = facts.process(which).ok_or_else(|| self.no_exec(which))?;
        exec.enter(Event::Delete).map_err(|refusal| refusal.about(self, which))?;
        let deleted = Deleted { pid: exec.pid, exit: exec.exit().unwrap_or_else(unknown) };
        if let Which::Exec(exec_id) = which {
            facts.execs.remove(exec_id);
        }
        Ok(deleted)
    }

    async fn delete_init(&self) -> Result<Deleted, Error> {
        let before = self.enter(&Which::Init, Event::Delete)?;
        if let Err(error) = self.remove(before).await {
            let mut facts = self.facts();
            let lives = facts.init.seen.is_none();
            let _it_was_being_deleted = facts.init.enter(if lives { Event::Spared } else { Event::DeleteFailed });
            return Err(error);
        }
        let mut facts = self.facts();
        let deleted = Deleted { pid: facts.init.pid, exit: facts.init.exit().unwrap_or_else(unknown) };
        // Ends all copying, and the watch on its memory.
        (facts.init.io, facts.oom) = (None, None);
        facts.execs.clear();
        let event = events::Event::Delete { id: self.id.clone(), pid: deleted.pid, exit: deleted.exit };
        self.world.events.publish(&event);
        Ok(deleted)
    }

    async fn remove(&self, before: State) -> Result<(), Error> {
        // `--force` so that what was half deleted before can be deleted again.
        self.call(&Verb::Delete { force: true }, Streams::Captured).await?;
        if before == State::Created {
            let mut told = self.facts().init.told.subscribe();
            let _unknown_otherwise = tokio::time::timeout(PATIENCE, told.wait_for(Option::is_some)).await;
        }
        Ok(mounts::unmount_all_aside(self.bundle.join("rootfs")).await?)
    }
}

fn unknown() -> Exit {
    Exit { status: UNKNOWN, at: SystemTime::now() }
}
