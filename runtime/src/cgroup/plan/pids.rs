//! `linux.resources.pids`.

use oci_spec::runtime::LinuxPids;

use super::{Place, Sink, Write};
use crate::cgroup::Error;

const PROPERTY: &str = "linux.resources.pids.limit";

/// Zero means unset, as in runc; a negative number lifts the limit, which a host without the controller has done already.
pub(super) fn plan(pids: &LinuxPids, sink: &mut Sink) -> Result<(), Error> {
    let has_controller = sink.host.has_v1("pids") || sink.host.has_v2("pids");
    let value = match pids.limit() {
        0 => return Ok(()),
        ..0 if !has_controller => return Ok(()),
        ..0 => "max".to_owned(),
        limit => limit.to_string(),
    };
    let place: Place = sink.place(PROPERTY, "pids", "pids")?;
    sink.write(Write::new(place, "pids", "pids.max", value, PROPERTY));
    Ok(())
}
