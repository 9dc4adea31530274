//! The decisions: `config.json` in, an ordered list of mounts, devices and paths out. No system call is made here, and
//! whoever performs the plan has no choice left except which generation of kernel calls serves it.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, Mount, Spec};

use super::error::Error;
use super::options::{Options, Propagation};
use super::resolve::clean;

mod device;
mod sysctl;

pub use device::{Node, NodeKind};
pub use sysctl::Sysctl;

/// What the plan must know about the container beyond its configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)]
pub struct Facts {
    /// The container is in another user namespace than the machine's first one, by its configuration or because the
    /// runtime is: it cannot make device nodes.
    pub user_namespace: bool,
    /// It has a mount namespace of its own.
    pub mount_namespace: bool,
    /// It has a network namespace of its own, or joins one that is not the runtime's.
    pub network_namespace: bool,
    /// The same for System V IPC and POSIX queues.
    pub ipc_namespace: bool,
    /// The same for host and domain name.
    pub uts_namespace: bool,
    /// The same for the view of the cgroup tree.
    pub cgroup_namespace: bool,
}

impl Facts {
    /// What `linux.namespaces` alone says; the caller corrects it for paths that lead to the runtime's own namespaces
    /// and for a runtime that is in a user namespace itself.
    #[must_use]
    pub fn of(spec: &Spec) -> Self {
        let listed = |kind| namespace(spec, kind).is_some();
        Self {
            user_namespace: listed(LinuxNamespaceType::User),
            mount_namespace: listed(LinuxNamespaceType::Mount),
            network_namespace: listed(LinuxNamespaceType::Network),
            ipc_namespace: listed(LinuxNamespaceType::Ipc),
            uts_namespace: listed(LinuxNamespaceType::Uts),
            cgroup_namespace: listed(LinuxNamespaceType::Cgroup),
        }
    }
}

/// Everything this room will do for one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// `root.path` as written: relative to the bundle.
    pub root: PathBuf,
    /// `root.readonly`.
    pub readonly: bool,
    /// `linux.rootfsPropagation`.
    pub propagation: Option<Propagation>,
    /// The mounts, in order.
    pub steps: Vec<Step>,
    /// Which step is the tmpfs of `/dev` that device nodes may be made on; none when the configuration puts something
    /// else there, which is then left alone as runc does.
    pub dev: Option<usize>,
    /// Device nodes to make.
    pub nodes: Vec<Node>,
    /// Whether nodes must be borrowed from the host by bind mounts.
    pub borrow_nodes: bool,
    /// `process.cwd`, made when missing.
    pub cwd: PathBuf,
    /// `linux.sysctl`.
    pub sysctls: Vec<Sysctl>,
    /// `linux.readonlyPaths`.
    pub readonly_paths: Vec<PathBuf>,
    /// `linux.maskedPaths`.
    pub masked_paths: Vec<PathBuf>,
    /// Whether cgroup file systems are mounted afresh rather than bound from the host's tree.
    pub cgroup_namespace: bool,
}

impl Plan {
    /// Whether the container's mounts stay in peer groups with the host's (`rootfsPropagation` shared), so that those
    /// made in the container appear on the host.
    #[must_use]
    pub fn shares_mounts(&self) -> bool {
        self.propagation.is_some_and(Propagation::shares)
    }
}

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its JSON property, `mounts[3]`, for messages.
    pub property: String,
    /// Where: absolute and clean.
    pub destination: PathBuf,
    /// What.
    pub kind: Kind,
    /// How.
    pub options: Options,
}

/// What a step mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Files of the host.
    Bind {
        /// As written: relative to the bundle.
        source: PathBuf,
        /// With the mounts below.
        recursive: bool,
        /// Shown with other owners.
        mapping: Option<Mapping>,
    },
    /// A file system that the kernel makes.
    FileSystem {
        /// Its type, as in `/proc/filesystems`.
        name: String,
        /// What is shown as its source, a block device for some.
        source: String,
    },
    /// The container's cgroup, in whichever version the host has.
    Cgroup,
}

/// How an id-mapped mount changes owners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// With the mounts below.
    pub recursive: bool,
    /// Where the numbers come from.
    pub source: MappingSource,
}

/// See [`Mapping`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MappingSource {
    /// Lines for `uid_map` and `gid_map` (user_namespaces(7)).
    Lines {
        /// Of users.
        uid: String,
        /// Of groups.
        gid: String,
    },
    /// The user namespace that the container joins.
    Namespace(PathBuf),
}

/// The mount points inside procfs that runc allows too: the files which lxcfs gives a container's view of.
pub(super) const PROC_FILES: [&str; 11] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/net/dev",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/sys/crypto/fips_enabled",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/uptime",
];

impl Step {
    /// Whether no symbolic link may be in the destination: what trusts these places by name must find them there.
    #[must_use]
    pub fn strict(&self) -> bool {
        let fixed = ["/proc", "/sys", "/dev"].iter().any(|path| self.destination == Path::new(path));
        fixed || matches!(&self.kind, Kind::FileSystem { name, .. } if name == "proc" || name == "sysfs")
    }

