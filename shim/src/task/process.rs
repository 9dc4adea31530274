//! One process of a task as this shim knows it.

use super::state::{Event, State, Verdict, next};
use super::{Error, Task, Which};
use crate::exits::Exit;
use crate::stdio::{Io, Wanted};
use serde_json::Value;
use tokio::sync::watch;

/// What is known of a process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) state: State,
    /// 0 until there is one.
    pub(super) pid: u32,
    pub(super) wanted: Wanted,
    /// An exec's process document.
    pub(super) document: Option<Value>,
    pub(super) io: Option<Io>,
    /// An exit that came before what it must be told after.
    pub(super) held: Option<Exit>,
    /// How it ended, when its output may still be on the way.
    pub(super) seen: Option<Exit>,
    /// Its output has been delivered.
    pub(super) drained: bool,
    /// How it ended, when everybody may know.
    pub(super) told: watch::Sender<Option<Exit>>,
}

/// What a caller sees of a process.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) bundle: String,
    pub(crate) pid: u32,
    pub(crate) state: State,
    pub(crate) wanted: Wanted,
    pub(crate) exit: Option<Exit>,
}

/// Why an event cannot happen to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    event: Event,
    state: State,
    ended: bool,
}

impl Process {
    pub(super) fn new(state: State, wanted: Wanted) -> Self {
        Self {
            state,
            pid: 0,
            wanted,
            document: None,
            io: None,
            held: None,
            seen: None,
            drained: false,
            told: watch::Sender::new(None),
        }
    }

    /// Changes the state as the table says; the state that was is given back.
    pub(super) fn enter(&mut self, event: Event) -> Result<State, Refusal> {
        let state = self.state;
        match next(state, event) {
            Verdict::Go(next) => self.state = next,
            Verdict::Stay | Verdict::Hold => {}
            Verdict::Refuse => return Err(Refusal { event, state, ended: false }),
            Verdict::Ended => return Err(Refusal { event, state, ended: true }),
        }
        Ok(state)
    }

    /// Its end, once it may be known.
    pub(super) fn exit(&self) -> Option<Exit> {
        *self.told.borrow()
    }
}

impl Refusal {
    /// The refusal as an error about a process of `task`.
    pub(super) fn about(self, task: &Task, which: &Which) -> Error {
        let name = match which {
            Which::Init => task.id.clone(),
            Which::Exec(exec_id) => format!("{}/{exec_id}", task.id),
        };
        if self.ended {
            return Error::Ended(name);
        }
        Error::State { name, what: self.event.words(), state: self.state.words() }
    }
}

impl Event {
    /// What cannot be done, for people.
    fn words(self) -> &'static str {
        match self {
            Self::Start => "started",
            Self::Pause => "paused",
            Self::Resume => "resumed",
            Self::Exec => "given another process",
            Self::Kill => "signalled",
            Self::Update => "changed",
            Self::Measure => "measured",
            Self::Stream => "written to",
            Self::Delete => "deleted",
            Self::Made | Self::Started | Self::StartFailed => "begun",
            Self::Paused | Self::PauseFailed | Self::Resumed | Self::ResumeFailed => "frozen or thawed",
            Self::Exited | Self::Settled | Self::DeleteFailed | Self::Spared => "ended",
        }
    }
}
