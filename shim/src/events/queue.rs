//! The bounded queue of events.

use protobuf::well_known_types::any::Any;
use std::collections::VecDeque;
use std::time::SystemTime;

/// More than a caller can miss in a restart; a few hundred bytes each.
const LIMIT: usize = 2048;

/// One event that waits.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Queued {
    pub(super) event: Any,
    pub(super) topic: &'static str,
    pub(super) at: SystemTime,
}

/// What waits, and how much had to go.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<Queued>,
    lost: u64,
}

impl Queue {
    /// Appends; the oldest goes when there are too many, because the newest says how things are.
    pub(super) fn push(&mut self, queued: Queued) {
        if self.waiting.len() == LIMIT {
            self.waiting.pop_front();
            self.lost += 1;
        }
        self.waiting.push_back(queued);
    }

    pub(super) fn front(&self) -> Option<&Queued> {
        self.waiting.front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes away what was delivered, unless it went for want of room meanwhile; and says how many were lost so far.
    pub(super) fn pop(&mut self, delivered: &Queued) -> u64 {
        if self.waiting.front() == Some(delivered) {
            self.waiting.pop_front();
        } else {
            self.lost = self.lost.saturating_sub(1);
        }
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
        std::mem::take(&mut self.lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queued(number: usize) -> Queued {
        let event = Any { type_url: number.to_string(), ..Any::default() };
        Queued { event, topic: "/t", at: SystemTime::UNIX_EPOCH }
    }

    #[test]
    fn order_is_kept_and_loss_is_counted() {
        let mut queue = Queue::default();
        for number in 0..LIMIT + 3 {
            queue.push(queued(number));
        }
        assert_eq!(queue.front(), Some(&queued(3)));
        assert_eq!(queue.pop(&queued(3)), 3);
        assert_eq!(queue.front(), Some(&queued(4)));
        assert_eq!(queue.pop(&queued(4)), 0);
    }

    #[test]
    fn an_event_that_went_while_it_was_delivered_is_not_lost() {
        let mut queue = Queue::default();
        queue.push(queued(0));
        let delivering = queue.front().cloned().unwrap();
        for number in 1..=LIMIT {
            queue.push(queued(number));
        }
        assert_eq!(queue.pop(&delivering), 0);
        assert_eq!(queue.front(), Some(&queued(1)), "the next one was not taken away instead");
    }
}
