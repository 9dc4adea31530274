//! The cgroup hierarchies of this host, as data: which are mounted where, and which controllers each has. A host whose
//! /sys/fs/cgroup is cgroup2 is known after one statfs; others cost one read of /proc/self/mountinfo.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};

use super::{Dir, Error, Location};

/// The usual mount point, of cgroup2 itself or of the tmpfs that holds the v1 mount points.
const ROOT: &str = "/sys/fs/cgroup";
/// `CGROUP2_SUPER_MAGIC` of linux/magic.h.
const CGROUP2_MAGIC: i64 = 0x6367_7270;
/// The controllers a v1 hierarchy can name among its mount options (Documentation/admin-guide/cgroup-v1).
const V1_CONTROLLERS: [&str; 14] = [
    "cpuset",
    "cpu",
    "cpuacct",
    "blkio",
    "memory",
    "devices",
    "freezer",
    "net_cls",
    "perf_event",
    "net_prio",
    "hugetlb",
    "pids",
    "rdma",
    "misc",
];

/// What a hierarchy is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The unified hierarchy.
    V2,
    /// A v1 hierarchy with its controllers; a named one has `name=...` instead.
    V1(Vec<String>),
}

/// A mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Version and controllers.
    pub kind: Kind,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// Which of its directories is mounted there: `/` but for containers without a cgroup namespace.
    pub root: String,
}

/// The hierarchies of a host. Pure data; tests make it by hand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// The v2 hierarchy, if mounted, comes first.
    pub hierarchies: Vec<Hierarchy>,
    /// What the root of the v2 hierarchy can hand down; empty where nobody needs to know.
    pub v2_controllers: Vec<String>,
    /// No cgroup is to be used at all (`--cgroup-manager=disabled`).
    pub disabled: bool,
    /// The file that says what a user has been given of v2, if less than everything counts.
    pub delegated: Option<PathBuf>,
}

impl Host {
    /// Looks at the running host. The controllers of v2 are read only if `resources` has a section that needs one.
    pub fn detect(resources: Option<&LinuxResources>) -> Result<Host, Error> {
        let hierarchies = if is_cgroup2(Path::new(ROOT)) {
            vec![Hierarchy { kind: Kind::V2, mount: ROOT.into(), root: "/".into() }]
        } else {
            parse_mountinfo(&read("/proc/self/mountinfo")?)
        };
        Host::with(hierarchies, resources)
    }

    /// The host as a container's location shows it, without a second look at what is mounted where.
    pub(super) fn of(location: &Location, resources: Option<&LinuxResources>) -> Result<Host, Error> {
        if location.dirs.is_empty() {
            return Ok(Host::disabled());
        }
        let hierarchy = |dir: &Dir| Hierarchy { kind: dir.kind.clone(), mount: dir.mount.clone(), root: "/".into() };
        Host::with(location.dirs.iter().map(hierarchy).collect(), resources)
    }

    fn with(hierarchies: Vec<Hierarchy>, resources: Option<&LinuxResources>) -> Result<Host, Error> {
        let mut host = Host { hierarchies, ..Host::default() };
        if let (Some(v2), true) = (host.v2(), resources.is_some_and(wants_controllers)) {
            let words = read(v2.mount.join("cgroup.controllers"))?;
            host.v2_controllers = words.split_whitespace().map(str::to_owned).collect();
        }
        Ok(host)
    }

    /// A host on which no cgroup is touched.
    pub fn disabled() -> Host {
        Host { disabled: true, ..Host::default() }
    }

    /// Takes the controllers of v2 to be those that cgroup `below` (from the root of the hierarchy on) has been given.
    pub fn delegated(mut self, below: &Path) -> Result<Host, Error> {
        if let (Some(v2), false) = (self.v2(), self.v2_controllers.is_empty()) {
            let path = v2.mount.join(below.strip_prefix("/").unwrap_or(below)).join("cgroup.controllers");
            self.v2_controllers = read(&path)?.split_whitespace().map(str::to_owned).collect();
            self.delegated = Some(path);
        }
        Ok(self)
    }

    /// Why `controller` cannot be had for `property`, by the names of the versions that this host has.
    pub(super) fn lacks(&self, property: &str, controller: &str) -> Error {
        let (property, controller) = (property.to_owned(), controller.to_owned());
        match self.delegated.clone() {
            Some(path) => Error::NotDelegated { property, controller, path },
            None => Error::NoController { property, controller },
        }
    }

    /// The unified hierarchy, if it is mounted.
    pub fn v2(&self) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|hierarchy| hierarchy.kind == Kind::V2)
    }

    /// Whether a mounted v1 hierarchy has `controller`.
    pub fn has_v1(&self, controller: &str) -> bool {
        self.hierarchies.iter().any(|hierarchy| hierarchy.kind.has_v1(controller))
    }

    /// Whether the unified hierarchy can hand `controller` down.
    pub fn has_v2(&self, controller: &str) -> bool {
        self.v2_controllers.iter().any(|word| word == controller)
    }
}

