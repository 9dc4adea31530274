//! The task API of a containerd shim, as its client. The service's name is an argument, so that shims of either version
//! are driven; the messages are the same. A time limit holds on this side alone: what a call began the shim finishes.

use containerd_shim_protos::api::{
    ConnectRequest, ConnectResponse, CreateTaskRequest, CreateTaskResponse, DeleteRequest, DeleteResponse, Empty,
    ExecProcessRequest, KillRequest, ShutdownRequest, StartRequest, StartResponse, StateRequest, StateResponse,
    StatsRequest, StatsResponse, UpdateTaskRequest, WaitRequest, WaitResponse,
};
use protobuf::Message;
use protobuf::well_known_types::any::Any;
use std::time::Duration;
use tokio::net::UnixStream;
use ttrpc::r#async::Client;
use ttrpc::r#async::transport::Socket;
use ttrpc::{Code, Request};

/// How the shim names its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// Before containerd 2.0; every shim that answers its start with a plain address.
    Two,
    /// Since.
    Three,
}

impl Version {
    const fn service(self) -> &'static str {
        match self {
            Self::Two => "containerd.task.v2.Task",
            Self::Three => "containerd.task.v3.Task",
        }
    }
}

/// Why a call of a shim did not come about.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// It has nothing of that id.
    #[error("the shim knows nothing of it ({method}): {said}")]
    NotFound {
        /// The call.
        method: &'static str,
        /// In the shim's words.
        said: String,
    },
    /// It has one of that id.
    #[error("the shim has one already ({method}): {said}")]
    Exists {
        /// The call.
        method: &'static str,
        /// In the shim's words.
        said: String,
    },
    /// It refused, or failed to do it.
    #[error("{said} ({method})")]
    Refused {
        /// The call.
        method: &'static str,
        /// In the shim's words, and the runtime's.
        said: String,
    },
    /// The connection ended.
    #[error("the shim hung up ({method})")]
    HungUp {
        /// The call.
        method: &'static str,
    },
    /// No answer in time.
    #[error("the shim did not answer within {} ms ({method})", limit.as_millis())]
    Late {
        /// The call.
        method: &'static str,
        /// How long it was waited for.
        limit: Duration,
    },
}

/// A connection to one shim. Clones share it.
#[derive(Clone)]
pub(super) struct Task {
    client: Client,
    version: Version,
}

impl std::fmt::Debug for Task {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Task").field("version", &self.version).finish_non_exhaustive()
    }
}

/// Time limits. A runtime on a slow card may need its time to make a container; a question is answered from memory.
const QUESTION: Duration = Duration::from_secs(1);
const SHORT: Duration = Duration::from_secs(10);
const LONG: Duration = Duration::from_secs(120);

/// What a container is made with.
pub(super) struct Create<'a> {
    pub(super) id: &'a str,
    pub(super) bundle: &'a str,
    pub(super) output: &'a str,
    pub(super) options: Any,
}

impl Task {
    pub(super) fn new(stream: UnixStream, version: Version) -> Self {
        Self { client: Client::new(Socket::from(stream)), version }
    }

    /// Asks for the process id of the shim.
    pub(super) async fn connect(&self, id: &str) -> Result<ConnectResponse, CallError> {
        self.call("Connect", &ConnectRequest { id: id.into(), ..Default::default() }, Some(QUESTION)).await
    }

    pub(super) async fn state(&self, id: &str, limit: Duration) -> Result<StateResponse, CallError> {
        self.call("State", &StateRequest { id: id.into(), ..Default::default() }, Some(limit)).await
    }

    pub(super) async fn create(&self, create: Create<'_>) -> Result<CreateTaskResponse, CallError> {
        let request = CreateTaskRequest {
            id: create.id.into(),
            bundle: create.bundle.into(),
            stdout: create.output.into(),
            stderr: create.output.into(),
            options: Some(create.options).into(),
            ..Default::default()
        };
        self.call("Create", &request, Some(LONG)).await
    }

    /// Starts a container, or one of its execs.
    pub(super) async fn start(&self, id: &str, exec: &str) -> Result<StartResponse, CallError> {
        let request = StartRequest { id: id.into(), exec_id: exec.into(), ..Default::default() };
        self.call("Start", &request, Some(LONG)).await
    }

    pub(super) async fn kill(&self, id: &str, exec: &str, signal: u32) -> Result<(), CallError> {
        let request = KillRequest { id: id.into(), exec_id: exec.into(), signal, ..Default::default() };
        self.call::<_, Empty>("Kill", &request, Some(SHORT)).await.map(drop)
    }

