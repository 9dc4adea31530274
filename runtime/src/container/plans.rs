//! Everything about a container that can be decided before anything is made: each room's plan, in one place. What is
//! refused here leaves nothing behind.

use super::notifier;
use crate::cgroup::{self, Location};
use crate::config::{Bundle, Loaded};
use crate::namespaces::{self, Kind};
use crate::network;
use crate::systemd::{self, Manager, Scope, Unit};
use crate::{hooks, process, rootfs, seccomp, terminal};
use oci_spec::runtime::{Hook, LinuxIdMapping, Mount, Spec};
use skiff_contract::id::ContainerId;
use std::path::{Path, PathBuf};

/// What `create` and `run` are asked for.
pub struct Request {
    /// The new container's id.
    pub id: ContainerId,
    /// The opened bundle.
    pub bundle: Bundle,
    /// `--pid-file`
    pub pid_file: Option<PathBuf>,
    /// `--console-socket`
    pub console_socket: Option<PathBuf>,
    /// `--pidfd-socket`
    pub pidfd_socket: Option<PathBuf>,
    /// `--no-pivot`
    pub no_pivot: bool,
    /// `--no-new-keyring`
    pub no_new_keyring: bool,
    /// `--preserve-fds`
    pub preserve_fds: u32,
    /// Descriptors of socket activation in our own environment (sd_listen_fds(3)).
    pub listen: Option<process::Listen>,
    /// Somebody wants to hear when the program is ready (`NOTIFY_SOCKET` in our own environment, sd_notify(3)).
    pub notify: bool,
    /// Who makes the cgroup.
    pub cgroups: Driver,
    /// `--rootless`: whether the container may stay in the cgroup of its maker where none can be made. For users who are not root
    /// if nothing is said.
    pub rootless: Option<bool>,
    /// Who starts the program.
    pub begin: Begin,
}

/// Who makes the cgroup (`--cgroup-manager`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Driver {
    /// We, through the cgroup file systems.
    #[default]
    Cgroupfs,
    /// systemd, as a transient scope.
    Systemd,
    /// Nobody: there is none.
    Disabled,
}

/// Who starts the program, and who holds its terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// A later `start`.
    OnKnock,
    /// This command, which then returns.
    Detached,
    /// This command, which then waits for it.
    Foreground,
}

/// The decisions.
pub struct Plans {
    /// Which namespaces, how.
    pub namespaces: namespaces::Plan,
    /// Where the cgroups are, nowhere when they are disabled, and what is written to them.
    pub cgroup: (Location, cgroup::Plan),
    /// The unit of systemd that makes them.
    pub scope: Option<Scope>,
    /// The user of the host to whom the cgroup of version 2 is given, where the program may write to it.
    pub cgroup_owner: Option<u32>,
    /// Mounts, devices, masks.
    pub rootfs: rootfs::Plan,
    /// User, capabilities, limits, program.
    pub process: process::Plan,
    /// Who decides about system calls that the filter leaves open.
    pub listener: Option<seccomp::Listener>,
    /// `linux.netDevices`
    pub devices: Vec<network::Device>,
    /// `hostname`
    pub hostname: Option<String>,
    /// `domainname`
    pub domainname: Option<String>,
    /// `process.terminal`, and who gets its master end.
    pub console: terminal::Console,
    /// `process.consoleSize`
    pub console_size: Option<terminal::Size>,
    /// prestart and createRuntime, in this order.
    pub runtime_hooks: Vec<(hooks::Kind, Vec<Hook>)>,
    /// createContainer
    pub create_container: Vec<Hook>,
    /// startContainer
    pub start_container: Vec<Hook>,
    /// poststart
    pub poststart: Vec<Hook>,
    /// poststop
    pub poststop: Vec<Hook>,
    /// How many descriptors after standard error reach the program.
    pub preserve: u32,
    /// `--no-pivot`
    pub no_pivot: bool,
    /// Who starts the program.
    pub begin: Begin,
}

impl Plans {
    /// Whether init stops once its root stands: for hooks, for interfaces, or to learn its pid.
    #[must_use]
    pub fn stops(&self) -> bool {
        self.has_hooks() || !self.devices.is_empty()
    }

    /// Whether there are hooks that run before the program, or of which one needs the pid.
    #[must_use]
    pub fn has_hooks(&self) -> bool {
        !self.runtime_hooks.is_empty() || !self.create_container.is_empty() || !self.start_container.is_empty()
    }
}

