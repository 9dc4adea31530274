//! The report to the fleet: the whole state of the device as one document, put where the fleet's index says, by the child
//! that has no rights. It goes some time after a change, and from time to time without one. Only the newest state is ever
//! sent: a report that could not be delivered is replaced, never kept.
//!
//! ```text
//!   the loop ──(something changed)──> Schedule ──(look)──> Query::Device ──> status ──(news, or due)──> fetch::put
//!                                        ^                                                                │
//!                                        └──────────────────── taken, or failed ──────────────────────────┘
//! ```

mod document;
mod schedule;

pub use document::{Status, status};

use crate::clock;
use crate::config::Config;
use crate::control::Query;
use crate::fleet::{self, fetch};
use crate::view::{Device, ReportTo};
use schedule::Schedule;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// How a report leaves the device.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The fleet that is followed; nothing is reported without one.
    pub fleet: Option<fleet::Settings>,
}

impl Settings {
    /// From the daemon's own.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let program = std::env::current_exe().inspect_err(|error| {
            tracing::error!("nothing will be reported: the path of this program cannot be found: {error}");
        });
        Self { fleet: program.ok().and_then(|program| fleet::Settings::new(config, program)) }
    }
}

/// Reports from then on, in a task of its own, until the loop is gone. `changes` says that something changed.
pub fn spawn(settings: Settings, queries: mpsc::Sender<Query>, changes: mpsc::Receiver<()>) {
    if let Some(fleet) = settings.fleet {
        tokio::spawn(async move {
            let schedule = Schedule::new(&fleet.device.id);
            // As the ring's, it goes on over a restart of skiffd without a word on disk: no device reports each millisecond.
            let seq = clock::now().0;
            Reporter { fleet, queries, changes, schedule, seq }.run().await;
        });
    }
}

struct Reporter {
    fleet: fleet::Settings,
    queries: mpsc::Sender<Query>,
    changes: mpsc::Receiver<()>,
    schedule: Schedule,
    /// Of the last report.
    seq: u64,
}

impl Reporter {
    async fn run(mut self) {
        while self.wait().await.is_some() {
            // The look takes in what changed until now.
            while self.changes.try_recv().is_ok() {}
            let Some(device) = self.look().await else { break };
            self.report(&device).await;
        }
    }

    /// Until it is time to look; nothing when the loop is gone.
    async fn wait(&mut self) -> Option<()> {
        loop {
            let next = self.schedule.next().map(|next| next.since(clock::now()).duration());
            if next == Some(Duration::ZERO) {
                return Some(());
            }
            tokio::select! {
                // A word that waits is taken with the look that comes anyway.
                word = self.changes.recv(), if !self.schedule.has_change() => {
                    word?;
                    self.schedule.changed(clock::now());
                }
                () = tokio::time::sleep(next.unwrap_or_default()), if next.is_some() => {}
                () = self.queries.closed() => return None,
            }
        }
    }

    async fn look(&self) -> Option<Box<Device>> {
        let (answer, device) = oneshot::channel();
        self.queries.send(Query::Device(answer)).await.ok()?;
        device.await.ok()
    }

    async fn report(&mut self, device: &Device) {
        let to = device.fleet.as_ref().and_then(|fleet| fleet.report.as_ref());
        let report = status(device, self.seq + 1);
        let lasting = report.clone().lasting();
        if !self.schedule.looked(clock::now(), to, &lasting) {
            return;
        }
        let Some(to) = to else { return };
        self.seq += 1;
        match self.put(to, &report).await {
            Ok(retry_after) => {
                let failed = self.schedule.failures();
                if failed > 0 {
                    tracing::info!("`{}` takes reports again, after {failed} that it did not", to.url);
                }
                self.schedule.taken(clock::now(), lasting, retry_after);
            }
            Err(Undelivered { text, retry_after }) => {
                // Once for each row of failures; a device that is offline for a week has other things to tell.
                if self.schedule.failures() == 0 {
                    tracing::warn!("the report is not delivered, and is tried again more and more slowly: {text}");
                } else {
                    tracing::debug!("the report is not delivered: {text}");
                }
                self.schedule.failed(clock::now(), retry_after);
            }
        }
    }

    /// Delivers it. How long the server asks to be left alone, if it took it.
    async fn put(&self, to: &ReportTo, report: &Status) -> Result<Option<Duration>, Undelivered> {
        let url = format!("{}/status", to.url);
        let body = serde_json::to_string(report)
            .map_err(|error| Undelivered { text: format!("it cannot be written: {error}"), retry_after: None })?;
        // The child is confined for the place that it is started for, and that is not where the index comes from.
        let settings = fleet::Settings { url: to.url.clone(), ..self.fleet.clone() };
        match fetch::put(&settings, &url, body).await {
            Ok(taken) if (200..300).contains(&taken.status) => Ok(taken.retry_after),
            Ok(taken) => Err(Undelivered {
                text: format!("`{url}`: the server answers with status {}", taken.status),
                retry_after: taken.retry_after,
            }),
            Err(failure) => Err(Undelivered { text: failure.to_string(), retry_after: failure.retry_after }),
        }
    }
}

/// Why the server does not have it.
struct Undelivered {
    /// For people.
    text: String,
    /// How long it asks to be left alone.
    retry_after: Option<Duration>,
}
