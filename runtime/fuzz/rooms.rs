//! From the text of a `config.json` through every room that decides something about it, without asking the machine: what the
//! fuzzer and the mutations in `runtime/tests` have in common.

use std::error::Error;
use std::path::Path;

use oci_spec::runtime::{Process, Spec};
use skiff::cgroup::{self, DeviceControl, Hierarchy, Host, OwnCgroups};
use skiff::namespaces::{self, Kind};
use skiff::process::{self, UserNamespace, capabilities};
use skiff::{config, hooks, network, rootfs, seccomp, systemd, terminal};

/// Nobody asks for an id here.
const ID: &str = "fuzzed";

/// How many steps, writes and instructions were planned, or why it is refused: all causes on one line.
///
/// # Errors
/// The first room's that refuses.
pub(crate) fn decide(text: &[u8]) -> Result<usize, String> {
    if text.len() as u64 > config::LARGEST_CONFIG {
        return Err("larger than what is read".to_owned());
    }
    plan(text).map_err(|error| {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            message.push_str(&format!(": {error}"));
            cause = error.source();
        }
        message
    })
}

fn plan(text: &[u8]) -> Result<usize, Box<dyn Error>> {
    let loaded = config::from_text(text, Path::new("config.json"))?;
    let spec = &loaded.spec;
    let namespaces = namespaces::plan(spec)?;
    hooks::validate(&spec.hooks().clone().unwrap_or_default())?;
    let rootfs = rootfs::plan(spec, &rootfs::Facts::of(spec))?;
    let interfaces = spec.linux().as_ref().and_then(|linux| linux.net_devices().as_ref());
    let interfaces = network::plan(interfaces, namespaces.makes(Kind::Network))?;
    let process = spec.process().as_ref().ok_or("no process")?;
    let planned = plan_process(spec, process, &namespaces)?;
    let profile = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    let filter = profile.map(seccomp::plan).transpose()?;
    let _listener = profile.zip(filter.as_ref()).and_then(|(profile, filter)| seccomp::listener(profile, filter));
    let _console = terminal::plan(process.terminal().unwrap_or(false), None, false)?;
    let _size = terminal::size(process)?;
    let mut writes = 0;
    for host in hosts() {
        writes += plan_cgroup(spec, &host)?;
    }
    let bytes = filter.map_or(0, |filter| filter.to_bytes().len());
    Ok(rootfs.steps.len() + rootfs.nodes.len() + interfaces.len() + planned + writes + bytes)
}

fn plan_process(spec: &Spec, process: &Process, namespaces: &namespaces::Plan) -> Result<usize, Box<dyn Error>> {
    let user_namespace = match (namespaces.makes(Kind::User), namespaces.has(Kind::User)) {
        (true, _) => UserNamespace::New { uids: &namespaces.uid_mappings, gids: &namespaces.gid_mappings },
        (false, true) => UserNamespace::Joined,
        (false, false) => UserNamespace::Caller,
    };
    let facts = process::Facts {
        user_namespace,
        held: capabilities::Held { permitted: !0, bounding: !0 },
        keyring_of: Some(ID),
        listen: None,
        personality: spec.linux().as_ref().and_then(|linux| linux.personality().as_ref()),
        memory_policy: spec.linux().as_ref().and_then(|linux| linux.memory_policy().as_ref()),
        apparmor: true,
    };
    let (plan, _warnings) = process::plan(process, &facts)?;
    Ok(plan.limits.len())
}

/// With version 2 alone, and with version 1.
fn hosts() -> [Host; 2] {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let hierarchy = |kind, mount: &str| Hierarchy { kind, mount: mount.into(), root: "/".to_owned() };
    let controllers = "cpu cpuset memory pids io hugetlb devices freezer blkio net_cls net_prio rdma";
    let old = controllers.split(' ').map(|name| hierarchy(cgroup::Kind::V1(words(name)), &format!("/c/{name}")));
    let unified = Host {
        hierarchies: vec![hierarchy(cgroup::Kind::V2, "/sys/fs/cgroup")],
        v2_controllers: words(controllers),
        ..Host::default()
    };
    [unified, Host { hierarchies: old.collect(), ..Host::default() }]
}

fn plan_cgroup(spec: &Spec, host: &Host) -> Result<usize, Box<dyn Error>> {
    let linux = spec.linux().as_ref();
    let resources = linux.and_then(|linux| linux.resources().as_ref());
    let path = linux.and_then(|linux| linux.cgroups_path().as_deref());
    let location = cgroup::locate(host, path, ID, &OwnCgroups::default())?;
    let plan = cgroup::plan(resources, host, DeviceControl::Enforce)?;
    // What systemd would be told; its own words for a place are others, and a path of the usual kind is none of them.
    if let Ok(place) = systemd::place(path, ID, false) {
        let allowed = cgroup::allowed(resources.and_then(|resources| resources.devices().as_deref()))?;
        let told = [
            systemd::basic(ID, &place, &location),
            systemd::devices(allowed),
            systemd::limits(plan.writes.iter().chain(&plan.memory), 252)?,
            systemd::annotated(spec.annotations().iter().flatten())?,
        ];
        return Ok(plan.writes.len() + plan.memory.len() + told.iter().map(Vec::len).sum::<usize>());
    }
    Ok(plan.writes.len() + plan.memory.len())
}
