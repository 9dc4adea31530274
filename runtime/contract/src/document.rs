//! The state document: what `state` prints, what hooks read on standard input, and what `list` prints rows of.

use crate::status::Status;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The version of the OCI runtime specification whose state document this is.
pub const OCI_VERSION: &str = "1.3.0";

/// The state of one container: the OCI members, then those that runc adds and its callers have come to read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StateDocument {
    /// The specification's version.
    pub oci_version: String,
    /// The container's id.
    pub id: String,
    /// The process id of the container's init in the caller's pid namespace; 0 once it is stopped, as runc has it.
    #[serde(default)]
    pub pid: i32,
    /// What the container is doing.
    pub status: Status,
    /// The absolute path of the bundle.
    pub bundle: PathBuf,
    /// The absolute path of the root file system.
    #[serde(default)]
    pub rootfs: PathBuf,
    /// When it was created, RFC 3339.
    #[serde(default)]
    pub created: String,
    /// Annotations of the configuration.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The user that owns it: a name, or a number where there is none.
    #[serde(default)]
    pub owner: String,
}

/// What goes with the descriptor of a system call filter to whoever decides about calls (config-linux.md, "The Container
/// Process State").
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerProcessState<'a> {
    /// The specification's version.
    pub oci_version: &'static str,
    /// What the descriptors are, in the order in which they come.
    pub fds: [&'static str; 1],
    /// The process under the filter, in the runtime's pid namespace.
    pub pid: i32,
    /// `linux.seccomp.listenerMetadata`
    #[serde(skip_serializing_if = "str::is_empty")]
    pub metadata: &'a str,
    /// Its container.
    pub state: &'a StateDocument,
}

impl<'a> ContainerProcessState<'a> {
    /// For process `pid`.
    #[must_use]
    pub const fn new(pid: i32, metadata: &'a str, state: &'a StateDocument) -> Self {
        Self { oci_version: OCI_VERSION, fds: ["seccompFd"], pid, metadata, state }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_the_members_that_callers_read() {
        let document = StateDocument {
            oci_version: OCI_VERSION.into(),
            id: "web".into(),
            pid: 7,
            status: Status::Running,
            bundle: "/b".into(),
            rootfs: "/b/rootfs".into(),
            created: "2026-01-01T00:00:00Z".into(),
            annotations: BTreeMap::new(),
            owner: "root".into(),
        };
        let text = serde_json::to_string(&document).unwrap();
        assert_eq!(
            text,
            r#"{"ociVersion":"1.3.0","id":"web","pid":7,"status":"running","bundle":"/b","rootfs":"/b/rootfs","created":"2026-01-01T00:00:00Z","owner":"root"}"#
        );
        assert_eq!(serde_json::from_str::<StateDocument>(&text).unwrap(), document);
    }

    #[test]
    fn reads_a_document_with_only_the_specified_members() {
        let document: StateDocument =
            serde_json::from_str(r#"{"ociVersion":"1.0.2","id":"x","status":"stopped","bundle":"/b"}"#).unwrap();
        assert_eq!((document.pid, document.status), (0, Status::Stopped));
    }
}
