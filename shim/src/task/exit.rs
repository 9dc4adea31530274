//! The end of a process: held until what must be told before it has been told, then its output is delivered, then
//! everybody hears of it. The task's own process is the last to be told of.

use super::record::record_exit;
use super::state::{Event, State};
use super::{Facts, Task, Which};
use crate::chain::chain;
use crate::events;
use crate::exits::Exit;
use crate::runtime::{Streams, Verb};
use std::sync::Arc;
use tokio::sync::oneshot;

/// SIGKILL.
const KILL: u32 = 9;

impl Task {
    /// Waits for the end of a process that was just begun; one that ended before is told of at once.
    pub(super) fn await_exit(self: &Arc<Self>, which: Which, exit: oneshot::Receiver<Exit>) {
        let task = Arc::clone(self);
        tokio::spawn(async move {
            if let Ok(exit) = exit.await {
                task.exited(&which, exit);
            }
        });
    }

    fn exited(self: &Arc<Self>, which: &Which, exit: Exit) {
        let drained = {
            let mut facts = self.facts();
            let Some(process) = facts.process(which) else { return };
            match super::state::next(process.state, Event::Exited) {
                super::state::Verdict::Hold => {
                    process.held = Some(exit);
                    return;
                }
                super::state::Verdict::Refuse | super::state::Verdict::Ended => return,
                super::state::Verdict::Go(state) => process.state = state,
                super::state::Verdict::Stay => {}
            }
            process.seen = Some(exit);
            process.io.as_ref().map(crate::stdio::Io::drained)
        };
        if *which == Which::Init && !self.dies_with_init {
            self.kill_the_others();
        }
        let (task, which) = (Arc::clone(self), which.clone());
        tokio::spawn(async move {
            if let Some(drained) = drained {
                drained.await;
            }
            task.drained(&which);
        });
    }

    /// Lets an exit happen that was held back.
    pub(super) fn release(self: &Arc<Self>, which: &Which) {
        let held = self.facts().process(which).and_then(|process| process.held.take());
        if let Some(exit) = held {
            self.exited(which, exit);
        }
    }

    fn drained(&self, which: &Which) {
        let mut facts = self.facts();
        if let Some(process) = facts.process(which) {
            process.drained = true;
        }
        self.settle(&mut facts);
    }

    /// Tells of every end that may be told of now.
    pub(super) fn settle(&self, facts: &mut Facts) {
        let ready: Vec<String> =
            facts.execs.iter().filter(|(_, exec)| exec.is_ready()).map(|(id, _)| id.clone()).collect();
        for exec_id in ready {
            self.tell(facts, &Which::Exec(exec_id));
        }
        let busy = facts.execs.values().any(|exec| exec.state.is_live());
        if facts.init.is_ready() && !busy {
            self.tell(facts, &Which::Init);
        }
    }

    fn tell(&self, facts: &mut Facts, which: &Which) {
        // A death for want of memory is told before the death.
        self.check_oom_of(facts);
        let Some(process) = facts.process(which) else { return };
        let Some(exit) = process.seen else { return };
        let _a_deleted_one_stays_so = process.enter(Event::Settled);
        let process_id = match which {
            Which::Init => self.id.clone(),
            Which::Exec(exec_id) => exec_id.clone(),
        };
        if *which == Which::Init {
            record_exit(&self.bundle, exit);
        }
        let event = events::Event::Exit { id: self.id.clone(), process: process_id, pid: process.pid, exit };
        self.world.events.publish(&event);
        process.told.send_replace(Some(exit));
        tracing::debug!(id = self.id, process = ?which, status = exit.status, "process has ended");
    }

    /// Tells of a lack of memory.
    pub(crate) fn tell_oom(&self) {
        self.world.events.publish(&events::Event::Oom { id: self.id.clone() });
    }

    /// Looks whether the lack of memory has grown, and tells of it; while the program is being started not yet, because the
    /// start is told first, which looks again.
    pub(crate) fn check_oom(&self) {
        let mut facts = self.facts();
        if facts.init.state != State::Starting {
            self.check_oom_of(&mut facts);
        }
    }

    pub(super) fn check_oom_of(&self, facts: &mut Facts) {
        if let Some(oom) = &mut facts.oom {
            oom.check(self);
        }
    }

    /// Without a pid namespace of its own the kernel leaves the rest of a container alive.
    fn kill_the_others(self: &Arc<Self>) {
        let task = Arc::clone(self);
        tokio::spawn(async move {
            let verb = Verb::Kill { signal: KILL, all: true };
            if let Err(error) = task.call(&verb, Streams::Captured).await {
                tracing::warn!(id = task.id, error = chain(&error), "other processes of the container may still run");
            }
        });
    }
}

impl super::process::Process {
    /// Its end may be told of, and has not been.
    fn is_ready(&self) -> bool {
        let over = matches!(self.state, State::Exiting | State::Deleting);
        over && self.seen.is_some() && self.drained && self.exit().is_none()
    }
}
