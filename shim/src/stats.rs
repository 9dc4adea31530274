//! The figures of a task as containerd has them: the version 1 message where any of the controllers that matter is on
//! version 1, else the version 2 message. What is not there is left out.

mod v1;
mod v2;

use crate::cgroup::Cgroups;
use protobuf::Message;
use protobuf::well_known_types::any::Any;
use std::path::Path;

/// Reads the figures.
pub(crate) fn read(cgroups: &Cgroups) -> Any {
    if cgroups.is_v1() {
        any("io.containerd.cgroups.v1.Metrics", &v1::read(cgroups))
    } else {
        any("io.containerd.cgroups.v2.Metrics", &v2::read(cgroups))
    }
}

fn any(type_url: &str, message: &impl Message) -> Any {
    let value = message.write_to_bytes().expect("a message in memory is written to memory");
    Any { type_url: type_url.to_owned(), value, ..Any::default() }
}

/// The text of one file of a controller.
fn text(folder: &Path, name: &str) -> Option<String> {
    std::fs::read_to_string(folder.join(name)).ok()
}
