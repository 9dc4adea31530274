//! What the tasks of one node share: settings, every instance of which something is there, and one lock per service.

use super::record::Record;
use super::task::Task;
use super::{Seen, Settings};
use skiff_planner::name::{InstanceId, ServiceName};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{OwnedMutexGuard, mpsc, watch};
use tokio::task::AbortHandle;
use ttrpc::r#async::Server;

/// One node.
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) boot_id: String,
    pub(super) seen: mpsc::Sender<Seen>,
    /// No lock of these is held while something is waited for.
    instances: Mutex<BTreeMap<InstanceId, Entry>>,
    services: Mutex<BTreeMap<ServiceName, Arc<tokio::sync::Mutex<()>>>>,
    /// Lives as long as the node, and listens as long as it lives.
    events: Mutex<Option<Server>>,
}

/// An instance of which something is there.
#[derive(Debug)]
pub(super) struct Entry {
    /// As it is on disk.
    pub(super) record: Record,
    /// There while its program runs.
    pub(super) live: Option<Live>,
}

/// What belongs to a program that runs.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) task: Task,
    /// True once its end has been told.
    pub(super) ended: watch::Receiver<bool>,
    pub(super) probes: Option<AbortHandle>,
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(probes) = &self.probes {
            probes.abort();
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Shared").field("settings", &self.settings).finish_non_exhaustive()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that is done under these locks leaves half of a change behind.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(settings: Settings, boot_id: String, seen: mpsc::Sender<Seen>) -> Self {
        Self {
            settings,
            boot_id,
            seen,
            instances: Mutex::default(),
            services: Mutex::default(),
            events: Mutex::default(),
        }
    }

    pub(super) fn keep_events(&self, server: Server) {
        *locked(&self.events) = Some(server);
    }

    /// Tells the loop; one that is over has no ears.
    pub(super) async fn tell(&self, seen: Seen) {
        let _loop_is_over = self.seen.send(seen).await;
    }

    /// The right to start and end the shim of a service: a shim must not be dismissed while a container is made in it.
    pub(super) async fn lock(&self, service: &ServiceName) -> OwnedMutexGuard<()> {
        let lock = Arc::clone(locked(&self.services).entry(service.clone()).or_default());
        lock.lock_owned().await
    }

    /// Takes an instance up, or changes what is known of it.
    pub(super) fn put(&self, record: &Record) {
        let mut instances = locked(&self.instances);
        if let Some(entry) = instances.get_mut(&record.instance) {
            entry.record = record.clone();
        } else {
            instances.insert(record.instance.clone(), Entry { record: record.clone(), live: None });
        }
    }

    pub(super) fn forget(&self, instance: &InstanceId) {
        locked(&self.instances).remove(instance);
    }

    /// Looks at one, and may change it.
    pub(super) fn with<T>(&self, instance: &InstanceId, look: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        locked(&self.instances).get_mut(instance).map(look)
    }

    /// The connection to the shim of an instance that runs.
    pub(super) fn task(&self, instance: &InstanceId) -> Option<Task> {
        self.with(instance, |entry| entry.live.as_ref().map(|live| live.task.clone())).flatten()
    }

    /// Whether nothing is there of any other instance of the same service, so that nobody else needs the shim.
    pub(super) fn is_last(&self, instance: &InstanceId) -> bool {
        !locked(&self.instances).keys().any(|other| other.service == instance.service && other != instance)
    }

    pub(super) fn has_service(&self, service: &ServiceName) -> bool {
        locked(&self.instances).keys().any(|instance| instance.service == *service)
    }
}
