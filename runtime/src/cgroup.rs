//! Room `cgroup`: where the container's cgroups are, which limits it gets, and every way to end it. Cgroup v2, v1 and
//! hybrid hosts, driven through the file system; one directory a hierarchy, recorded in the state file.
//!
//! ```text
//!   Host::detect ──> locate ──> Location (kept in state.json)
//!         └────────> plan   ──> Plan     (ordered writes, device program)
//!   vacant(location) -> [state written] -> create(location, plan) -> join -> apply, apply_devices, apply_memory
//!                                          adopt: the same where systemd made them (room `systemd`)
//!   update(location, resources): plan, then write, or set back
//!   kill(location) -> remove(location)                        (needs nothing but the location)
//! ```
//!
//! `host`, `location`, `plan` and `devices` decide and are pure but for `Host::detect` and `OwnCgroups::read`; the other
//! files do. A limit that the kernel or the host cannot give is an error that names the property and the file.

mod apply;
mod create;
mod devices;
mod error;
mod freeze;
mod host;
mod kill;
mod location;
mod oom;
mod plan;
mod remove;
mod stats;
mod update;

pub use create::{Cgroup, adopt, create, create_or_stay, open, vacant};
pub use devices::{Access, DeviceKind, Rule, allowed};
pub use error::Error;
pub use freeze::{freeze, is_frozen, let_die, thaw};
pub use host::{Hierarchy, Host, Kind};
pub use kill::{kill, procs};
pub use location::{Below, Dir, Location, OwnCgroups, find, locate};
pub use oom::{Notice, oom_kills};
pub use plan::{Absent, DeviceControl, DevicePlan, Place, Plan, Write, plan};
pub use remove::remove;
pub use stats::{Stats, stats};
pub use update::{Keeper, update};