impl Kind {
    /// Whether this is the v1 hierarchy of `controller`.
    pub fn has_v1(&self, controller: &str) -> bool {
        matches!(self, Kind::V1(controllers) if controllers.iter().any(|word| word == controller))
    }
}

/// Device rules need no controller on v2, every other section may.
fn wants_controllers(resources: &LinuxResources) -> bool {
    resources.memory().is_some()
        || resources.cpu().is_some()
        || resources.pids().is_some()
        || resources.block_io().is_some()
        || resources.hugepage_limits().is_some()
        || resources.network().is_some()
        || resources.rdma().is_some()
        || resources.unified().is_some()
}

fn is_cgroup2(path: &Path) -> bool {
    // The type of the field differs between architectures, its value does not.
    #[allow(clippy::unnecessary_cast, reason = "f_type is not i64 everywhere")]
    rustix::fs::statfs(path).is_ok_and(|found| found.f_type as i64 == CGROUP2_MAGIC)
}

pub(super) fn read(path: impl AsRef<Path>) -> Result<String, Error> {
    let path = path.as_ref();
    fs::read_to_string(path).map_err(|source: io::Error| Error::Read { path: path.into(), source })
}

/// proc_pid_mountinfo(5). Of several mounts of one hierarchy the one below /sys/fs/cgroup is taken, else the first.
fn parse_mountinfo(text: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for hierarchy in text.lines().filter_map(parse_mount) {
        match found.iter_mut().find(|known| known.kind == hierarchy.kind) {
            Some(known) if !known.mount.starts_with(ROOT) && hierarchy.mount.starts_with(ROOT) => *known = hierarchy,
            Some(_) => {}
            None => found.push(hierarchy),
        }
    }
    found.sort_by_key(|hierarchy| hierarchy.kind != Kind::V2);
    found
}

fn parse_mount(line: &str) -> Option<Hierarchy> {
    let (left, right) = line.split_once(" - ")?;
    let mut right = right.split(' ');
    let (fstype, _source, options) = (right.next()?, right.next()?, right.next().unwrap_or(""));
    let kind = match fstype {
        "cgroup2" => Kind::V2,
        "cgroup" => {
            let words = options.split(',').filter(|word| V1_CONTROLLERS.contains(word) || word.starts_with("name="));
            Kind::V1(words.map(str::to_owned).collect())
        }
        _ => return None,
    };
    let mut left = left.split(' ').skip(3);
    Some(Hierarchy { kind, root: unescape(left.next()?), mount: unescape(left.next()?).into() })
}

/// Blanks, tabs, newlines and backslashes stand in mountinfo as three octal digits.
fn unescape(word: &str) -> String {
    let mut plain = word.to_owned();
    for (escaped, byte) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        if plain.contains('\\') {
            plain = plain.replace(escaped, byte);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
90 31 0:29 / /mnt/old\\040name rw,relatime - cgroup cgroup rw,memory
35 31 0:32 /docker/1 /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,seclabel,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup systemd rw,xattr,release_agent=/lib/x,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
";

    fn v1(controllers: &[&str], mount: &str, root: &str) -> Hierarchy {
        let kind = Kind::V1(controllers.iter().map(|word| (*word).to_owned()).collect());
        Hierarchy { kind, mount: mount.into(), root: root.into() }
    }

    #[test]
    fn a_hybrid_host_is_read_from_mountinfo() {
        let expected = vec![
            Hierarchy { kind: Kind::V2, mount: "/sys/fs/cgroup/unified".into(), root: "/".into() },
            v1(&["cpu", "cpuacct"], "/sys/fs/cgroup/cpu,cpuacct", "/"),
            v1(&["memory"], "/sys/fs/cgroup/memory", "/docker/1"),
            v1(&["name=systemd"], "/sys/fs/cgroup/systemd", "/"),
        ];
        assert_eq!(parse_mountinfo(HYBRID), expected);
    }

    #[test]
    fn octal_escapes_are_undone() {
        assert_eq!(unescape("/a\\040b\\134"), "/a b\\");
    }

    #[test]
    fn a_host_without_cgroups_has_no_hierarchy() {
        assert_eq!(parse_mountinfo("31 23 0:28 / /proc rw - proc proc rw\nnonsense\n"), vec![]);
    }

    #[test]
    fn only_sections_beyond_devices_need_controllers() {
        let needs = |json: &str| wants_controllers(&serde_json::from_str(json).unwrap());
        assert!(!needs(r#"{"devices":[]}"#));
        assert!(needs(r#"{"pids":{"limit":1}}"#));
    }
}