    /// Whether this is a file system of the given type.
    #[must_use]
    pub fn is(&self, filesystem: &str) -> bool {
        matches!(&self.kind, Kind::FileSystem { name, .. } if name == filesystem)
    }
}

/// Decides everything.
///
/// # Errors
/// [`Error::Missing`], [`Error::Invalid`] and [`Error::UnknownOption`]: what is asked for and cannot be done is
/// refused, never left out.
pub fn plan(spec: &Spec, facts: &Facts) -> Result<Plan, Error> {
    let root = spec.root().as_ref().ok_or(Error::Missing { property: "root".into(), hint: "give it a `path`" })?;
    if root.path().as_os_str().is_empty() {
        return Err(Error::Missing { property: "root.path".into(), hint: "name the directory of the image" });
    }
    if !facts.mount_namespace {
        let hint = "a root file system needs a `mount` namespace of its own";
        return Err(Error::Missing { property: "linux.namespaces".into(), hint });
    }
    let linux = spec.linux().as_ref();
    let mut steps = Vec::new();
    for (index, mount) in spec.mounts().iter().flatten().enumerate() {
        steps.push(step(index, mount, spec)?);
    }
    let dev = own_dev(&mut steps);
    let paths = |property, list: Option<&Vec<String>>| absolute_paths(property, list.map_or(&[], Vec::as_slice));
    Ok(Plan {
        root: root.path().clone(),
        readonly: root.readonly().unwrap_or(false),
        propagation: rootfs_propagation(linux.and_then(|linux| linux.rootfs_propagation().as_deref()))?,
        steps,
        dev,
        nodes: device::nodes(linux.and_then(|linux| linux.devices().as_deref()).unwrap_or(&[]), dev.is_some())?,
        borrow_nodes: facts.user_namespace,
        cwd: cwd(spec)?,
        sysctls: sysctl::plan(linux.and_then(|linux| linux.sysctl().as_ref()), facts)?,
        readonly_paths: paths("linux.readonlyPaths", linux.and_then(|linux| linux.readonly_paths().as_ref()))?,
        masked_paths: paths("linux.maskedPaths", linux.and_then(|linux| linux.masked_paths().as_ref()))?,
        cgroup_namespace: facts.cgroup_namespace,
    })
}

fn step(index: usize, mount: &Mount, spec: &Spec) -> Result<Step, Error> {
    let property = format!("mounts[{index}]");
    let options = Options::parse(mount.options().as_deref().unwrap_or(&[]));
    let destination = clean(mount.destination());
    if destination == Path::new("/") {
        let rule = "which would hide the container's root";
        return Err(invalid(format!("{property}.destination"), mount.destination(), rule));
    }
    let bind = if mount.typ().as_deref() == Some("bind") { Some(false) } else { None };
    let kind = match (options.bind.or(bind), mount.typ().as_deref()) {
        (Some(recursive), _) => bind_kind(index, mount, spec, &options, recursive)?,
        (None, None | Some("" | "none")) => {
            return Err(Error::Missing { property: format!("{property}.type"), hint: "name a file system, or `bind`" });
        }
        (None, Some(_)) if options.idmap.is_some() || mount.uid_mappings().is_some() => {
            return Err(Error::Invalid {
                property: format!("{property}.options"),
                value: "idmap".into(),
                rule: "which is for bind mounts only",
            });
        }
        (None, Some("cgroup")) => Kind::Cgroup,
        (None, Some(name)) => Kind::FileSystem {
            name: name.to_owned(),
            source: mount.source().as_ref().map_or_else(|| name.to_owned(), |path| path.display().to_string()),
        },
    };
    let step = Step { property, destination, kind, options };
    check_copy_up(&step)?;
    check_proc(&step)?;
    Ok(step)
}

fn bind_kind(index: usize, mount: &Mount, spec: &Spec, options: &Options, recursive: bool) -> Result<Kind, Error> {
    if let Some(option) = options.data.first() {
        return Err(Error::UnknownOption { index, option: option.clone() });
    }
    let source = mount.source().clone().filter(|source| !source.as_os_str().is_empty()).ok_or(Error::Missing {
        property: format!("mounts[{index}].source"),
        hint: "a bind mount needs a path of the host",
    })?;
    Ok(Kind::Bind { source, recursive, mapping: mapping(index, mount, spec, options)? })
}

/// runtime-spec config.md, "uidMappings": both or neither; the option alone means the container's own mapping.
fn mapping(index: usize, mount: &Mount, spec: &Spec, options: &Options) -> Result<Option<Mapping>, Error> {
    let some = |list: &Option<Vec<LinuxIdMapping>>| list.clone().filter(|list| !list.is_empty());
    let recursive = options.idmap.is_some_and(|idmap| idmap.recursive);
    let missing = |name| Error::Missing {
        property: format!("mounts[{index}].{name}"),
        hint: "`uidMappings` and `gidMappings` come together",
    };
    let source = match (some(mount.uid_mappings()), some(mount.gid_mappings())) {
        (Some(uid), Some(gid)) => MappingSource::Lines { uid: lines(&uid), gid: lines(&gid) },
        (Some(_), None) => return Err(missing("gidMappings")),
        (None, Some(_)) => return Err(missing("uidMappings")),
        (None, None) if options.idmap.is_none() => return Ok(None),
        (None, None) => container_mapping(index, spec)?,
    };
    Ok(Some(Mapping { recursive, source }))
}

