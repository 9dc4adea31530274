//! Which namespaces a container gets, and by which kernel call each. The plan is pure; `sys::clone` and `init` do it.
//!
//! ```text
//!   direct   parent ── clone3(new: mount pid net ipc uts user) ──> init: setns(joined), unshare(cgroup)
//!   hop      parent ── clone3 ──> hop: setns(joined, user, pid), unshare(user, time, pid)
//!                                   └── clone3(CLONE_PARENT, the rest) ──> init
//! ```
//! The hop exists only where the kernel leaves no other way: a pid or time namespace takes in the *children* of the
//! process that joins it (setns(2)), and namespaces joined beside a new user namespace must be joined before it is made.
//! What a further process joins ([`of_process`]) was written down when the container was made: what its first process
//! has done to itself since does not count.

use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, Spec};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// One of the eight kinds, in the words of the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `mount`
    Mount,
    /// `pid`
    Pid,
    /// `network`
    Network,
    /// `ipc`
    Ipc,
    /// `uts`
    Uts,
    /// `user`
    User,
    /// `cgroup`
    Cgroup,
    /// `time`
    Time,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 8] =
        [Self::Mount, Self::Pid, Self::Network, Self::Ipc, Self::Uts, Self::User, Self::Cgroup, Self::Time];

    /// The `CLONE_NEW*` bit (clone(2), time_namespaces(7)).
    #[must_use]
    pub const fn flag(self) -> u64 {
        match self {
            Self::Time => 0x0000_0080,
            Self::Mount => 0x0002_0000,
            Self::Cgroup => 0x0200_0000,
            Self::Uts => 0x0400_0000,
            Self::Ipc => 0x0800_0000,
            Self::User => 0x1000_0000,
            Self::Pid => 0x2000_0000,
            Self::Network => 0x4000_0000,
        }
    }

    /// The word in `config.json`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Mount => "mount",
            Self::Pid => "pid",
            Self::Network => "network",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::User => "user",
            Self::Cgroup => "cgroup",
            Self::Time => "time",
        }
    }

    /// The file below `/proc/PID/ns` (namespaces(7)).
    #[must_use]
    pub const fn file(self) -> &'static str {
        match self {
            Self::Mount => "mnt",
            Self::Network => "net",
            other => other.word(),
        }
    }
}

impl From<LinuxNamespaceType> for Kind {
    fn from(kind: LinuxNamespaceType) -> Self {
        match kind {
            LinuxNamespaceType::Mount => Self::Mount,
            LinuxNamespaceType::Cgroup => Self::Cgroup,
            LinuxNamespaceType::Uts => Self::Uts,
            LinuxNamespaceType::Ipc => Self::Ipc,
            LinuxNamespaceType::User => Self::User,
            LinuxNamespaceType::Pid => Self::Pid,
            LinuxNamespaceType::Network => Self::Network,
            LinuxNamespaceType::Time => Self::Time,
        }
    }
}

/// What the hop process does before it makes init.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hop {
    /// Indices into [`Plan::join`] of what the hop joins, the user namespace last.
    pub join: Vec<usize>,
    /// A new user namespace is made by the hop.
    pub new_user: bool,
    /// A new time namespace is made by the hop.
    pub new_time: bool,
    /// A new pid namespace is made by the hop.
    pub new_pid: bool,
}

/// Which namespaces are made and joined, where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Existing namespaces, in the order in which they are joined.
    pub join: Vec<(Kind, PathBuf)>,
    /// Indices into [`Plan::join`] of what init joins itself.
    pub init_join: Vec<usize>,
    /// The `CLONE_NEW*` bits of the clone that makes init.
    pub clone_flags: u64,
    /// Init unshares the cgroup namespace itself: the kernel roots a new one at the cgroup of the *caller* of clone,
    /// not at the one that `CLONE_INTO_CGROUP` names (cgroup_namespaces(7)).
    pub unshare_cgroup: bool,
    /// The process between us and init, where one is needed.
    pub hop: Option<Hop>,
    /// New or joined, for those who must know what the container has of its own.
    kinds: Vec<(Kind, bool)>,
    /// `linux.uidMappings`.
    pub uid_mappings: Vec<LinuxIdMapping>,
    /// `linux.gidMappings`.
    pub gid_mappings: Vec<LinuxIdMapping>,
    /// Lines for `timens_offsets`: clock, seconds, nanoseconds (time_namespaces(7)).
    pub time_offsets: Vec<(&'static str, i64, u32)>,
}

