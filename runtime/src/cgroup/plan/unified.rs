//! `linux.resources.unified`: raw keys of cgroup v2, each the name of a file in the container's cgroup.

use std::collections::HashMap;

use super::{Absent, Place, Sink, Write, refused};
use crate::cgroup::Error;

/// Files that move, kill or stop processes or rebuild the tree: they are the runtime's, not limits.
const NOT_LIMITS: [&str; 6] =
    ["cgroup.procs", "cgroup.threads", "cgroup.kill", "cgroup.freeze", "cgroup.type", "cgroup.subtree_control"];

/// In the order of the keys, so that the same configuration gives the same plan.
pub(super) fn plan(unified: &HashMap<String, String>, sink: &mut Sink) -> Result<(), Error> {
    let mut entries: Vec<_> = unified.iter().collect();
    entries.sort_by_key(|(key, _)| *key);
    for (key, value) in entries {
        let property = format!("linux.resources.unified.{key}");
        if sink.host.disabled {
            return Err(Error::Disabled { property });
        }
        if sink.host.v2().is_none() {
            return Err(refused(property, "this host has no cgroup v2"));
        }
        let controller = controller(key, value, &property)?;
        if controller != "cgroup" {
            if !sink.host.has_v2(&controller) {
                return Err(sink.host.lacks(&property, &controller));
            }
            sink.enable(&controller);
        }
        let write = Write {
            place: Place::V2,
            controller: controller.into(),
            tries: vec![(key.clone().into(), value.clone())],
            absent: Absent::Refuse,
            property: property.into(),
        };
        if key.starts_with("memory.") { sink.memory(write) } else { sink.write(write) }
    }
    Ok(())
}

fn controller(key: &str, value: &str, property: &str) -> Result<String, Error> {
    let well_formed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let (controller, rest) = key.split_once('.').unwrap_or(("", ""));
    if controller.is_empty() || rest.is_empty() || key.contains("..") || !key.bytes().all(well_formed) {
        return Err(refused(property, "the key is not the name of a cgroup v2 file such as `memory.high`"));
    }
    if NOT_LIMITS.contains(&key) {
        return Err(refused(property, "this file is no limit; the runtime alone writes it"));
    }
    if value.trim().is_empty() {
        return Err(refused(property, "the value is empty"));
    }
    Ok(controller.to_owned())
}