fn container_mapping(index: usize, spec: &Spec) -> Result<MappingSource, Error> {
    if let Some(Some(path)) = namespace(spec, LinuxNamespaceType::User) {
        return Ok(MappingSource::Namespace(path.clone()));
    }
    let linux = spec.linux().as_ref();
    let uid = linux.and_then(|linux| linux.uid_mappings().as_ref()).filter(|list| !list.is_empty());
    let gid = linux.and_then(|linux| linux.gid_mappings().as_ref()).filter(|list| !list.is_empty());
    match (uid, gid) {
        (Some(uid), Some(gid)) => Ok(MappingSource::Lines { uid: lines(uid), gid: lines(gid) }),
        _none => Err(Error::Missing {
            property: format!("mounts[{index}].uidMappings"),
            hint: "`idmap` needs them, or a user namespace with mappings",
        }),
    }
}

/// The path of a namespace of the configuration: none when it is not listed, none inside when it is a new one.
fn namespace(spec: &Spec, kind: LinuxNamespaceType) -> Option<Option<&PathBuf>> {
    let listed = spec.linux().as_ref()?.namespaces().as_ref()?;
    listed.iter().find(|namespace| namespace.typ() == kind).map(|namespace| namespace.path().as_ref())
}

fn lines(mappings: &[LinuxIdMapping]) -> String {
    let line = |map: &LinuxIdMapping| format!("{} {} {}\n", map.container_id(), map.host_id(), map.size());
    mappings.iter().map(line).collect()
}

fn check_copy_up(step: &Step) -> Result<(), Error> {
    if step.options.copy_up && !step.is("tmpfs") {
        let property = format!("{}.options", step.property);
        return Err(Error::Invalid { property, value: "tmpcopyup".into(), rule: "which is for tmpfs only" });
    }
    Ok(())
}

/// Nothing may be mounted over parts of procfs, which other programs trust (CVE-2019-16884 and its siblings).
fn check_proc(step: &Step) -> Result<(), Error> {
    let property = || format!("{}.destination", step.property);
    if step.destination == Path::new("/proc") {
        return match &step.kind {
            Kind::Bind { .. } => Ok(()),
            Kind::FileSystem { name, .. } if name == "proc" => Ok(()),
            _other => Err(invalid(property(), &step.destination, "which only procfs may be mounted on")),
        };
    }
    let inside = step.destination.starts_with("/proc");
    if inside && !PROC_FILES.iter().any(|path| step.destination == Path::new(path)) {
        return Err(invalid(property(), &step.destination, "which is inside procfs and not among the allowed files"));
    }
    Ok(())
}

/// Finds the tmpfs of `/dev`, or puts one of our own first: devices are never made on the image's files.
fn own_dev(steps: &mut Vec<Step>) -> Option<usize> {
    let last = steps.iter().rposition(|step| step.destination == Path::new("/dev"));
    if let Some(index) = last {
        return Some(index).filter(|index| steps[*index].is("tmpfs") && !steps[*index].options.remount);
    }
    let words = ["nosuid", "strictatime", "mode=755", "size=65536k"].map(str::to_owned);
    steps.insert(
        0,
        Step {
            property: "mounts (the runtime's own `/dev`)".into(),
            destination: "/dev".into(),
            kind: Kind::FileSystem { name: "tmpfs".into(), source: "tmpfs".into() },
            options: Options::parse(&words),
        },
    );
    Some(0)
}

fn rootfs_propagation(word: Option<&str>) -> Result<Option<Propagation>, Error> {
    match word {
        None | Some("") => Ok(None),
        Some(word) => Propagation::parse(word).map(Some).ok_or_else(|| Error::Invalid {
            property: "linux.rootfsPropagation".into(),
            value: word.into(),
            rule: "which is none of (r)shared, (r)slave, (r)private, (r)unbindable",
        }),
    }
}

fn cwd(spec: &Spec) -> Result<PathBuf, Error> {
    let Some(process) = spec.process() else { return Ok("/".into()) };
    if !process.cwd().is_absolute() {
        return Err(invalid("process.cwd".into(), process.cwd(), "which is not an absolute path"));
    }
    Ok(clean(process.cwd()))
}

fn absolute_paths(property: &str, list: &[String]) -> Result<Vec<PathBuf>, Error> {
    let mut paths = Vec::with_capacity(list.len());
    for path in list.iter().map(Path::new) {
        if !path.is_absolute() || clean(path) == Path::new("/") {
            return Err(invalid(property.into(), path, "which is not an absolute path below `/`"));
        }
        paths.push(clean(path));
    }
    Ok(paths)
}

fn invalid(property: String, path: &Path, rule: &'static str) -> Error {
    Error::Invalid { property, value: path.display().to_string(), rule }
}

#[cfg(test)]
mod tests;
