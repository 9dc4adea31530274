//! Performs what was asked for: asks the loop, follows events, reads logs. It waits for the loop for a few seconds and no
//! longer, but for a drain.

use super::Query;
use super::answer::{Body, Feed, Gone, Refusal, feed, json, text};
use super::logs::{self, Logs};
use super::route::{Name, Reading, Route};
use crate::events::Ring;
use crate::metrics;
use crate::view::Device;
use hyper::{Response, StatusCode};
use serde_json::json as document;
use skiff_planner::name::InstanceId;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

/// How long the loop may take. It answers at once; what it waits for is given up by itself after less than this.
const PATIENCE: Duration = Duration::from_secs(5);
/// Logs that are read at once: each holds descriptors.
const READERS: usize = 16;

/// What an answer is made from.
#[derive(Debug)]
pub(super) struct Desk {
    queries: mpsc::Sender<Query>,
    events: Ring,
    logs: PathBuf,
    readers: Arc<Semaphore>,
}

impl Desk {
    pub(super) fn new(queries: mpsc::Sender<Query>, events: Ring, logs: PathBuf) -> Self {
        Self { queries, events, logs, readers: Arc::new(Semaphore::new(READERS)) }
    }

    pub(super) async fn perform(&self, route: Route) -> Response<Body> {
        let answer = match route {
            Route::Device => self.device().await.map(|device| json(StatusCode::OK, &device)),
            Route::Instance(name) => self.device().await.and_then(|device| instance(&device, &name)),
            Route::Events { since, follow } => Ok(self.events(since, follow)),
            Route::Logs(name, reading) => self.logs(&name, reading).await,
            Route::Sync => self.ask(Query::Sync).await.and_then(asked),
            Route::Drain => self.drain().await,
            Route::Metrics => {
                self.device().await.map(|device| text(StatusCode::OK, metrics::CONTENT_TYPE, metrics::text(&device)))
            }
            // A loop that answers at all lives.
            Route::Live => self.ask(Query::Ready).await.map(|_blocked| ok()),
            Route::Ready => self.ask(Query::Ready).await.and_then(ready),
        };
        answer.unwrap_or_else(Refusal::response)
    }

    async fn device(&self) -> Result<Box<Device>, Refusal> {
        self.ask(Query::Device).await
    }

    async fn ask<T>(&self, query: impl FnOnce(oneshot::Sender<T>) -> Query) -> Result<T, Refusal> {
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.queries.send(query(answer)).await.map_err(|_loop_is_over| ending())?;
            answered.await.map_err(|_loop_is_over| ending())
        };
        timeout(PATIENCE, asked).await.map_err(|_elapsed| busy())?
    }

    async fn drain(&self) -> Result<Response<Body>, Refusal> {
        let (answer, answered) = oneshot::channel();
        match timeout(PATIENCE, self.queries.send(Query::Drain(answer))).await {
            Ok(Ok(())) => {}
            Ok(Err(_loop_is_over)) => return Err(ending()),
            Err(_elapsed) => return Err(busy()),
        }
        // As long as the slowest instance is given to stop.
        answered.await.map_err(|_loop_is_over| ending())?;
        Ok(json(StatusCode::OK, &document!({ "drained": true })))
    }

    fn events(&self, since: u64, follow: bool) -> Response<Body> {
        let (feed, response) = feed();
        tokio::spawn(tell_events(self.events.clone(), since, follow, feed));
        response
    }

    async fn logs(&self, name: &Name, reading: Reading) -> Result<Response<Body>, Refusal> {
        let reader = self.readers.clone().try_acquire_owned().map_err(|_all_taken| {
            let hint = "end one that follows a log, and ask again";
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, format!("{READERS} logs are being read already"), hint)
        })?;
        let instances = self.instances(name).await?;
        let logs = Logs::open(&self.logs, name, &instances, &reading).map_err(|error| unreadable(name, &error))?;
        let (feed, response) = feed();
        tokio::spawn(async move {
            logs.tell(reading, feed).await;
            drop(reader);
        });
        Ok(response)
    }

    /// Those that have a log; the loop is asked only where there is none, so that logs can be read while it is stuck.
    async fn instances(&self, name: &Name) -> Result<Vec<InstanceId>, Refusal> {
        let logged = logs::list(&self.logs).map_err(|error| unreadable(name, &error))?;
        let instances = logs::select(name, logged);
        if !instances.is_empty() {
            return Ok(instances);
        }
        let device = self.device().await?;
        let instances = logs::select(name, device.instances.iter().filter_map(|instance| instance.id.parse().ok()));
        if instances.is_empty() && !device.services.contains_key(&name.text) {
            return Err(not_here(name));
        }
        Ok(instances)
    }
}

fn ok() -> Response<Body> {
    text(StatusCode::OK, "text/plain; charset=utf-8", "ok\n")
}

fn ready(blocked: Option<String>) -> Result<Response<Body>, Refusal> {
    match blocked {
        None => Ok(ok()),
        Some(reason) => {
            let hint = "what runs goes on; nothing is started or changed until this is over";
            Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, reason, hint))
        }
    }
}

fn asked(is_followed: bool) -> Result<Response<Body>, Refusal> {
    if is_followed {
        return Ok(json(StatusCode::OK, &document!({ "asked": true })));
    }
    Err(Refusal::new(StatusCode::CONFLICT, "no fleet is followed", "set `fleet.url` in skiffd.toml and restart skiffd"))
}

/// An instance, or all of a service.
fn instance(device: &Device, name: &Name) -> Result<Response<Body>, Refusal> {
    if let Some(instance) = device.instances.iter().find(|instance| instance.id == name.text) {
        return Ok(json(StatusCode::OK, instance));
    }
    let all: Vec<_> = device.instances.iter().filter(|instance| instance.service == name.text).collect();
    if all.is_empty() && !device.services.contains_key(&name.text) {
        return Err(not_here(name));
    }
    Ok(json(StatusCode::OK, &all))
}

async fn tell_events(events: Ring, since: u64, follow: bool, mut feed: Feed) -> Result<(), Gone> {
    let mut newest = events.subscribe();
    let mut last = since;
    loop {
        // What comes after this mark wakes the wait below, whether or not it is among those told now.
        newest.mark_unchanged();
        for event in events.since(last) {
            feed.line(&event).await?;
            last = event.seq;
        }
        feed.flush().await?;
        if !follow {
            return Ok(());
        }
        tokio::select! {
            // The ring is held here, so it cannot end.
            _changed = newest.changed() => {}
            () = feed.gone() => return Err(Gone),
        }
    }
}

fn not_here(name: &Name) -> Refusal {
    let error = format!("no instance and no service is called `{}`", name.text);
    Refusal::new(StatusCode::NOT_FOUND, error, "`skiffctl ps --all` lists all that there are")
}

fn busy() -> Refusal {
    let hint = "ask again; if it stays so, look into its log and restart it: containers go on meanwhile";
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "skiffd is busy", hint)
}

fn ending() -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "skiffd is ending", "ask again when it is started: containers go on")
}

fn unreadable(name: &Name, error: &std::io::Error) -> Refusal {
    let error = format!("the log of `{}` cannot be read: {error}", name.text);
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error, "look at the folder `paths.logs` of skiffd.toml")
}