impl Plan {
    /// The container does not share this kind with the runtime.
    #[must_use]
    pub fn has(&self, kind: Kind) -> bool {
        self.kinds.iter().any(|(own, _)| *own == kind)
    }

    /// The kinds that the container does not share with the runtime.
    pub fn own(&self) -> impl Iterator<Item = Kind> + '_ {
        self.kinds.iter().map(|(kind, _)| *kind)
    }

    /// The container gets a new one of this kind.
    #[must_use]
    pub fn makes(&self, kind: Kind) -> bool {
        self.kinds.contains(&(kind, true))
    }
}

/// Why the namespaces asked for cannot be had.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// The same kind twice.
    #[error("linux.namespaces names the `{0}` namespace twice; keep one of them")]
    Duplicate(&'static str),
    /// Without a mount namespace the root file system would be mounted for the whole machine.
    #[error(
        "linux.namespaces has no `mount` namespace; without one the container's mounts would be the machine's: add {{\"type\": \"mount\"}}"
    )]
    NoMount,
    /// A namespace path that is not absolute.
    #[error("linux.namespaces: the path `{path}` of the `{kind}` namespace is not absolute")]
    RelativePath {
        /// The kind.
        kind: &'static str,
        /// The path as given.
        path: PathBuf,
    },
    /// A member that needs a namespace which the container does not have of its own.
    #[error("`{property}` is set, but linux.namespaces has no {qualifier}`{kind}` namespace")]
    Needs {
        /// The member.
        property: &'static str,
        /// The kind it needs.
        kind: &'static str,
        /// `new `, where a joined one does not do.
        qualifier: &'static str,
    },
    /// A new user namespace without mappings.
    #[error("linux.namespaces has a new `user` namespace, but `{0}` is missing or empty")]
    NoMapping(&'static str),
    /// A mapping that the kernel would refuse.
    #[error("`{property}[{index}]` maps an empty or out-of-range set of ids")]
    Mapping {
        /// `linux.uidMappings` or `linux.gidMappings`.
        property: &'static str,
        /// Which one.
        index: usize,
    },
    /// A clock that has no offset.
    #[error("linux.timeOffsets: clock `{0}` has no offset; use `monotonic` or `boottime`")]
    Clock(String),
}

/// Decides how each namespace is had.
///
/// # Errors
/// See [`Error`]; each names the member of `config.json`.
pub fn plan(spec: &Spec) -> Result<Plan, Error> {
    let mut plan = Plan::default();
    let linux = spec.linux().as_ref();
    let asked = linux.and_then(|linux| linux.namespaces().as_deref()).unwrap_or_default();
    for namespace in asked {
        let kind = Kind::from(namespace.typ());
        if plan.has(kind) {
            return Err(Error::Duplicate(kind.word()));
        }
        // runc and crun read an empty path as no path.
        let path = namespace.path().as_ref().filter(|path| !path.as_os_str().is_empty());
        plan.kinds.push((kind, path.is_none()));
        if let Some(path) = path {
            if !path.is_absolute() {
                return Err(Error::RelativePath { kind: kind.word(), path: path.clone() });
            }
            plan.join.push((kind, path.clone()));
        }
    }
    if !plan.has(Kind::Mount) {
        return Err(Error::NoMount);
    }
    mappings(spec, &mut plan)?;
    time_offsets(spec, &mut plan)?;
    names(spec, &plan)?;
    // The user namespace last: joining it takes away the right to join those that belong to its parent.
    plan.join.sort_by_key(|(kind, _)| *kind == Kind::User);
    route(&mut plan);
    Ok(plan)
}

