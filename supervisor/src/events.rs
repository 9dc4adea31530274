//! What happened on this device: a bounded ring with sequence numbers, for people and for the report.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// How many are kept.
pub const KEPT: usize = 1000;

/// The kinds of events. Their words are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// An instance of an earlier skiffd was found again.
    Adopted,
    /// An index is believed.
    FleetAccepted,
    /// What the server said is not believed, or it said nothing.
    FleetRefused,
    /// A release with its bundles is on the device.
    ReleaseStaged,
    /// A release is on trial.
    ReleaseSwitched,
    /// A release proved itself.
    ReleaseCommitted,
    /// A release failed and was returned from.
    ReleaseReverted,
    /// A release failed and stays.
    ReleaseOverdue,
    /// The program of an instance runs.
    InstanceStarted,
    /// It could not be started.
    InstanceNotStarted,
    /// It is asked to stop.
    InstanceStopping,
    /// It ended.
    InstanceEnded,
    /// The kernel killed a process at the memory limit.
    OomKill,
    /// Its shim is gone.
    ShimLost,
    /// Its limits are being changed.
    LimitsChanged,
    /// It became ready, or no longer is.
    HealthChanged,
    /// Everything is being stopped.
    Draining,
    /// A decision cannot be kept on disk, and is not carried out.
    StateNotKept,
}

/// Something that happened, before it has a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happening {
    /// What.
    pub kind: Kind,
    /// To which instance.
    pub instance: Option<String>,
    /// For people.
    pub text: String,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Grows by one; with [`Self::boot_id`] it names the event for good.
    pub seq: u64,
    /// Of the boot.
    pub boot_id: String,
    /// When, RFC 3339.
    pub time: String,
    /// What.
    pub kind: Kind,
    /// To which instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// For people.
    pub text: String,
}

/// The ring. Clones are the same ring.
#[derive(Clone, Debug)]
pub struct Ring {
    inner: Arc<Mutex<Inner>>,
    newest: watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner {
    boot_id: String,
    next: u64,
    events: VecDeque<Event>,
    dropped: u64,
}

impl Ring {
    /// An empty one for a boot. Numbers begin at `first`, so that a restarted daemon does not give one twice.
    #[must_use]
    pub fn new(boot_id: String, first: u64) -> Self {
        let inner = Inner { boot_id, next: first, events: VecDeque::new(), dropped: 0 };
        Self { inner: Arc::new(Mutex::new(inner)), newest: watch::Sender::new(first.saturating_sub(1)) }
    }

    /// Adds what happened, now.
    pub fn push(&self, happening: Happening) {
        let mut inner = self.lock();
        let Happening { kind, instance, text } = happening;
        let event =
            Event { seq: inner.next, boot_id: inner.boot_id.clone(), time: crate::clock::wall(), kind, instance, text };
        let (seq, instance, text) = (event.seq, event.instance.as_deref(), &event.text);
        if kind == Kind::StateNotKept {
            tracing::error!(seq, ?kind, instance, "{text}");
        } else {
            tracing::info!(seq, ?kind, instance, "{text}");
        }
        inner.next += 1;
        if inner.events.len() == KEPT {
            inner.events.pop_front();
            inner.dropped += 1;
        }
        inner.events.push_back(event);
        let newest = inner.next - 1;
        drop(inner);
        self.newest.send_replace(newest);
    }

    /// Every kept event with a greater number, the oldest first.
    #[must_use]
    pub fn since(&self, seq: u64) -> Vec<Event> {
        self.lock().events.iter().filter(|event| event.seq > seq).cloned().collect()
    }

    /// How many fell off.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    /// Tells of each new number.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // Nothing that holds the lock can leave the ring half changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn happening(text: &str) -> Happening {
        Happening { kind: Kind::InstanceStarted, instance: Some("web-0".into()), text: text.into() }
    }

    #[test]
    fn numbers_go_on_and_the_oldest_falls_off() {
        let ring = Ring::new("boot".into(), 7);
        let newest = ring.subscribe();
        for number in 0..KEPT + 3 {
            ring.push(happening(&number.to_string()));
        }
        let all = ring.since(0);
        assert_eq!((all.len(), ring.dropped(), all[0].seq), (KEPT, 3, 10));
        assert_eq!(ring.since(all[KEPT - 2].seq).len(), 1);
        assert_eq!(*newest.borrow(), 7 + KEPT as u64 + 2);
    }

    #[test]
    fn kinds_have_stable_words() {
        assert_eq!(serde_json::to_string(&Kind::ReleaseReverted).unwrap(), "\"releaseReverted\"");
    }
}
