//! When to look at the device, and when to report what was seen. Pure: the time is passed in.
//!
//! ```text
//!   changed ──(on_change)──> look ──(as the server has it)──────────────> rest until `due`
//!                             │ ^                                               ^   │
//!                             │ └───────────────────(due)───────────────────────│───┘
//!                             └──(news, or due)──> report ──(taken: every)──────┘
//!                                                    └──────(failed: longer and longer, nothing in between)
//! ```

use super::document::Status;
use crate::fleet::schedule::Chance;
use crate::view::ReportTo;
use skiff_planner::moment::Moment;
use skiff_planner::span::Span;
use std::time::Duration;

/// No index makes a device report more often than this.
const LEAST: Span = Span::from_secs(1);
/// From a change to a look while nobody is known to report to: an index that was read from disk has been by then.
const FIRST: Span = Span::from_secs(2);
/// Between two attempts, at the most, unless the server asks for more.
const LONGEST_BACKOFF: Span = Span::from_secs(3600);
/// No server keeps a device away for longer.
const LONGEST_RETRY: Span = Span::from_secs(86_400);

/// The schedule of one device.
#[derive(Debug)]
pub(super) struct Schedule {
    chance: Chance,
    /// When to look, because something changed.
    look: Option<Moment>,
    /// None while there is nobody to report to.
    server: Option<Server>,
}

/// Whom is reported to, and what it has.
#[derive(Debug)]
struct Server {
    to: ReportTo,
    /// A report is due then, whether or not anything changed.
    due: Moment,
    /// Nothing is asked of it before: it failed, or it asked for that.
    quiet: Moment,
    /// In a row.
    failures: u32,
    /// What it took last.
    has: Option<Status>,
}

impl Schedule {
    /// Of a device that nobody has looked at.
    pub(super) fn new(device: &str) -> Self {
        Self { chance: Chance::new(&format!("{device} reports")), look: None, server: None }
    }

    /// Something changed. Further changes until the look do not put it off.
    pub(super) fn changed(&mut self, now: Moment) {
        if self.look.is_none() {
            let after = self.server.as_ref().map_or(FIRST, |server| on_change(&server.to));
            // What changes a whole fleet does not make it report as one.
            self.look = Some(now.plus(after).plus(part(after, self.chance.draw() / 2.0)));
        }
    }

    /// Whether the next look takes in whatever changes until then.
    pub(super) const fn has_change(&self) -> bool {
        self.look.is_some()
    }

    /// When to look next; never, where nothing is to come by itself.
    pub(super) fn next(&self) -> Option<Moment> {
        let Some(server) = &self.server else { return self.look };
        Some(self.look.map_or(server.due, |look| look.min(server.due)).max(server.quiet))
    }

    /// The device was looked at: whether to report. `lasting` is what a change of is worth a report.
    pub(super) fn looked(&mut self, now: Moment, to: Option<&ReportTo>, lasting: &Status) -> bool {
        self.look = None;
        let Some(to) = to else {
            self.server = None;
            return false;
        };
        match &mut self.server {
            Some(server) if server.to.url == to.url => server.to.clone_from(to),
            _ => self.server = Some(Server { to: to.clone(), due: now, quiet: now, failures: 0, has: None }),
        }
        self.server
            .as_ref()
            .is_some_and(|server| now >= server.quiet && (now >= server.due || server.has.as_ref() != Some(lasting)))
    }

    /// The server has it.
    pub(super) fn taken(&mut self, now: Moment, lasting: Status, retry_after: Option<Duration>) {
        let Some(server) = &mut self.server else { return };
        server.failures = 0;
        server.has = Some(lasting);
        server.quiet = now.plus(asked(retry_after));
        // A device is never later than it should be, so it is spread to the other side.
        let every = every(&server.to);
        let early = part(every, self.chance.draw() / 5.0);
        server.due = now.plus(Span::from_millis(every.millis() - early.millis())).max(server.quiet);
    }

    /// The server does not have it.
    pub(super) fn failed(&mut self, now: Moment, retry_after: Option<Duration>) {
        let Some(server) = &mut self.server else { return };
        let first = on_change(&server.to);
        let most = every(&server.to).min(LONGEST_BACKOFF).max(first);
        server.failures = server.failures.saturating_add(1);
        let doubled = first.millis().saturating_mul(1 << server.failures.min(32));
        let spread = Span::from_millis(doubled).min(most);
        let wait = Span::from_millis(first.millis() + part(spread, self.chance.draw()).millis());
        server.quiet = now.plus(wait.max(asked(retry_after)));
        server.due = server.quiet;
    }

    /// How often the server has failed in a row.
    pub(super) fn failures(&self) -> u32 {
        self.server.as_ref().map_or(0, |server| server.failures)
    }
}

fn on_change(to: &ReportTo) -> Span {
    Span::from_millis(to.on_change_ms).max(LEAST)
}

fn every(to: &ReportTo) -> Span {
    Span::from_millis(to.every_ms).max(LEAST)
}

fn asked(retry_after: Option<Duration>) -> Span {
    let millis = retry_after.unwrap_or_default().as_millis();
    Span::from_millis(u64::try_from(millis).unwrap_or(u64::MAX)).min(LONGEST_RETRY)
}

/// A part of a span, from 0 to 1.
fn part(span: Span, part: f64) -> Span {
    Span::from_millis((span.millis() as f64 * part) as u64)
}

#[cfg(test)]
mod tests;
