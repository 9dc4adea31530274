//! What is told to the caller without being asked: an ordered queue that never makes a task call wait, and one sender
//! that tries again until the caller is back. What does not fit while the caller is away is dropped from the old end,
//! counted, and said.

mod message;
mod queue;

pub(crate) use message::{Event, timestamp};

use containerd_shim_protos::api::ForwardRequest;
use containerd_shim_protos::shim::event::Envelope;
use containerd_shim_protos::shim_async::EventsClient;
use queue::{Queue, Queued};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::net::UnixStream;
use tokio::sync::Notify;
use ttrpc::r#async::Client;
use ttrpc::r#async::transport::Socket;
use ttrpc::context;

/// How long one delivery may take; containerd answers in milliseconds.
const DELIVERY: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The queue, and where it goes.
#[derive(Debug)]
pub(crate) struct Events {
    containerd_namespace: String,
    /// Nobody wants events when this is empty.
    address: Option<String>,
    queue: Mutex<Queue>,
    pushed: Notify,
    delivered: Notify,
}

impl Events {
    /// A queue for the caller at `address`, as containerd puts it into `TTRPC_ADDRESS`.
    pub(crate) fn new(containerd_namespace: &str, address: Option<&str>) -> Self {
        let address = address.filter(|address| !address.is_empty()).map(|address| match address.contains("://") {
            true => address.to_owned(),
            false => format!("unix://{address}"),
        });
        Self {
            containerd_namespace: containerd_namespace.to_owned(),
            address,
            queue: Mutex::default(),
            pushed: Notify::new(),
            delivered: Notify::new(),
        }
    }

    fn queue<T>(&self, with: impl FnOnce(&mut Queue) -> T) -> T {
        with(&mut self.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts an event at the end of the queue.
    pub(crate) fn publish(&self, event: &Event) {
        if self.address.is_none() {
            return;
        }
        let queued = Queued { event: event.to_any(), topic: event.topic(), at: SystemTime::now() };
        self.queue(|queue| queue.push(queued));
        self.pushed.notify_one();
    }

    /// Delivers for ever.
    pub(crate) fn begin(self: &Arc<Self>) {
        if let Some(address) = self.address.clone() {
            let events = Arc::clone(self);
            tokio::spawn(async move { events.deliver(&address).await });
        }
    }

    /// Waits until everything is delivered, for `limit` at most.
    pub(crate) async fn flush(&self, limit: Duration) {
        let empty = async {
            while self.address.is_some() && !self.queue(|queue| queue.is_empty()) {
                self.delivered.notified().await;
            }
        };
        let _the_caller_is_away_otherwise = tokio::time::timeout(limit, empty).await;
    }

    async fn deliver(&self, address: &str) {
        let mut client = None;
        let mut pause = FIRST_PAUSE;
        loop {
            let Some(next) = self.queue(|queue| queue.front().cloned()) else {
                self.pushed.notified().await;
                continue;
            };
            match self.send(&mut client, address, &next).await {
                Ok(()) => {
                    pause = FIRST_PAUSE;
                    let lost = self.queue(|queue| queue.pop(&next));
                    if lost > 0 {
                        tracing::warn!(lost, "events were lost while nobody took them");
                    }
                    self.delivered.notify_waiters();
                }
                Err(error) => {
                    tracing::debug!(%error, topic = next.topic, "event is not taken yet");
                    client = None;
                    tokio::time::sleep(pause).await;
                    pause = LONGEST_PAUSE.min(pause * 2);
                }
            }
        }
    }

    async fn send(&self, client: &mut Option<EventsClient>, address: &str, next: &Queued) -> ttrpc::Result<()> {
        let connected = match client {
            Some(client) => client,
            None => client.insert(EventsClient::new(connect(address).await?)),
        };
        let mut envelope = Envelope::new();
        envelope.set_timestamp(timestamp(next.at));
        envelope.set_namespace(self.containerd_namespace.clone());
        envelope.set_topic(next.topic.to_owned());
        envelope.set_event(next.event.clone());
        let mut request = ForwardRequest::new();
        request.set_envelope(envelope);
        let limit = i64::try_from(DELIVERY.as_nanos()).expect("seconds fit");
        match connected.forward(context::with_timeout(limit), &request).await {
            Err(ttrpc::Error::RpcStatus(status)) if status.code() != ttrpc::Code::DEADLINE_EXCEEDED => {
                // The caller is there and does not want this one; the others must not wait behind it.
                tracing::warn!(topic = next.topic, message = status.message(), "event is refused");
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Connects without ever blocking the one thread, which ttrpc's own connecting may when a caller's queue is full.
async fn connect(address: &str) -> ttrpc::Result<Client> {
    let failed = |error: std::io::Error| ttrpc::Error::Socket(error.to_string());
    let path = address.strip_prefix("unix://").unwrap_or(address);
    let stream = UnixStream::connect(path).await.map_err(failed)?;
    Ok(Client::new(Socket::from(stream)))
}
