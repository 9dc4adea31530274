//! containerd's task events: their topics, their types, their bytes.

use crate::exits::Exit;
use crate::stdio::Wanted;
use containerd_shim_protos::api::Mount;
use containerd_shim_protos::events::task as wire;
use protobuf::Message;
use protobuf::well_known_types::any::Any;
use protobuf::well_known_types::timestamp::Timestamp;
use std::time::{SystemTime, UNIX_EPOCH};

/// What happened to a task.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Create { id: String, bundle: String, rootfs: Vec<Mount>, io: Wanted, pid: u32 },
    Start { id: String, pid: u32 },
    Exit { id: String, process: String, pid: u32, exit: Exit },
    Delete { id: String, pid: u32, exit: Exit },
    Oom { id: String },
    ExecAdded { id: String, exec_id: String },
    ExecStarted { id: String, exec_id: String, pid: u32 },
    Paused { id: String },
    Resumed { id: String },
}

/// A time as protobuf has it.
pub(crate) fn timestamp(at: SystemTime) -> Timestamp {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    Timestamp { seconds, nanos: i32::try_from(since.subsec_nanos()).unwrap_or(0), ..Timestamp::default() }
}

impl Event {
    /// containerd's topic.
    pub(crate) fn topic(&self) -> &'static str {
        match self {
            Self::Create { .. } => "/tasks/create",
            Self::Start { .. } => "/tasks/start",
            Self::Exit { .. } => "/tasks/exit",
            Self::Delete { .. } => "/tasks/delete",
            Self::Oom { .. } => "/tasks/oom",
            Self::ExecAdded { .. } => "/tasks/exec-added",
            Self::ExecStarted { .. } => "/tasks/exec-started",
            Self::Paused { .. } => "/tasks/paused",
            Self::Resumed { .. } => "/tasks/resumed",
        }
    }

    /// The message, with the name of its type.
    pub(crate) fn to_any(&self) -> Any {
        match self.clone() {
            Self::Create { id, bundle, rootfs, io, pid } => any("TaskCreate", &{
                let mut message = wire::TaskCreate::new();
                let mut streams = wire::TaskIO::new();
                (streams.stdin, streams.stdout, streams.stderr) = (io.stdin, io.stdout, io.stderr);
                streams.terminal = io.terminal;
                message.set_io(streams);
                (message.container_id, message.bundle, message.rootfs, message.pid) = (id, bundle, rootfs, pid);
                message
            }),
            Self::Start { id, pid } => {
                any("TaskStart", &wire::TaskStart { container_id: id, pid, ..Default::default() })
            }
            Self::Exit { id, process, pid, exit } => any("TaskExit", &{
                let mut message = wire::TaskExit::new();
                (message.container_id, message.id, message.pid) = (id, process, pid);
                message.exit_status = exit.status;
                message.set_exited_at(timestamp(exit.at));
                message
            }),
            Self::Delete { id, pid, exit } => any("TaskDelete", &{
                let mut message = wire::TaskDelete::new();
                (message.container_id, message.pid, message.exit_status) = (id, pid, exit.status);
                message.set_exited_at(timestamp(exit.at));
                message
            }),
            Self::Oom { id } => any("TaskOOM", &wire::TaskOOM { container_id: id, ..Default::default() }),
            Self::ExecAdded { id, exec_id } => {
                any("TaskExecAdded", &wire::TaskExecAdded { container_id: id, exec_id, ..Default::default() })
            }
            Self::ExecStarted { id, exec_id, pid } => {
                any("TaskExecStarted", &wire::TaskExecStarted { container_id: id, exec_id, pid, ..Default::default() })
            }
            Self::Paused { id } => any("TaskPaused", &wire::TaskPaused { container_id: id, ..Default::default() }),
            Self::Resumed { id } => any("TaskResumed", &wire::TaskResumed { container_id: id, ..Default::default() }),
        }
    }
}

fn any(name: &str, message: &impl Message) -> Any {
    let value = message.write_to_bytes().expect("a message in memory is written to memory");
    Any { type_url: format!("containerd.events.{name}"), value, ..Any::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protobuf::MessageFull;

    #[test]
    fn types_have_the_names_of_their_messages() {
        let exit = Exit { status: 3, at: UNIX_EPOCH };
        let id = || "web".to_owned();
        let events = [
            (
                Event::Create { id: id(), bundle: id(), rootfs: Vec::new(), io: Wanted::default(), pid: 1 },
                wire::TaskCreate::descriptor(),
            ),
            (Event::Start { id: id(), pid: 1 }, wire::TaskStart::descriptor()),
            (Event::Exit { id: id(), process: id(), pid: 1, exit }, wire::TaskExit::descriptor()),
            (Event::Delete { id: id(), pid: 1, exit }, wire::TaskDelete::descriptor()),
            (Event::Oom { id: id() }, wire::TaskOOM::descriptor()),
            (Event::ExecAdded { id: id(), exec_id: id() }, wire::TaskExecAdded::descriptor()),
            (Event::ExecStarted { id: id(), exec_id: id(), pid: 1 }, wire::TaskExecStarted::descriptor()),
            (Event::Paused { id: id() }, wire::TaskPaused::descriptor()),
            (Event::Resumed { id: id() }, wire::TaskResumed::descriptor()),
        ];
        for (event, descriptor) in events {
            let any = event.to_any();
            assert_eq!(any.type_url, descriptor.full_name());
            let parsed = descriptor.parse_from_bytes(&any.value).unwrap();
            let field = descriptor.field_by_name("container_id").unwrap();
            assert_eq!(field.get_singular_field_or_default(&*parsed).to_str(), Some("web"));
        }
    }

    #[test]
    fn times() {
        for seconds in [7, 4_102_444_800] {
            let at = UNIX_EPOCH + std::time::Duration::new(seconds, 9);
            assert_eq!((timestamp(at).seconds.unsigned_abs(), timestamp(at).nanos), (seconds, 9));
        }
    }
}
