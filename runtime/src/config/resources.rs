//! Reads the document of `update --resources`: `linux.resources` alone, with the limits on size that every document has.
//! An unknown member is refused, unlike in `config.json`, where the specification wants it ignored: whoever updates one
//! limit and mistypes it would be told that all is well.

use super::LARGEST_CONFIG;
use super::locate::member_at;
use oci_spec::runtime::LinuxResources;
use serde_json::Value;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Why the document cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ResourcesError {
    /// It cannot be opened or read.
    #[error("the resources in `{path}` cannot be read (--resources)")]
    Read {
        /// The file; `-` for standard input.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// More than [`LARGEST_CONFIG`].
    #[error("the resources in `{path}` are larger than {LARGEST_CONFIG} bytes (--resources)")]
    TooLarge {
        /// The file; `-` for standard input.
        path: PathBuf,
    },
    /// Not JSON, or not of the specification's types; the source names line and column.
    #[error("`{path}` is not a valid `linux.resources`{} (--resources)", super::at(member))]
    Invalid {
        /// The file; `-` for standard input.
        path: PathBuf,
        /// The member in which the parser stopped.
        member: String,
        /// What the parser said, with line and column.
        #[source]
        source: serde_json::Error,
    },
    /// A member that the specification does not have.
    #[error("`{member}` in `{path}` is not a member of `linux.resources` (--resources)")]
    Unknown {
        /// The file; `-` for standard input.
        path: PathBuf,
        /// Its path in the document.
        member: String,
    },
}

/// Reads a file, or standard input, and checks it.
///
/// # Errors
/// See [`ResourcesError`].
pub fn read_resources(path: Option<&Path>) -> Result<LinuxResources, ResourcesError> {
    let name = || path.unwrap_or(Path::new("-")).to_owned();
    let text = match path {
        Some(path) => File::open(path).and_then(read),
        None => read(io::stdin().lock()),
    };
    let text = text.map_err(|source| ResourcesError::Read { path: name(), source })?;
    if text.len() as u64 > LARGEST_CONFIG {
        return Err(ResourcesError::TooLarge { path: name() });
    }
    let invalid = |source: serde_json::Error| {
        let member = member_at(&text, source.line(), source.column());
        ResourcesError::Invalid { path: name(), member, source }
    };
    let resources: LinuxResources = serde_json::from_slice(&text).map_err(invalid)?;
    match unknown(&text, &resources).map_err(invalid)? {
        Some(member) => Err(ResourcesError::Unknown { path: name(), member }),
        None => Ok(resources),
    }
}

/// One byte past the limit tells a document that is too large.
fn read(from: impl Read) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    from.take(LARGEST_CONFIG + 1).read_to_end(&mut text).map(|_| text)
}

/// The first member that the types of the specification have no place for: it is not there when they are written out
/// again.
fn unknown(text: &[u8], resources: &LinuxResources) -> Result<Option<String>, serde_json::Error> {
    let given: Value = serde_json::from_slice(text)?;
    Ok(lost(&given, &serde_json::to_value(resources)?))
}

fn lost(given: &Value, kept: &Value) -> Option<String> {
    match (given, kept) {
        (Value::Object(given), Value::Object(kept)) => {
            // An empty member says nothing, as in what Go programs write.
            given.iter().filter(|(_, value)| !value.is_null()).find_map(|(name, value)| match kept.get(name) {
                None => Some(name.clone()),
                Some(kept) => lost(value, kept).map(|rest| joined(name, &rest)),
            })
        }
        (Value::Array(given), Value::Array(kept)) => {
            let mut pairs = given.iter().zip(kept).enumerate();
            pairs.find_map(|(index, (given, kept))| lost(given, kept).map(|rest| joined(&format!("[{index}]"), &rest)))
        }
        _ => None,
    }
}

/// `limits` and `[0].x` are `limits[0].x`.
fn joined(name: &str, rest: &str) -> String {
    if rest.starts_with('[') { format!("{name}{rest}") } else { format!("{name}.{rest}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str) -> Option<String> {
        unknown(json.as_bytes(), &serde_json::from_str(json).unwrap()).unwrap()
    }

    #[test]
    fn every_member_of_the_specification_is_known() {
        let all = r#"{
            "devices": [{"allow": false, "type": "c", "major": 1, "minor": null, "access": "rwm"}],
            "memory": {"limit": 1, "reservation": 1, "swap": 1, "kernel": 1, "kernelTCP": 1, "swappiness": 1,
                "disableOOMKiller": true, "useHierarchy": true, "checkBeforeUpdate": true},
            "cpu": {"shares": 1, "quota": 1, "burst": 1, "period": 1, "realtimeRuntime": 1, "realtimePeriod": 1,
                "cpus": "0", "mems": "0", "idle": 1},
            "pids": {"limit": 0}, "network": {"classID": 1, "priorities": [{"name": "a", "priority": 1}]},
            "blockIO": {"weight": 10, "leafWeight": 10, "weightDevice": [{"major": 8, "minor": 0, "weight": 10,
                "leafWeight": 10}], "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1}],
                "throttleWriteBpsDevice": [], "throttleReadIOPSDevice": [], "throttleWriteIOPSDevice": []},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 1}], "unified": {"memory.high": "1"},
            "rdma": {"a": {"hcaHandles": 1, "hcaObjects": 1}}}"#;
        assert_eq!(check(all), None);
        assert_eq!(check("{}"), None);
        assert_eq!(check(r#"{"memory":null,"cpu":{"quota":null}}"#), None);
    }

    #[test]
    fn other_members_are_named() {
        let cases = [
            (r#"{"memroy":{"limit":1}}"#, "memroy"),
            (r#"{"memory":{"Limit":1}}"#, "memory.Limit"),
            (
                r#"{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1,"x":1}]}}"#,
                "blockIO.throttleReadBpsDevice[0].x",
            ),
            (r#"{"rdma":{"a":{"handles":1}}}"#, "rdma.a.handles"),
        ];
        for (json, member) in cases {
            assert_eq!(check(json).as_deref(), Some(member));
        }
    }
}
