//! What is mounted in an instance: the kernel's file systems, always the same, and tmpfs.

use super::{Refusals, is_empty};
use crate::release::Service;
use serde_json::{Value, json};

/// The kernel's file systems: where, of which type, and how.
const KERNEL: [(&str, &str, &[&str]); 7] = [
    ("/proc", "proc", &["nosuid", "noexec", "nodev"]),
    ("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
    ("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
    ("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
    ("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    ("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
];

/// Options that a bundle's tmpfs may have.
const PLAIN: [&str; 12] = [
    "defaults",
    "nosuid",
    "nodev",
    "noexec",
    "exec",
    "rw",
    "ro",
    "relatime",
    "norelatime",
    "noatime",
    "strictatime",
    "tmpcopyup",
];
const VALUED: [&str; 5] = ["size=", "mode=", "uid=", "gid=", "nr_inodes="];

/// `process` is the derived one: `/run` belongs to its user.
pub(super) fn derive(refusals: &mut Refusals, bundled: Option<&Value>, service: &Service, process: &Value) -> Value {
    let mut mounts: Vec<Value> = KERNEL
        .iter()
        .map(|(place, kind, options)| json!({"destination": place, "type": kind, "source": kind, "options": options}))
        .collect();
    for mount in refusals.list(bundled, "mounts") {
        match check(refusals, mount) {
            Ok(Some(tmpfs)) => mounts.push(tmpfs),
            Ok(None) => {}
            Err((place, why)) => refusals.refuse(&format!("mounts.{place}"), &why),
        }
    }
    if service.read_only {
        let owner = |key: &str| format!("{key}={}", process["user"][key]);
        for (place, mode) in [("/tmp", "mode=1777"), ("/run", "mode=755")] {
            if !mounts.iter().any(|mount| mount["destination"] == place) {
                let options = ["nosuid".to_owned(), "nodev".into(), mode.into(), owner("uid"), owner("gid")];
                mounts.push(json!({"destination": place, "type": "tmpfs", "source": "tmpfs", "options": options}));
            }
        }
    }
    mounts.into()
}

/// One mount of the bundle: a tmpfs to add, nothing where it is one that there is anyway, or why it is refused.
fn check(refusals: &mut Refusals, mount: &Value) -> Result<Option<Value>, (String, String)> {
    let written = mount.get("destination").and_then(Value::as_str).unwrap_or("");
    let refuse = |why: &str| (written.to_owned(), why.to_owned());
    let place = normal(written).ok_or_else(|| refuse("is not an absolute path without `..`"))?;
    let kind = mount.get("type").and_then(Value::as_str).unwrap_or("");
    let options = refusals.texts(mount.get("options"), &format!("mounts.{written}.options"));
    if let Some(object) = mount.as_object() {
        refusals.unknown(&format!("mounts.{written}"), object, &["destination", "type", "source", "options"]);
    }
    let bind = |option: &String| ["bind", "rbind"].contains(&option.as_str());
    if options.iter().any(bind) || ["bind", "rbind", "none", ""].contains(&kind) {
        let why = "would show a path of the machine, and volumes are not built yet; put the files into the bundle";
        return Err(refuse(why));
    }
    if let Some((_, known, _)) = KERNEL.iter().find(|(known, ..)| *known == place) {
        let same = kind == *known || (*known == "cgroup" && kind == "cgroup2");
        return if same { Ok(None) } else { Err(refuse(&format!("is always of type `{known}`; remove it"))) };
    }
    if kind != "tmpfs" {
        return Err(refuse(&format!("has the type `{kind}`; a service can have `tmpfs` alone")));
    }
    if place == "/" || place.starts_with("/proc/") || place.starts_with("/sys/") {
        return Err(refuse("would cover what the container is made of; remove it"));
    }
    let known = |option: &String| {
        PLAIN.contains(&option.as_str())
            || VALUED.iter().any(|prefix| option.strip_prefix(prefix).is_some_and(|value| !value.contains(',')))
    };
    if let Some(option) = options.iter().find(|option| !known(option)) {
        return Err(refuse(&format!("has the option `{option}`, which a service cannot have; remove it")));
    }
    let mut all = options;
    for always in ["nosuid", "nodev"] {
        if !all.iter().any(|option| option == always) {
            all.push(always.into());
        }
    }
    all.retain(|option| !is_empty(&Value::from(option.as_str())));
    Ok(Some(json!({"destination": place, "type": "tmpfs", "source": "tmpfs", "options": all})))
}

/// `/a/b` for every spelling of it; none for what is not absolute or goes up.
fn normal(path: &str) -> Option<String> {
    let parts: Vec<_> = path.strip_prefix('/')?.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let plain = parts.iter().all(|part| *part != ".." && !part.contains('\0'));
    plain.then(|| format!("/{}", parts.join("/")))
}
