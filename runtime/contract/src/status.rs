//! What a container is doing, in the words of the OCI runtime specification (runtime.md, "State").

use serde::{Deserialize, Serialize};
use std::fmt;

/// The status of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Being made; its program cannot be started yet.
    Creating,
    /// Made; its program has not been started.
    Created,
    /// Its program has been started and has not ended.
    Running,
    /// Running, with its cgroup frozen (runc's word; the specification allows additional ones).
    Paused,
    /// Its program has ended.
    Stopped,
}

impl Status {
    /// The word of the specification.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_json_agree() {
        for status in [Status::Creating, Status::Created, Status::Running, Status::Paused, Status::Stopped] {
            assert_eq!(serde_json::to_value(status).unwrap(), serde_json::Value::from(status.as_str()));
        }
        assert_eq!(format!("{:<9}|", Status::Paused), "paused   |");
    }
}
