//! `linux.resources.rdma`: the same file in both versions.

use std::collections::HashMap;

use oci_spec::runtime::LinuxRdma;

use super::{Sink, Write, refused};
use crate::cgroup::Error;

/// In the order of the devices' names, so that the same configuration gives the same plan.
pub(super) fn plan(rdma: &HashMap<String, LinuxRdma>, sink: &mut Sink) -> Result<(), Error> {
    let mut devices: Vec<_> = rdma.iter().collect();
    devices.sort_by_key(|(name, _)| *name);
    for (name, limits) in devices {
        let property = format!("linux.resources.rdma.{name}");
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(refused(property, "it is not the name of an RDMA device"));
        }
        let mut line = name.clone();
        for (key, value) in [("hca_handle", limits.hca_handles()), ("hca_object", limits.hca_objects())] {
            if let Some(value) = value {
                line.push_str(&format!(" {key}={value}"));
            }
        }
        if line != *name {
            let place = sink.place(&property, "rdma", "rdma")?;
            sink.write(Write::new(place, "rdma", "rdma.max", line, property));
        }
    }
    Ok(())
}