/// Why a request cannot be granted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// See [`namespaces::Error`].
    #[error(transparent)]
    Namespaces(#[from] namespaces::Error),
    /// See [`cgroup::Error`].
    #[error(transparent)]
    Cgroup(#[from] cgroup::Error),
    /// See [`systemd::Error`].
    #[error(transparent)]
    Systemd(#[from] systemd::Error),
    /// See [`network::Error`].
    #[error(transparent)]
    Network(#[from] network::Error),
    /// See [`rootfs::Error`].
    #[error(transparent)]
    Rootfs(#[from] rootfs::Error),
    /// See [`process::Error`].
    #[error(transparent)]
    Process(#[from] process::Error),
    /// See [`hooks::Error`].
    #[error(transparent)]
    Hooks(#[from] hooks::Error),
    /// See [`terminal::Error`].
    #[error(transparent)]
    Terminal(#[from] terminal::Error),
    /// Only root may make a container without a user namespace.
    #[error(
        "not running as root: without a new `user` namespace in linux.namespaces only root can make a container; run as root, or begin with `skiff spec --rootless`"
    )]
    NotRoot,
    /// The path of the mount namespace leads to ours.
    #[error(
        "linux.namespaces: the path of the `mount` namespace leads to the runtime's own; the container's root would become the machine's: leave the path out"
    )]
    OwnMount,
    /// Which capabilities there are to give cannot be found out.
    #[error("cannot read the capabilities of this process")]
    Capabilities(#[source] std::io::Error),
}

/// Makes every decision, and says what the specification wants warned about. `manager` is who makes the cgroup, if that
/// is systemd.
///
/// # Errors
/// See [`Error`]; each names the member of `config.json` or the flag.
pub fn decide(request: &Request, loaded: &Loaded, manager: Option<&Manager>) -> Result<(Plans, Vec<String>), Error> {
    let spec = &loaded.spec;
    let namespaces = namespaces::plan(spec)?;
    if !rustix::process::geteuid().is_root() && !namespaces.has(Kind::User) {
        return Err(Error::NotRoot);
    }
    let all_hooks = spec.hooks().clone().unwrap_or_default();
    hooks::validate(&all_hooks)?;
    let hooks_of = |kind: hooks::Kind| kind.of(&all_hooks).to_vec();
    let (process, mut warnings) = plan_process(request, spec, &namespaces)?;
    let profile = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    let listener =
        profile.zip(process.seccomp.as_ref()).and_then(|(profile, filter)| seccomp::listener(profile, filter));
    warnings.splice(0..0, loaded.warnings.iter().cloned());
    let runtime_hooks = [hooks::Kind::Prestart, hooks::Kind::CreateRuntime];
    let (cgroup, scope) = match manager {
        Some(manager) => {
            let (location, plan, scope) = plan_scope(request, spec, manager)?;
            ((location, plan), Some(scope))
        }
        None => (plan_cgroup(request, spec)?, None),
    };
    let facts = rootfs_facts(&namespaces)?;
    let devices = spec.linux().as_ref().and_then(|linux| linux.net_devices().as_ref());
    let plans = Plans {
        cgroup_owner: cgroup_owner(spec, &namespaces, &cgroup.0),
        cgroup,
        scope,
        rootfs: rootfs::plan(spec, &facts)?,
        devices: network::plan(devices, facts.network_namespace)?,
        process,
        listener,
        hostname: spec.hostname().clone().filter(|name| !name.is_empty()),
        domainname: spec.domainname().clone().filter(|name| !name.is_empty()),
        console: plan_console(request, spec)?,
        console_size: spec.process().as_ref().map(terminal::size).transpose()?.flatten(),
        runtime_hooks: runtime_hooks
            .map(|kind| (kind, hooks_of(kind)))
            .into_iter()
            .filter(|it| !it.1.is_empty())
            .collect(),
        create_container: hooks_of(hooks::Kind::CreateContainer),
        start_container: hooks_of(hooks::Kind::StartContainer),
        poststart: hooks_of(hooks::Kind::Poststart),
        poststop: hooks_of(hooks::Kind::Poststop),
        preserve: request.preserve_fds + request.listen.as_ref().map_or(0, |listen| listen.count),
        no_pivot: request.no_pivot,
        begin: request.begin,
        namespaces,
    };
    Ok((plans, warnings))
}

fn plan_process(
    request: &Request,
    spec: &Spec,
    namespaces: &namespaces::Plan,
) -> Result<(process::Plan, Vec<String>), Error> {
    let default = oci_spec::runtime::Process::default();
    let process = spec.process().as_ref().unwrap_or(&default);
    let user_namespace = match (namespaces.makes(Kind::User), namespaces.has(Kind::User)) {
        (true, _) => process::UserNamespace::New { uids: &namespaces.uid_mappings, gids: &namespaces.gid_mappings },
        (false, true) => process::UserNamespace::Joined,
        (false, false) => process::UserNamespace::Caller,
    };
    let held = process::capabilities::Held::observe(process.capabilities().as_ref(), namespaces.has(Kind::User))
        .map_err(Error::Capabilities)?;
    let facts = process::Facts {
        user_namespace,
        held,
        keyring_of: Some(request.id.as_str()).filter(|_| !request.no_new_keyring),
        listen: request.listen.as_ref(),
        personality: spec.linux().as_ref().and_then(|linux| linux.personality().as_ref()),
        memory_policy: spec.linux().as_ref().and_then(|linux| linux.memory_policy().as_ref()),
        apparmor: process::apparmor::observe(process),
    };
    let (mut plan, warnings) = process::plan(process, &facts)?;
    let seccomp = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    plan.seccomp = seccomp.map(seccomp::plan).transpose().map_err(process::Error::from)?;
    // Who shares a user namespace with it that is not new, and sees it from a pid namespace above, could reach for it.
    plan.shows = notifier::needs_to_see() && namespaces.makes(Kind::Pid) && namespaces.makes(Kind::User);
    Ok((plan, warnings))
}

fn plan_cgroup(request: &Request, spec: &Spec) -> Result<(Location, cgroup::Plan), Error> {
    let linux = spec.linux().as_ref();
    let resources = linux.and_then(|linux| linux.resources().as_ref());
    let host = match request.cgroups {
        Driver::Disabled => cgroup::Host::disabled(),
        Driver::Cgroupfs | Driver::Systemd => cgroup::Host::detect(resources)?,
    };
    let path = linux.and_then(|linux| linux.cgroups_path().as_deref());
    let location = cgroup::find(&host, path, request.id.as_str())?;
    let plan = cgroup::plan(resources, &host, device_control())?;
    Ok((location, plan))
}

/// A user who is not root may make no device rules, and no device nodes for them to be about.
fn device_control() -> cgroup::DeviceControl {
    let root = rustix::process::geteuid().is_root();
    if root { cgroup::DeviceControl::Enforce } else { cgroup::DeviceControl::Skip }
}

/// The same with the unit that systemd is to make: its place follows from its name.
fn plan_scope(request: &Request, spec: &Spec, manager: &Manager) -> Result<(Location, cgroup::Plan, Scope), Error> {
    let linux = spec.linux().as_ref();
    let resources = linux.and_then(|linux| linux.resources().as_ref());
    let (id, version, user) = (request.id.as_str(), manager.version(), manager.user());
    let place = systemd::place(linux.and_then(|linux| linux.cgroups_path().as_deref()), id, user.is_some())?;
    let mut host = cgroup::Host::detect(resources)?;
    if user.is_some() {
        if host.hierarchies.iter().any(|hierarchy| hierarchy.kind != cgroup::Kind::V2) {
            return Err(systemd::Error::UserWithoutUnified.into());
        }
        host = host.delegated(manager.control_group())?;
    }
    let path = manager.control_group().join(place.path());
    let location = cgroup::find(&host, Some(&path), id)?;
    let control = if user.is_some() { cgroup::DeviceControl::Skip } else { device_control() };
    let plan = cgroup::plan(resources, &host, control)?;
    let devices = match plan.devices {
        cgroup::DevicePlan::Unlimited => None,
        _ => cgroup::allowed(resources.and_then(|resources| resources.devices().as_deref()))?,
    };
    if matches!(&plan.devices, cgroup::DevicePlan::V1(lines) if devices.is_none() && lines.len() > 1) {
        return Err(systemd::Error::DevicesUntold.into());
    }
    let mut properties = systemd::basic(id, &place, &location);
    properties.extend(systemd::devices(devices));
    properties.extend(systemd::limits(&plan.writes, version)?);
    properties.extend(systemd::annotated(spec.annotations().iter().flatten())?);
    let memory = systemd::limits(&plan.memory, version)?;
    let scope = Scope { unit: Unit { name: place.unit, user }, properties, memory };
    Ok((location, plan, scope))
}

/// Whose the cgroup is to be: of the program's user, when it has a cgroup namespace, version 2 alone, and a mount of it
/// that is not read-only (config-linux.md, "Cgroup ownership"). Root of the host needs no gift.
fn cgroup_owner(spec: &Spec, namespaces: &namespaces::Plan, location: &Location) -> Option<u32> {
    let unified = location.dirs.iter().all(|dir| dir.kind == cgroup::Kind::V2) && !location.dirs.is_empty();
    let writable = |mount: &Mount| {
        let kind = mount.typ().as_deref().unwrap_or_default();
        let read_only = mount.options().iter().flatten().any(|option| option == "ro" || option == "rro");
        matches!(kind, "cgroup" | "cgroup2") && !read_only
    };
    if !unified || !namespaces.makes(Kind::Cgroup) || !spec.mounts().iter().flatten().any(writable) {
        return None;
    }
    let uid = spec.process().as_ref()?.user().uid();
    let host = if namespaces.makes(Kind::User) { on_host(uid, &namespaces.uid_mappings)? } else { uid };
    Some(host).filter(|host| *host != 0 && rustix::process::geteuid().is_root())
}

fn on_host(uid: u32, mappings: &[LinuxIdMapping]) -> Option<u32> {
    mappings.iter().find_map(|mapping| {
        let offset = uid.checked_sub(mapping.container_id()).filter(|offset| *offset < mapping.size())?;
        mapping.host_id().checked_add(offset)
    })
}

/// A path may lead to a namespace of our own: joining that is as good as not having one, but for the mount namespace,
/// whose root would be taken from everybody in it.
fn rootfs_facts(namespaces: &namespaces::Plan) -> Result<rootfs::Facts, Error> {
    let own = |kind: Kind| namespaces.join.iter().any(|(joined, path)| *joined == kind && is_own(kind, path));
    if own(Kind::Mount) {
        return Err(Error::OwnMount);
    }
    let has = |kind| namespaces.has(kind) && !own(kind);
    Ok(rootfs::Facts {
        user_namespace: has(Kind::User),
        mount_namespace: namespaces.has(Kind::Mount),
        ipc_namespace: has(Kind::Ipc),
        network_namespace: has(Kind::Network),
        uts_namespace: has(Kind::Uts),
        cgroup_namespace: has(Kind::Cgroup),
    })
}

/// Whether a namespace is that of this process. One that cannot be looked at is reported when it is opened.
fn is_own(kind: Kind, path: &Path) -> bool {
    let identity = |path: &Path| rustix::fs::stat(path).map(|stat| (stat.st_dev, stat.st_ino)).ok();
    let theirs = identity(path);
    theirs.is_some() && theirs == identity(&Path::new("/proc/self/ns").join(kind.file()))
}

fn plan_console(request: &Request, spec: &Spec) -> Result<terminal::Console, Error> {
    let wanted = spec.process().as_ref().and_then(|process| process.terminal()).unwrap_or(false);
    let detached = request.begin != Begin::Foreground;
    Ok(terminal::plan(wanted, request.console_socket.as_deref(), detached)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::LinuxIdMappingBuilder;

    #[test]
    fn ids_are_found_on_the_host() {
        let mapping = |container: u32, host: u32, size: u32| {
            LinuxIdMappingBuilder::default().container_id(container).host_id(host).size(size).build().unwrap()
        };
        let mappings = [mapping(0, 100_000, 10), mapping(10, 5, 1)];
        let cases = [(0, Some(100_000)), (9, Some(100_009)), (10, Some(5)), (11, None)];
        for (uid, host) in cases {
            assert_eq!(on_host(uid, &mappings), host, "{uid}");
        }
    }

    #[test]
    fn a_writable_cgroup_is_given_to_the_programs_user() {
        let owner = |options: &str, kinds: &[&str], dirs: &str| {
            let namespaces: Vec<String> = kinds.iter().map(|kind| format!(r#"{{"type":"{kind}"}}"#)).collect();
            let text = format!(
                r#"{{"ociVersion":"1.0.2","root":{{"path":"r"}},"process":{{"cwd":"/","user":{{"uid":7,"gid":0}}}},
                   "mounts":[{{"destination":"/c","type":"cgroup","source":"c","options":[{options}]}}],
                   "linux":{{"namespaces":[{}]}}}}"#,
                namespaces.join(",")
            );
            let spec: Spec = serde_json::from_str(&text).unwrap();
            let location: Location = serde_json::from_str(dirs).unwrap();
            cgroup_owner(&spec, &namespaces::plan(&spec).unwrap(), &location)
        };
        let v2 = r#"{"dirs":[{"kind":"v2","mount":"/c","path":"/c/x"}]}"#;
        let root = rustix::process::geteuid().is_root();
        assert_eq!(owner(r#""rw""#, &["mount", "cgroup"], v2), Some(7).filter(|_| root));
        assert_eq!(owner(r#""ro""#, &["mount", "cgroup"], v2), None);
        assert_eq!(owner(r#""rw""#, &["mount"], v2), None);
        assert_eq!(owner(r#""rw""#, &["mount", "cgroup"], r#"{"dirs":[]}"#), None);
    }
}
