//! The one table: what a process of a task is doing, what can happen to it, and what then.
//!
//! ```text
//!             made          start           started               exited         settled
//!  Creating ───────> Created ─────> Starting ───────> Running ─────────> Exiting ───────> Stopped
//!                      │  ^            │              │     ^               ^                │ delete
//!                      │  └────────────┘       pause  v     │ resumed       │                v
//!                      │   start failed          Pausing  Resuming ─────────┤            Deleting ──> gone
//!                      │                       paused │     ^ resume        │                ^
//!                      │                              v     │               │                │
//!                      │                              Paused ───────────────┘                │
//!                      └──────────────────────────────── delete ─────────────────────────────┘
//! ```
//!
//! The state is the lock. A call that takes time enters a state in which another such call is refused, and leaves it at
//! its end; so nothing is held while a runtime works, and a slow call for one task is nothing to another.
//!
//! An exit that comes while a process is still being made or started is held back: what began it is told first.

/// What a process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// The runtime makes the container (a task's own process only).
    Creating,
    /// It can be started; for an exec: it was asked for.
    Created,
    /// The runtime starts it.
    Starting,
    /// It runs.
    Running,
    /// It is being frozen.
    Pausing,
    /// It is frozen.
    Paused,
    /// It is being thawed.
    Resuming,
    /// It has ended; its output is on the way, and for a task's own process its execs may still end.
    Exiting,
    /// It has ended and that has been told.
    Stopped,
    /// What is left of it is being removed.
    Deleting,
}

/// What can happen to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The runtime has made it.
    Made,
    /// A caller wants it to be started.
    Start,
    /// It was started.
    Started,
    /// It was not.
    StartFailed,
    /// A caller wants it frozen.
    Pause,
    /// It is.
    Paused,
    /// It is not.
    PauseFailed,
    /// A caller wants it thawed.
    Resume,
    /// It is.
    Resumed,
    /// It is not.
    ResumeFailed,
    /// A caller wants another process beside it, or wants that one started.
    Exec,
    /// A caller sends a signal.
    Kill,
    /// A caller changes its limits.
    Update,
    /// A caller wants its figures.
    Measure,
    /// A caller closes its standard input or resizes its terminal.
    Stream,
    /// It ended.
    Exited,
    /// Everything about its end is done.
    Settled,
    /// A caller wants it removed.
    Delete,
    /// It is still there.
    DeleteFailed,
    /// It is still there, and its process lives.
    Spared,
}

/// What then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is in this state now.
    Go(State),
    /// Fine, and nothing changes.
    Stay,
    /// Keep it until what is under way is done, and let it happen then.
    Hold,
    /// It cannot be: the state does not allow it.
    Refuse,
    /// It cannot be: there is no process any more.
    Ended,
}

