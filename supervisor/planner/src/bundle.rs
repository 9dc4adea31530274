//! The configuration of one instance: from the bundle's `config.json`, which comes from somewhere else, to what is run.
//!
//! The bundle says what the program is; the service says how it runs; and whatever reaches beyond the container is this
//! module's alone. A key that would reach further than the safe defaults, and every key that is not known here, is refused
//! by name: a bundle that asks for something must not run without it, and a bundle of a fleet must not have more than the
//! release says. Keys that are empty ask for nothing.
//!
//! | from the bundle | from the service | always |
//! |---|---|---|
//! | program, variables, user, folder | replaces them, adds variables | no terminal |
//! | capabilities, as far as they are among eleven | adds and takes away | none inherited, none ambient, no new privileges |
//! | extra tmpfs mounts | a writable root | the kernel's file systems, masked and read-only paths |
//! | limit of open files, below the default | memory, processors, processes | swap 0, processes 512, no devices but the usual |
//! | annotations that drive nothing | the network: none or the host's | namespaces of its own, group and names |

use crate::desired::Blueprint;
use crate::name::InstanceId;
use crate::release::{NetworkMode, Service};
use serde_json::{Map, Value, json};
use std::fmt;

mod capabilities;
mod mounts;
mod process;
mod resources;
#[cfg(test)]
mod tests;

pub use resources::limits_document;

/// What is known of an instance beside its bundle's configuration.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// Which.
    pub instance: &'a InstanceId,
    /// What it is made from.
    pub blueprint: &'a Blueprint,
    /// The absolute path of the bundle's folder.
    pub folder: &'a str,
    /// Where its cgroup is, if that is known already.
    pub cgroups_path: Option<&'a str>,
    /// The machine's cgroups have `memory.oom.group`: cgroup v2 with its memory controller.
    pub oom_group: bool,
    /// The most open files that can be given to a program here: without CAP_SYS_RESOURCE a hard limit only goes down.
    pub open_files: u64,
}

/// A safe default that does not hold on this machine or in this version, for `skiffctl inspect`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NotEnforced {
    /// Which.
    pub what: &'static str,
    /// Why not.
    pub why: &'static str,
}

impl fmt::Display for NotEnforced {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.what, self.why)
    }
}

/// Why a bundle cannot be run.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// It is something else.
    #[error("the `config.json` of `{0}` is not a JSON object; write an OCI configuration, as `skiff spec` does")]
    NotAConfiguration(InstanceId),
    /// It asks for what it cannot have.
    #[error("the bundle of `{instance}` is refused: {}", list(refusals))]
    Refused {
        /// Whose.
        instance: InstanceId,
        /// All that was found.
        refusals: Vec<Refusal>,
    },
}

/// One key that is refused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    /// `linux.devices`
    pub key: String,
    /// Why, and what to do instead.
    pub why: String,
}

fn list(refusals: &[Refusal]) -> String {
    let texts: Vec<_> = refusals.iter().map(|refusal| format!("`{}` {}", refusal.key, refusal.why)).collect();
    texts.join(", ")
}

/// The configuration to run, and which safe defaults do not hold.
///
/// # Errors
/// [`Error`], with every key that is refused.
pub fn derive(config: &Value, facts: &Facts<'_>) -> Result<(Value, Vec<NotEnforced>), Error> {
    let Some(config) = config.as_object() else { return Err(Error::NotAConfiguration(facts.instance.clone())) };
    let mut refusals = Refusals::default();
    let service = &facts.blueprint.service;
    let top = ["ociVersion", "process", "root", "hostname", "domainname", "mounts", "annotations", "linux"];
    refusals.unknown("", config, &top);
    let linux = refusals.object(config, "", "linux");
    let process = process::derive(&mut refusals, config.get("process"), service, facts.open_files);
    let mut derived = Map::new();
    derived.insert("ociVersion".into(), refusals.text(config, "", "ociVersion").unwrap_or("1.0.2").into());
    derived.insert("root".into(), root(&mut refusals, config, facts));
    derived.insert("mounts".into(), mounts::derive(&mut refusals, config.get("mounts"), service, &process));
    derived.insert("process".into(), process);
    derived.insert("hostname".into(), hostname(facts).into());
    if let Some(domain) = refusals.text(config, "", "domainname").filter(|domain| !domain.is_empty()) {
        derived.insert("domainname".into(), domain.into());
    }
    derived.insert("annotations".into(), annotations(&mut refusals, config, facts));
    derived.insert("linux".into(), self::linux(&mut refusals, &linux, facts));
    if refusals.found.is_empty() {
        Ok((Value::Object(derived), not_enforced(facts)))
    } else {
        Err(Error::Refused { instance: facts.instance.clone(), refusals: refusals.found })
    }
}

fn hostname(facts: &Facts<'_>) -> String {
    facts.blueprint.service.hostname.clone().unwrap_or_else(|| facts.instance.to_string())
}