/// How a further process joins the namespaces of these kinds that process `pid` is in. The user namespace comes last, as
/// in [`plan`]; nothing is made.
#[must_use]
pub fn of_process(pid: i32, kinds: &[Kind]) -> Plan {
    let mut join: Vec<(Kind, PathBuf)> =
        kinds.iter().map(|kind| (*kind, PathBuf::from(format!("/proc/{pid}/ns/{}", kind.file())))).collect();
    join.sort_by_key(|(kind, _)| *kind == Kind::User);
    let init_join = (0..join.len()).collect();
    Plan { join, init_join, kinds: kinds.iter().map(|kind| (*kind, false)).collect(), ..Plan::default() }
}

/// Which process makes or joins which namespace.
fn route(plan: &mut Plan) {
    let joined = |kind| plan.join.iter().any(|(own, _)| *own == kind);
    let needs_hop = joined(Kind::User)
        || joined(Kind::Pid)
        || plan.has(Kind::Time)
        || (plan.makes(Kind::User) && !plan.join.is_empty());
    plan.unshare_cgroup = plan.makes(Kind::Cgroup);
    let by_clone = [Kind::Mount, Kind::Pid, Kind::Network, Kind::Ipc, Kind::Uts, Kind::User];
    plan.clone_flags = by_clone.into_iter().filter(|kind| plan.makes(*kind)).fold(0, |bits, kind| bits | kind.flag());
    if !needs_hop {
        plan.init_join = (0..plan.join.len()).collect();
        return;
    }
    plan.clone_flags &= !(Kind::User.flag() | Kind::Pid.flag());
    plan.hop = Some(Hop {
        // A joined mount namespace takes the working directory and the way to /proc with it: init does that, last.
        join: (0..plan.join.len()).filter(|index| plan.join[*index].0 != Kind::Mount).collect(),
        new_user: plan.makes(Kind::User),
        new_time: plan.makes(Kind::Time),
        new_pid: plan.makes(Kind::Pid),
    });
    plan.init_join = (0..plan.join.len()).filter(|index| plan.join[*index].0 == Kind::Mount).collect();
}

fn mappings(spec: &Spec, plan: &mut Plan) -> Result<(), Error> {
    let linux = spec.linux().as_ref();
    let uid = linux.and_then(|linux| linux.uid_mappings().clone()).unwrap_or_default();
    let gid = linux.and_then(|linux| linux.gid_mappings().clone()).unwrap_or_default();
    for (property, given) in [("linux.uidMappings", &uid), ("linux.gidMappings", &gid)] {
        if plan.makes(Kind::User) && given.is_empty() {
            return Err(Error::NoMapping(property));
        }
        if !plan.has(Kind::User) && !given.is_empty() {
            return Err(Error::Needs { property, kind: "user", qualifier: "" });
        }
        let bad = |mapping: &LinuxIdMapping| {
            // 4294967295 is (uid_t)-1, which no map may hold (user_namespaces(7)).
            let ends = |first: u32| first.checked_add(mapping.size()).is_none();
            mapping.size() == 0 || ends(mapping.container_id()) || ends(mapping.host_id())
        };
        if let Some(index) = given.iter().position(bad) {
            return Err(Error::Mapping { property, index });
        }
    }
    plan.uid_mappings = uid;
    plan.gid_mappings = gid;
    Ok(())
}

fn time_offsets(spec: &Spec, plan: &mut Plan) -> Result<(), Error> {
    let Some(offsets) = spec.linux().as_ref().and_then(|linux| linux.time_offsets().as_ref()) else { return Ok(()) };
    if !offsets.is_empty() && !plan.makes(Kind::Time) {
        return Err(Error::Needs { property: "linux.timeOffsets", kind: "time", qualifier: "new " });
    }
    for (clock, offset) in offsets {
        let clock = match clock.as_str() {
            "monotonic" => "monotonic",
            "boottime" => "boottime",
            other => return Err(Error::Clock(other.to_owned())),
        };
        plan.time_offsets.push((clock, offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0)));
    }
    plan.time_offsets.sort_unstable();
    Ok(())
}

fn names(spec: &Spec, plan: &Plan) -> Result<(), Error> {
    for (property, value) in [("hostname", spec.hostname()), ("domainname", spec.domainname())] {
        if value.as_ref().is_some_and(|name| !name.is_empty()) && !plan.has(Kind::Uts) {
            return Err(Error::Needs { property, kind: "uts", qualifier: "" });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
