//! Room `systemd`: containers whose cgroup is a transient scope of systemd (`--systemd-cgroup`): PID 1's for root, the
//! user's own manager's for others. systemd makes the cgroup and keeps the limits that it has a property for, so that
//! `systemctl show` tells them and nothing that systemd does later undoes them; the kernel gets every limit from the
//! room `cgroup` all the same, which systemd allows in a delegated unit.
//!
//! ```text
//!   Manager::connect ──> place(cgroupsPath) ──> cgroup::find ──> limits, devices, annotations: properties
//!                          [state written, init cloned]  start(unit, pid) ──> cgroup::adopt ──> apply ──> set(memory)
//!   update: cgroup::update, then set          delete: cgroup::kill, stop, cgroup::remove
//! ```
//! `unit`, `limits` and `annotations` decide and are pure; `instance` does. D-Bus is touched with this driver alone, and
//! the connection never reaches the container.
//!
//! systemd's documents: `org.freedesktop.systemd1(5)`, `systemd.resource-control(5)`, CGROUP_DELEGATION.md.

mod annotations;
mod instance;
mod limits;
mod unit;

pub use annotations::properties as annotated;
pub use instance::{Manager, stop};
pub use limits::{basic, devices, limits};
pub use unit::{Place, Unit, place};

use crate::dbus::{self, Value};
use std::path::PathBuf;

/// A property of a unit.
pub type Property = (String, Value);

/// The scope that a container is to have.
#[derive(Clone, Debug, PartialEq)]
pub struct Scope {
    /// Which one.
    pub unit: Unit,
    /// What it begins with.
    pub properties: Vec<Property>,
    /// The memory limits: set when the runtime's own pages are no longer charged.
    pub memory: Vec<Property>,
}

/// Why systemd cannot be had, or does not do what it is asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It does not run.
    #[error(
        "the systemd cgroup driver needs systemd as PID 1, which this machine has not (there is no `/run/systemd/system`, sd_booted(3)); leave --systemd-cgroup out"
    )]
    NotBooted,
    /// The user has no manager.
    #[error(
        "user {uid} has no systemd user manager that can be reached; log in through PAM, or let `loginctl enable-linger {uid}` start it, and set XDG_RUNTIME_DIR"
    )]
    NoUserManager {
        /// The user.
        uid: u32,
        /// What the last attempt ended with.
        #[source]
        source: dbus::Error,
    },
    /// PID 1 cannot be reached.
    #[error("systemd cannot be reached")]
    Unreachable(#[source] dbus::Error),
    /// Version 1 of cgroups is root's.
    #[error(
        "the systemd cgroup driver of a user needs a host with cgroup v2 alone; boot it with `systemd.unified_cgroup_hierarchy=1`"
    )]
    UserWithoutUnified,
    /// A raw key in a file that systemd writes too, with a value that it has no words for: it would not last.
    #[error(
        "`{property}` cannot be kept at `{value}`: systemd {version} writes this file too, and cannot be told that; remove it, or leave --systemd-cgroup out"
    )]
    Untold {
        /// The JSON property.
        property: String,
        /// As configured.
        value: String,
        /// systemd's.
        version: u32,
    },
    /// On cgroup v1 systemd writes the list of devices too, whenever it reads its units anew.
    #[error(
        "`linux.resources.devices` is refused: on cgroup v1 systemd keeps the list of devices, and cannot be told of exceptions; deny all and allow single devices, or leave --systemd-cgroup out"
    )]
    DevicesUntold,
    /// `linux.cgroupsPath` does not name a unit.
    #[error("`linux.cgroupsPath` is `{path}`: {reason}")]
    Path {
        /// As configured.
        path: PathBuf,
        /// What is wrong and what to write instead.
        reason: &'static str,
    },
    /// An annotation that is no property.
    #[error("annotation `{annotation}`: {reason}")]
    Annotation {
        /// Its whole name.
        annotation: String,
        /// What is wrong and what to write instead.
        reason: String,
    },
    /// There is such a unit.
    #[error(
        "the unit `{unit}` exists already; stop it with `systemctl stop {unit}`, or choose another `linux.cgroupsPath`"
    )]
    Exists {
        /// The unit.
        unit: String,
    },
    /// systemd refuses the unit, or a property of it.
    #[error("systemd does not {operation} the unit `{unit}`")]
    Unit {
        /// What it was asked for.
        operation: &'static str,
        /// The unit.
        unit: String,
        /// What it said.
        #[source]
        source: dbus::Error,
    },
    /// The job did not end well.
    #[error("systemd's job for the unit `{unit}` ended as `{result}`; see `journalctl -u {unit}`")]
    Job {
        /// The unit.
        unit: String,
        /// systemd's word.
        result: String,
    },
}