fn root(refusals: &mut Refusals, config: &Map<String, Value>, facts: &Facts<'_>) -> Value {
    let root = refusals.object(config, "", "root");
    refusals.unknown("root", &root, &["path", "readonly"]);
    let path = refusals.text(&root, "root", "path").unwrap_or("");
    let inside = !path.starts_with('/') && path.split('/').all(|part| part != "..") && !path.trim().is_empty();
    if !inside {
        refusals
            .refuse("root.path", "is not a folder of the bundle; write it relative to `config.json`, as in `rootfs`");
    }
    json!({"path": format!("{}/{path}", facts.folder.trim_end_matches('/')), "readonly": facts.blueprint.service.read_only})
}

/// Annotations can drive runtimes, shims and systemd: those are the release's to say, not the bundle's.
const DRIVING: [&str; 6] =
    ["io.containerd.", "io.kubernetes.", "io.skiff.", "org.systemd.property.", "run.oci.", "org.criu."];

fn annotations(refusals: &mut Refusals, config: &Map<String, Value>, facts: &Facts<'_>) -> Value {
    let mut annotations = refusals.object(config, "", "annotations");
    for (key, value) in &annotations {
        if !value.is_string() {
            refusals.refuse(&format!("annotations.{key}"), "is not a text");
        } else if DRIVING.iter().any(|prefix| key.starts_with(prefix)) {
            refusals.refuse(&format!("annotations.{key}"), "would drive the runtime; remove it");
        }
    }
    let release = &facts.blueprint.release;
    let own = [
        ("io.containerd.runc.v2.group", facts.instance.service.as_str()),
        ("io.skiff.instance", &facts.instance.to_string()),
        ("io.skiff.release", &release.version),
        ("io.skiff.release.digest", release.digest.as_str()),
        ("io.skiff.service", facts.instance.service.as_str()),
    ];
    annotations.extend(own.map(|(key, value)| (key.to_owned(), Value::from(value))));
    Value::Object(annotations)
}

/// Docker's lists, and what has been added to them since.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The namespaces of every instance; that of the network is left out where the service has the host's.
const NAMESPACES: [&str; 6] = ["pid", "network", "ipc", "uts", "mount", "cgroup"];

fn linux(refusals: &mut Refusals, linux: &Map<String, Value>, facts: &Facts<'_>) -> Value {
    let known = ["namespaces", "resources", "maskedPaths", "readonlyPaths", "rootfsPropagation"];
    refusals.unknown("linux", linux, &known);
    check_namespaces(refusals, linux);
    let propagation = refusals.text(linux, "linux", "rootfsPropagation").unwrap_or("");
    if !["", "private", "rprivate"].contains(&propagation) {
        let why = "is not `private`: what is mounted outside and inside would be seen on the other side; remove it";
        refusals.refuse("linux.rootfsPropagation", why);
    }
    let service = &facts.blueprint.service;
    let own = |kind: &&str| *kind != "network" || service.network_mode == NetworkMode::None;
    let namespaces: Vec<_> = NAMESPACES.iter().copied().filter(own).map(|kind| json!({"type": kind})).collect();
    let mut derived = json!({
        "namespaces": namespaces,
        "resources": resources::derive(refusals, linux, service, facts.oom_group),
        "maskedPaths": paths(refusals, linux, "maskedPaths", &MASKED),
        "readonlyPaths": paths(refusals, linux, "readonlyPaths", &READ_ONLY),
    });
    if let Some(path) = facts.cgroups_path {
        derived["cgroupsPath"] = path.into();
    }
    derived
}

