//! Events that shims send. They come early and may be missing: whatever counts is asked for. What is used of them is the
//! kill at the memory limit, which can happen while a program goes on.

use super::Seen;
use super::error::Error;
use super::shim::CONTAINERD_NAMESPACE;
use containerd_shim_protos::api::{Empty, ForwardRequest};
use containerd_shim_protos::events::task::TaskOOM;
use containerd_shim_protos::shim_async::{Events, create_events};
use protobuf::Message;
use skiff_planner::name::InstanceId;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::mpsc;
use ttrpc::r#async::{Server, TtrpcContext};

struct Hints {
    seen: mpsc::Sender<Seen>,
}

#[async_trait::async_trait]
impl Events for Hints {
    async fn forward(&self, _context: &TtrpcContext, request: ForwardRequest) -> ttrpc::Result<Empty> {
        if let Some(instance) = killed(&request) {
            // A shim is never kept waiting: its queue is short, and a hint is no more than that.
            let _full_or_over = self.seen.try_send(Seen::OomKill { instance });
        }
        Ok(Empty::new())
    }
}

/// The instance of which a process was killed at the memory limit, if that is what the event says.
fn killed(request: &ForwardRequest) -> Option<InstanceId> {
    let envelope = request.envelope.as_ref()?;
    let event = envelope.event.as_ref()?;
    if envelope.namespace != CONTAINERD_NAMESPACE || event.type_url.rsplit('/').next()? != "containerd.events.TaskOOM" {
        return None;
    }
    TaskOOM::parse_from_bytes(&event.value).ok()?.container_id.parse().ok()
}

/// Listens on `<run>/events.sock`, as long as the server lives.
///
/// # Errors
/// [`Error::Listen`], [`Error::File`]
pub(super) async fn listen(run: &Path, seen: mpsc::Sender<Seen>) -> Result<Server, Error> {
    let path = run.join("events.sock");
    let _nothing_was_there = fs::remove_file(&path);
    let failed = |source| Error::Listen { path: path.clone(), source };
    let server = Server::new().bind(&format!("unix://{}", path.display())).map_err(failed)?;
    fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(Error::file("protect", &path))?;
    let mut server = server.register_service(create_events(Arc::new(Hints { seen })));
    server.start().await.map_err(failed)?;
    Ok(server)
}

#[cfg(test)]
mod tests {
    use super::*;
    use containerd_shim_protos::shim_async::{Client, EventsClient};
    use protobuf::well_known_types::any::Any;

    fn request(containerd_namespace: &str, type_url: &str, id: &str) -> ForwardRequest {
        let oom = TaskOOM { container_id: id.into(), ..Default::default() };
        let event = Any { type_url: type_url.into(), value: oom.write_to_bytes().unwrap(), ..Any::default() };
        let mut request = ForwardRequest::new();
        request.mut_envelope().namespace = containerd_namespace.into();
        request.mut_envelope().event = Some(event).into();
        request
    }

    #[tokio::test]
    async fn a_kill_is_heard() {
        let run = tempfile::tempdir().unwrap();
        let (to, mut seen) = mpsc::channel(4);
        let _server = listen(run.path(), to).await.unwrap();
        let path = run.path().join("events.sock");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let client = EventsClient::new(Client::connect(&format!("unix://{}", path.display())).await.unwrap());
        for other in [
            request("other", "containerd.events.TaskOOM", "web-0"),
            request("skiff", "containerd.events.TaskExit", "web-0"),
            request("skiff", "containerd.events.TaskOOM", "Not an instance"),
            ForwardRequest::new(),
            request("skiff", "containerd.events.TaskOOM", "web-1"),
        ] {
            client.forward(ttrpc::context::with_timeout(0), &other).await.unwrap();
        }
        assert_eq!(seen.recv().await, Some(Seen::OomKill { instance: "web-1".parse().unwrap() }));
        assert!(seen.try_recv().is_err(), "and nothing else");
    }
}
