//! When the process may go. It stays while it holds a container or while one is announced, and it goes when the last
//! caller says so, or after a while in which nobody came.

use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// How long an announced container may be on its way, and how long an empty shim waits for the next call.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What is known about the need for this process.
#[derive(Debug)]
pub(crate) struct Lifetime {
    tasks: usize,
    /// Containers whose `start` was answered with our address, and until when their Create is waited for.
    announced: HashMap<String, Instant>,
    /// The last call of any kind.
    last_call: Instant,
    dismissed: bool,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Hold on, and ask again when something happens.
    Stay,
    /// Hold on, and ask again at this time.
    Until(Instant),
    /// Nothing is left to hold.
    Go,
}

impl Lifetime {
    /// A process that was begun for one container.
    pub(crate) fn new(id: &str, now: Instant) -> Self {
        let announced = HashMap::from([(id.to_owned(), now + PATIENCE)]);
        Self { tasks: 0, announced, last_call: now, dismissed: false }
    }

    /// A caller will create this container.
    pub(crate) fn announce(&mut self, id: &str, now: Instant) {
        self.announced.insert(id.to_owned(), now + PATIENCE);
    }

    /// It is being created.
    pub(crate) fn create(&mut self, id: &str) {
        self.announced.remove(id);
        self.tasks += 1;
        self.dismissed = false;
    }

    /// A container is gone, or did not come about.
    pub(crate) fn remove(&mut self) {
        self.tasks -= 1;
    }

    /// Somebody called.
    pub(crate) fn call(&mut self, now: Instant) {
        self.last_call = now;
    }

    /// A caller has no more use for this process.
    pub(crate) fn dismiss(&mut self) {
        self.dismissed = true;
    }

    /// The process is to end unless it holds a container, announced ones or not.
    pub(crate) fn end_when_empty(&mut self) {
        if self.tasks == 0 {
            self.announced.clear();
            self.dismissed = true;
        }
    }

    /// Whether no container is held.
    pub(crate) fn is_empty(&self) -> bool {
        self.tasks == 0
    }

    /// Decides.
    pub(crate) fn verdict(&mut self, now: Instant) -> Verdict {
        self.announced.retain(|_, until| *until > now);
        if self.tasks > 0 {
            // A Shutdown while others are served means nothing.
            self.dismissed = false;
            return Verdict::Stay;
        }
        if let Some(until) = self.announced.values().max() {
            return Verdict::Until(*until);
        }
        let until = self.last_call + PATIENCE;
        if self.dismissed || until <= now { Verdict::Go } else { Verdict::Until(until) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn nobody_comes() {
        let now = Instant::now();
        let mut lifetime = Lifetime::new("a", now);
        assert_eq!(lifetime.verdict(now), Verdict::Until(now + PATIENCE));
        assert_eq!(lifetime.verdict(now + PATIENCE), Verdict::Go);
    }

    #[test]
    fn the_last_one_is_dismissed() {
        let now = Instant::now();
        let mut lifetime = Lifetime::new("a", now);
        lifetime.create("a");
        assert_eq!(lifetime.verdict(now + 100 * SECOND), Verdict::Stay);
        lifetime.dismiss();
        assert_eq!(lifetime.verdict(now + 100 * SECOND), Verdict::Stay);
        lifetime.remove();
        lifetime.call(now + 100 * SECOND);
        assert!(matches!(lifetime.verdict(now + 100 * SECOND), Verdict::Until(_)), "that dismissal was too early");
        lifetime.dismiss();
        assert_eq!(lifetime.verdict(now + 100 * SECOND), Verdict::Go);
    }

    #[test]
    fn an_announced_container_is_waited_for_in_spite_of_a_dismissal() {
        let now = Instant::now();
        let mut lifetime = Lifetime::new("a", now);
        lifetime.create("a");
        lifetime.remove();
        lifetime.announce("b", now);
        lifetime.dismiss();
        assert_eq!(lifetime.verdict(now + SECOND), Verdict::Until(now + PATIENCE));
        lifetime.create("b");
        assert_eq!(lifetime.verdict(now + 2 * PATIENCE), Verdict::Stay);
    }

    #[test]
    fn a_client_that_dies_after_delete_leaves_no_shim_behind() {
        let now = Instant::now();
        let mut lifetime = Lifetime::new("a", now);
        lifetime.create("a");
        lifetime.remove();
        lifetime.call(now + SECOND);
        assert_eq!(lifetime.verdict(now + 2 * SECOND), Verdict::Until(now + SECOND + PATIENCE));
        assert_eq!(lifetime.verdict(now + SECOND + PATIENCE), Verdict::Go);
    }
}