/// The bundle may hide more than the default, not less.
fn paths(refusals: &mut Refusals, linux: &Map<String, Value>, key: &str, default: &[&str]) -> Vec<String> {
    let mut paths: Vec<String> = default.iter().copied().map(str::to_owned).collect();
    for path in refusals.texts(linux.get(key), &format!("linux.{key}")) {
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    paths
}

fn check_namespaces(refusals: &mut Refusals, linux: &Map<String, Value>) {
    for namespace in refusals.list(linux.get("namespaces"), "linux.namespaces") {
        let kind = namespace.get("type").and_then(Value::as_str).unwrap_or("");
        let key = format!("linux.namespaces.{kind}");
        if namespace.get("path").is_some_and(|path| !is_empty(path)) {
            refusals.refuse(&key, "joins a namespace of the machine by its path; remove the path");
        }
        if kind == "user" {
            refusals.refuse(&key, "is not built yet for services; make the bundle for root, as `skiff spec` does");
        } else if !NAMESPACES.contains(&kind) {
            refusals.refuse(&key, "is not known; remove it");
        }
    }
}

fn not_enforced(facts: &Facts<'_>) -> Vec<NotEnforced> {
    let Service { read_only, deploy, .. } = &facts.blueprint.service;
    let mut list = vec![
        NotEnforced { what: "seccomp default profile", why: "not built yet" },
        NotEnforced {
            what: "user namespace",
            why: "not built yet: root inside is root outside, with fewer capabilities",
        },
        NotEnforced { what: "AppArmor profile", why: "not built yet" },
    ];
    if !facts.oom_group {
        let why = "this machine has no memory controller of cgroup v2: at the limit one process is killed, not all";
        list.push(NotEnforced { what: "memory.oom.group", why });
    }
    if !read_only {
        let why = "`read_only: false`: what is written stays in the bundle until the release changes it";
        list.push(NotEnforced { what: "read-only root", why });
    }
    if !read_only && deploy.replicas.0 > 1 {
        let why = "`read_only: false` with replicas: they write into one root file system";
        list.push(NotEnforced { what: "root of its own", why });
    }
    list
}

/// What is refused, as it is found. Reading a key of another type than its own is a refusal as well.
#[derive(Default)]
struct Refusals {
    found: Vec<Refusal>,
}

impl Refusals {
    fn refuse(&mut self, key: &str, why: &str) {
        self.found.push(Refusal { key: key.to_owned(), why: why.to_owned() });
    }

    /// Every key but the `known` ones, unless it is empty. Where there is a better word for it, that is given.
    fn unknown(&mut self, parent: &str, object: &Map<String, Value>, known: &[&str]) {
        for (key, value) in object {
            if !known.contains(&key.as_str()) && !is_empty(value) {
                let full = if parent.is_empty() { key.clone() } else { format!("{parent}.{key}") };
                let why = REASONS.iter().find(|(known, _)| *known == full).map_or(UNKNOWN, |(_, why)| why);
                self.refuse(&full, why);
            }
        }
    }

    fn object(&mut self, parent: &Map<String, Value>, path: &str, key: &str) -> Map<String, Value> {
        match parent.get(key) {
            Some(Value::Object(object)) => object.clone(),
            None | Some(Value::Null) => Map::new(),
            Some(_) => {
                self.refuse(&join(path, key), "is not an object");
                Map::new()
            }
        }
    }

    fn text<'v>(&mut self, parent: &'v Map<String, Value>, path: &str, key: &str) -> Option<&'v str> {
        match parent.get(key) {
            Some(Value::String(text)) => Some(text),
            None | Some(Value::Null) => None,
            Some(_) => {
                self.refuse(&join(path, key), "is not a text");
                None
            }
        }
    }

    fn list<'v>(&mut self, value: Option<&'v Value>, key: &str) -> &'v [Value] {
        match value {
            Some(Value::Array(list)) => list,
            None | Some(Value::Null) => &[],
            Some(_) => {
                self.refuse(key, "is not a list");
                &[]
            }
        }
    }

    fn texts(&mut self, value: Option<&Value>, key: &str) -> Vec<String> {
        let texts: Option<Vec<_>> = self.list(value, key).iter().map(|it| it.as_str().map(str::to_owned)).collect();
        texts.unwrap_or_else(|| {
            self.refuse(key, "is not a list of texts");
            Vec::new()
        })
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Null, or an empty text, list or object: it asks for nothing.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(object) => object.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

const UNKNOWN: &str = "is not honoured for services; remove it";
const NOT_BUILT: &str = "cannot be enforced by `skiff` yet; remove it";
const LIMITS: &str = "is the release's to say; write `deploy.resources.limits`";

/// Keys that people do write, and why a service cannot have them from its bundle.
const REASONS: [(&str, &str); 20] = [
    ("hooks", "would run programs on the machine itself; do it in the container, or in a unit of the machine"),
    ("linux.devices", "would open devices of the machine, which is not built yet for services; remove it"),
    ("linux.seccomp", UNKNOWN),
    ("linux.mountLabel", NOT_BUILT),
    ("linux.intelRdt", NOT_BUILT),
    ("linux.sysctl", "would change the kernel's settings; remove it"),
    ("linux.uidMappings", "needs a user namespace, which is not built yet for services; remove it"),
    ("linux.gidMappings", "needs a user namespace, which is not built yet for services; remove it"),
    ("linux.cgroupsPath", "is chosen by skiffd; remove it"),
    ("linux.resources.memory", LIMITS),
    ("linux.resources.cpu", LIMITS),
    ("linux.resources.pids", LIMITS),
    ("linux.resources.blockIO", LIMITS),
    ("linux.resources.hugepageLimits", LIMITS),
    ("linux.resources.unified", LIMITS),
    ("process.apparmorProfile", NOT_BUILT),
    ("process.selinuxLabel", NOT_BUILT),
    ("process.scheduler", "would take processors from the machine; remove it"),
    ("process.ioPriority", "would take the disk from the machine; remove it"),
    ("process.oomScoreAdj", "below 0 would let the kernel kill the machine's programs first; remove it"),
];
