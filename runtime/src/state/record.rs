//! The record of one container: everything that a later command needs and cannot find out by looking.

use super::Identity;
use crate::cgroup::Location;
use crate::namespaces::Kind;
use crate::seccomp::Listener;
use crate::systemd::Unit;
use oci_spec::runtime::{Hook, LinuxMemoryPolicy, LinuxPersonality, Process};
use serde::{Deserialize, Serialize};
use skiff_contract::document::StateDocument;
use skiff_contract::status::Status;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// How far the maker got. Whether the program still runs is not written down but looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Written before anything is made, so that whatever is left by a killed maker can be found and removed.
    Creating,
    /// Everything was made.
    Made,
}

/// What a further process of the container needs to know (`exec`). Kept because the bundle may have changed or gone by
/// then, and because a process must end up in the namespaces that the container was made with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interior {
    /// The kinds of namespace that the container does not share with the runtime.
    pub namespaces: Vec<Kind>,
    /// `process`: what a process that is given by its command alone is like.
    pub process: Process,
    /// `linux.personality`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub personality: Option<LinuxPersonality>,
    /// `linux.memoryPolicy`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_policy: Option<LinuxMemoryPolicy>,
    /// Whether the container has a session keyring of its own.
    pub keyring: bool,
    /// Whether a system call filter is kept beside this record.
    #[serde(default)]
    pub seccomp: bool,
    /// Who decides about calls that the filter leaves open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<Listener>,
}

/// One container, as written to `state.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// `ociVersion` of the configuration.
    pub oci_version: String,
    /// The container's id.
    pub id: String,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// Absolute path of the root file system.
    pub rootfs: PathBuf,
    /// RFC 3339.
    pub created: String,
    /// The user id of whoever ran `create`.
    pub owner: u32,
    /// Annotations of the configuration.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The boot in which it was made (`/proc/sys/kernel/random/boot_id`): after another one, its cgroups are somebody
    /// else's.
    pub boot_id: String,
    /// How far the maker got.
    pub phase: Phase,
    /// The first process of the container, once there is one.
    pub init: Option<Identity>,
    /// Where the container's cgroups are, for `kill` and `delete`; nowhere with `--cgroup-manager=disabled`.
    pub cgroup: Location,
    /// The unit of systemd that has made them, with `--systemd-cgroup`. Absent in older records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
    /// For `exec`. Absent in records of a version that had no `exec`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interior: Option<Interior>,
    /// Run by `start`. Kept here because the bundle may have changed or gone by then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub poststart: Vec<Hook>,
    /// Run by `delete`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub poststop: Vec<Hook>,
}

/// What was seen of the container from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Its first process runs.
    pub alive: bool,
    /// The socket on which it waits for `start` is there.
    pub waiting: bool,
    /// Its cgroup is frozen.
    pub frozen: bool,
}

impl Record {
    /// What the container is doing, from the record and a look at the world.
    #[must_use]
    pub fn status(&self, observed: Observed) -> Status {
        match (self.phase, observed) {
            (Phase::Made, Observed { alive: false, .. }) => Status::Stopped,
            (Phase::Creating, _) => Status::Creating,
            // Before `created`, as in runc: a frozen container cannot be started, only resumed.
            (Phase::Made, Observed { frozen: true, .. }) => Status::Paused,
            (Phase::Made, Observed { waiting: true, .. }) => Status::Created,
            (Phase::Made, _) => Status::Running,
        }
    }

    /// The state document.
    #[must_use]
    pub fn document(&self, status: Status) -> StateDocument {
        let pid = if status == Status::Stopped { 0 } else { self.init.as_ref().map_or(0, |init| init.pid) };
        StateDocument {
            oci_version: self.oci_version.clone(),
            id: self.id.clone(),
            pid,
            status,
            bundle: self.bundle.clone(),
            rootfs: self.rootfs.clone(),
            created: self.created.clone(),
            annotations: self.annotations.clone(),
            owner: self.owner.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(phase: Phase) -> Record {
        Record {
            oci_version: "1.0.2".into(),
            id: "a".into(),
            bundle: "/b".into(),
            rootfs: "/b/r".into(),
            created: String::new(),
            owner: 0,
            annotations: BTreeMap::new(),
            boot_id: "x".into(),
            phase,
            init: Some(Identity { pid: 5, start_time: 1, boot_id: "x".into() }),
            cgroup: Location::default(),
            unit: None,
            interior: None,
            poststart: Vec::new(),
            poststop: Vec::new(),
        }
    }

    #[test]
    fn status_follows_from_what_is_seen() {
        let seen = |alive, waiting, frozen| Observed { alive, waiting, frozen };
        let made = record(Phase::Made);
        assert_eq!(made.status(seen(true, true, false)), Status::Created);
        assert_eq!(made.status(seen(true, false, false)), Status::Running);
        assert_eq!(made.status(seen(true, false, true)), Status::Paused);
        assert_eq!(made.status(seen(true, true, true)), Status::Paused);
        assert_eq!(made.status(seen(false, true, true)), Status::Stopped);
        assert_eq!(record(Phase::Creating).status(seen(false, false, false)), Status::Creating);
    }

    #[test]
    fn a_stopped_container_has_no_pid() {
        let made = record(Phase::Made);
        assert_eq!(made.document(Status::Running).pid, 5);
        assert_eq!(made.document(Status::Stopped).pid, 0);
    }

    #[test]
    fn a_record_survives_the_file() {
        let text = serde_json::to_vec(&record(Phase::Creating)).unwrap();
        let read: Record = serde_json::from_slice(&text).unwrap();
        assert_eq!((read.phase, read.init.unwrap().pid), (Phase::Creating, 5));
    }
}