/// The table.
pub(crate) fn next(state: State, event: Event) -> Verdict {
    use Event as E;
    use State as S;
    use Verdict::{Ended, Go, Hold, Refuse, Stay};
    match state {
        S::Creating => match event {
            E::Made => Go(S::Created),
            E::Exited => Hold,
            E::Start | E::Started | E::StartFailed | E::Pause | E::Paused | E::PauseFailed | E::Resume | E::Resumed => {
                Refuse
            }
            E::ResumeFailed | E::Exec | E::Kill | E::Update | E::Measure | E::Stream | E::Settled | E::Delete => Refuse,
            E::DeleteFailed | E::Spared => Refuse,
        },
        S::Created => match event {
            E::Start => Go(S::Starting),
            E::Delete => Go(S::Deleting),
            E::Exited => Go(S::Exiting),
            E::Exec | E::Kill | E::Update | E::Measure | E::Stream => Stay,
            E::Made | E::Started | E::StartFailed | E::Pause | E::Paused | E::PauseFailed | E::Resume => Refuse,
            E::Resumed | E::ResumeFailed | E::Settled | E::DeleteFailed | E::Spared => Refuse,
        },
        S::Starting => match event {
            E::Started => Go(S::Running),
            E::StartFailed => Go(S::Created),
            E::Exited => Hold,
            E::Kill | E::Update | E::Measure | E::Stream => Stay,
            E::Made | E::Start | E::Pause | E::Paused | E::PauseFailed | E::Resume | E::Resumed => Refuse,
            E::ResumeFailed | E::Exec | E::Settled | E::Delete | E::DeleteFailed | E::Spared => Refuse,
        },
        S::Running => match event {
            E::Pause => Go(S::Pausing),
            E::Exited => Go(S::Exiting),
            E::Exec | E::Kill | E::Update | E::Measure | E::Stream => Stay,
            E::Made | E::Start | E::Started | E::StartFailed | E::Paused | E::PauseFailed | E::Resume => Refuse,
            E::Resumed | E::ResumeFailed | E::Settled | E::Delete | E::DeleteFailed | E::Spared => Refuse,
        },
        S::Pausing => match event {
            E::Paused => Go(S::Paused),
            E::PauseFailed => Go(S::Running),
            E::Exited => Go(S::Exiting),
            E::Kill | E::Update | E::Measure | E::Stream => Stay,
            E::Made | E::Start | E::Started | E::StartFailed | E::Pause | E::Resume | E::Resumed => Refuse,
            E::ResumeFailed | E::Exec | E::Settled | E::Delete | E::DeleteFailed | E::Spared => Refuse,
        },
        S::Paused => match event {
            E::Resume => Go(S::Resuming),
            E::Exited => Go(S::Exiting),
            E::Kill | E::Update | E::Measure | E::Stream => Stay,
            E::Made | E::Start | E::Started | E::StartFailed | E::Pause | E::Paused | E::PauseFailed => Refuse,
            E::Resumed | E::ResumeFailed | E::Exec | E::Settled | E::Delete | E::DeleteFailed | E::Spared => Refuse,
        },
        S::Resuming => match event {
            E::Resumed => Go(S::Running),
            E::ResumeFailed => Go(S::Paused),
            E::Exited => Go(S::Exiting),
            E::Kill | E::Update | E::Measure | E::Stream => Stay,
            E::Made | E::Start | E::Started | E::StartFailed | E::Pause | E::Paused | E::PauseFailed => Refuse,
            E::Resume | E::Exec | E::Settled | E::Delete | E::DeleteFailed | E::Spared => Refuse,
        },
        S::Exiting => match event {
            E::Settled => Go(S::Stopped),
            // What was under way when it ended has nothing left to change.
            E::Paused | E::PauseFailed | E::Resumed | E::ResumeFailed | E::Measure | E::Stream => Stay,
            E::Kill => Ended,
            E::Made | E::Start | E::Started | E::StartFailed | E::Pause | E::Resume | E::Exec | E::Update => Refuse,
            E::Exited | E::Delete | E::DeleteFailed | E::Spared => Refuse,
        },
        S::Stopped => match event {
            E::Delete => Go(S::Deleting),
            E::Paused | E::PauseFailed | E::Resumed | E::ResumeFailed | E::Measure | E::Stream => Stay,
            E::Kill => Ended,
            E::Made | E::Start | E::Started | E::StartFailed | E::Pause | E::Resume | E::Exec | E::Update => Refuse,
            E::Exited | E::Settled | E::DeleteFailed | E::Spared => Refuse,
        },
        S::Deleting => match event {
            // One that was never started dies of being deleted; its exit is told before its removal.
            E::Exited | E::Settled => Stay,
            // Back to where it can be tried again.
            E::DeleteFailed => Go(S::Stopped),
            E::Spared => Go(S::Created),
            E::Kill => Ended,
            E::Made | E::Start | E::Started | E::StartFailed | E::Pause | E::Paused | E::PauseFailed => Refuse,
            E::Resume | E::Resumed | E::ResumeFailed | E::Exec | E::Update | E::Measure | E::Stream => Refuse,
            E::Delete => Refuse,
        },
    }
}

impl State {
    /// Its words for people.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Creating => "being created",
            Self::Created => "created and not started",
            Self::Starting => "being started",
            Self::Running => "running",
            Self::Pausing => "being paused",
            Self::Paused => "paused",
            Self::Resuming => "being resumed",
            Self::Exiting => "ending",
            Self::Stopped => "stopped",
            Self::Deleting => "being deleted",
        }
    }

    /// Whether there is, or is about to be, a process whose exit has not been told.
    pub(crate) fn is_live(self) -> bool {
        match self {
            Self::Starting | Self::Running | Self::Pausing | Self::Paused | Self::Resuming | Self::Exiting => true,
            Self::Creating | Self::Created | Self::Stopped | Self::Deleting => false,
        }
    }
}

#[cfg(test)]
mod tests;