    /// Waits for the end, as long as it takes.
    pub(super) async fn wait(&self, id: &str, exec: &str) -> Result<WaitResponse, CallError> {
        self.call("Wait", &WaitRequest { id: id.into(), exec_id: exec.into(), ..Default::default() }, None).await
    }

    pub(super) async fn delete(&self, id: &str, exec: &str) -> Result<DeleteResponse, CallError> {
        let request = DeleteRequest { id: id.into(), exec_id: exec.into(), ..Default::default() };
        self.call("Delete", &request, Some(LONG)).await
    }

    /// Prepares a process in a container, with no input and no output.
    pub(super) async fn exec(&self, id: &str, exec: &str, process: &serde_json::Value) -> Result<(), CallError> {
        let spec = json("types.containerd.io/opencontainers/runtime-spec/1/Process", process);
        let request =
            ExecProcessRequest { id: id.into(), exec_id: exec.into(), spec: Some(spec).into(), ..Default::default() };
        self.call::<_, Empty>("Exec", &request, Some(SHORT)).await.map(drop)
    }

    pub(super) async fn update(&self, id: &str, resources: &serde_json::Value) -> Result<(), CallError> {
        let resources = json("types.containerd.io/opencontainers/runtime-spec/1/LinuxResources", resources);
        let request = UpdateTaskRequest { id: id.into(), resources: Some(resources).into(), ..Default::default() };
        self.call::<_, Empty>("Update", &request, Some(SHORT)).await.map(drop)
    }

    pub(super) async fn stats(&self, id: &str) -> Result<StatsResponse, CallError> {
        self.call("Stats", &StatsRequest { id: id.into(), ..Default::default() }, Some(SHORT)).await
    }

    /// Asks the shim to end; one that has containers goes on.
    pub(super) async fn shutdown(&self, id: &str) -> Result<(), CallError> {
        let request = ShutdownRequest { id: id.into(), ..Default::default() };
        self.call::<_, Empty>("Shutdown", &request, Some(SHORT)).await.map(drop)
    }

    async fn call<Q: Message, A: Message>(
        &self,
        method: &'static str,
        question: &Q,
        limit: Option<Duration>,
    ) -> Result<A, CallError> {
        let refused = |said: String| CallError::Refused { method, said };
        let request = Request {
            service: self.version.service().into(),
            method: method.into(),
            payload: question.write_to_bytes().map_err(|error| refused(error.to_string()))?,
            ..Default::default()
        };
        let answer = self.client.request(request);
        let answer = match limit {
            Some(limit) => {
                tokio::time::timeout(limit, answer).await.map_err(|_elapsed| CallError::Late { method, limit })?
            }
            None => answer.await,
        };
        let answer = answer.map_err(|error| named(method, error))?;
        A::parse_from_bytes(&answer.payload).map_err(|error| refused(error.to_string()))
    }
}

/// What a ttrpc error means here.
fn named(method: &'static str, error: ttrpc::Error) -> CallError {
    let ttrpc::Error::RpcStatus(status) = error else { return CallError::HungUp { method } };
    let said = status.message.clone();
    match status.code.enum_value() {
        Ok(Code::NOT_FOUND) => CallError::NotFound { method, said },
        Ok(Code::ALREADY_EXISTS) => CallError::Exists { method, said },
        Ok(_) | Err(_) => CallError::Refused { method, said },
    }
}

fn json(type_url: &str, value: &serde_json::Value) -> Any {
    Any { type_url: type_url.into(), value: value.to_string().into_bytes(), ..Default::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_apart_by_their_code() {
        let status = |code| ttrpc::Error::RpcStatus(ttrpc::get_status(code, "said"));
        assert!(matches!(named("Kill", status(Code::NOT_FOUND)), CallError::NotFound { said, .. } if said == "said"));
        assert!(matches!(named("Create", status(Code::ALREADY_EXISTS)), CallError::Exists { .. }));
        assert!(matches!(named("Delete", status(Code::FAILED_PRECONDITION)), CallError::Refused { .. }));
        assert!(matches!(named("Delete", status(Code::UNKNOWN)), CallError::Refused { .. }));
        for error in [ttrpc::Error::RemoteClosed, ttrpc::Error::Socket("eof".into()), ttrpc::Error::LocalClosed] {
            assert!(matches!(named("Wait", error), CallError::HungUp { method: "Wait" }));
        }
    }
}
