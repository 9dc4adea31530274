//! The far end of the events: what a caller would serve at `TTRPC_ADDRESS`.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use containerd_shim_protos::api::ForwardRequest;
use containerd_shim_protos::events::task as wire;
use containerd_shim_protos::shim_async::{Events, create_events};
use protobuf::Message;
use skiff_integration_tests::command::patience;
use ttrpc::r#async::{Server, TtrpcContext};

/// One event, in the words that tests compare: `start web`, `exit web/web 0`.
pub(crate) type Told = String;

#[derive(Clone, Default)]
pub(crate) struct Listener {
    told: Arc<Mutex<Vec<Told>>>,
    refused: Arc<Mutex<Option<&'static str>>>,
}

#[async_trait]
impl Events for Listener {
    async fn forward(
        &self,
        _: &TtrpcContext,
        request: ForwardRequest,
    ) -> ttrpc::Result<containerd_shim_protos::api::Empty> {
        let envelope = request.envelope.unwrap();
        assert_eq!(envelope.namespace, super::harness::NAMESPACE);
        assert!(envelope.timestamp.seconds > 1_600_000_000);
        if *self.refused.lock().unwrap() == Some(envelope.topic.as_str()) {
            return Err(ttrpc::Error::RpcStatus(ttrpc::get_status(ttrpc::Code::INVALID_ARGUMENT, "not this one")));
        }
        let event = envelope.event.unwrap();
        self.told.lock().unwrap().push(words(&envelope.topic, &event.type_url, &event.value));
        Ok(containerd_shim_protos::api::Empty::new())
    }
}

fn words(topic: &str, type_url: &str, value: &[u8]) -> Told {
    match (topic, type_url.strip_prefix("containerd.events.").unwrap()) {
        ("/tasks/create", "TaskCreate") => {
            let event = wire::TaskCreate::parse_from_bytes(value).unwrap();
            assert!(event.pid > 0 && event.bundle.starts_with('/'));
            format!("create {}", event.container_id)
        }
        ("/tasks/start", "TaskStart") => {
            format!("start {}", wire::TaskStart::parse_from_bytes(value).unwrap().container_id)
        }
        ("/tasks/exit", "TaskExit") => {
            let event = wire::TaskExit::parse_from_bytes(value).unwrap();
            assert!(event.pid > 0 && event.exited_at.seconds > 1_600_000_000);
            format!("exit {}/{} {}", event.container_id, event.id, event.exit_status)
        }
        ("/tasks/delete", "TaskDelete") => {
            let event = wire::TaskDelete::parse_from_bytes(value).unwrap();
            format!("delete {} {}", event.container_id, event.exit_status)
        }
        ("/tasks/oom", "TaskOOM") => {
            format!("oom {}", wire::TaskOOM::parse_from_bytes(value).unwrap().container_id)
        }
        ("/tasks/exec-added", "TaskExecAdded") => {
            let event = wire::TaskExecAdded::parse_from_bytes(value).unwrap();
            format!("exec-added {}/{}", event.container_id, event.exec_id)
        }
        ("/tasks/exec-started", "TaskExecStarted") => {
            let event = wire::TaskExecStarted::parse_from_bytes(value).unwrap();
            assert!(event.pid > 0);
            format!("exec-started {}/{}", event.container_id, event.exec_id)
        }
        ("/tasks/paused", "TaskPaused") => {
            format!("paused {}", wire::TaskPaused::parse_from_bytes(value).unwrap().container_id)
        }
        ("/tasks/resumed", "TaskResumed") => {
            format!("resumed {}", wire::TaskResumed::parse_from_bytes(value).unwrap().container_id)
        }
        other => panic!("{other:?} is no event of a task"),
    }
}

impl Listener {
    /// Serves at `path`; dropping the server is the caller going away.
    pub(crate) async fn serve(&self, path: &Path) -> Server {
        let _absent = std::fs::remove_file(path);
        let mut server = Server::new()
            .bind(&format!("unix://{}", path.display()))
            .unwrap()
            .register_service(create_events(Arc::new(self.clone())));
        server.start().await.unwrap();
        server
    }

    /// Takes no event of this topic from now on.
    pub(crate) fn refuse(&self, topic: &'static str) {
        *self.refused.lock().unwrap() = Some(topic);
    }

    /// What has been told so far.
    pub(crate) fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }

    /// Waits until `last` has been told, and gives everything.
    pub(crate) async fn until(&self, last: &str) -> Vec<Told> {
        let waited = async {
            loop {
                let told = self.told();
                if told.iter().any(|told| told == last) {
                    return told;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let result = tokio::time::timeout(patience(), waited).await;
        result.unwrap_or_else(|_| panic!("`{last}` was never told: {:#?}", self.told()))
    }
}
