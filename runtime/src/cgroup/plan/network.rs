//! `linux.resources.network`: v1 only; v2 does this with a program in the host's firewall.

use oci_spec::runtime::LinuxNetwork;

use super::{Place, Sink, Write, refused};
use crate::cgroup::Error;

const CLASS: &str = "linux.resources.network.classID";
const PRIORITIES: &str = "linux.resources.network.priorities";

/// A class of zero means unset, as in runc.
pub(super) fn plan(network: &LinuxNetwork, sink: &mut Sink) -> Result<(), Error> {
    if let Some(class) = network.class_id().filter(|class| *class != 0) {
        sink.place(CLASS, "net_cls", "net_cls")?;
        sink.write(Write::new(Place::V1, "net_cls", "net_cls.classid", class, CLASS));
    }
    for (index, interface) in network.priorities().iter().flatten().enumerate() {
        let property = format!("{PRIORITIES}[{index}]");
        let name = interface.name();
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(refused(property, "its name is not that of a network interface"));
        }
        sink.place(&property, "net_prio", "net_prio")?;
        let line = format!("{name} {}", interface.priority());
        sink.write(Write::new(Place::V1, "net_prio", "net_prio.ifpriomap", line, property));
    }
    Ok(())
}
