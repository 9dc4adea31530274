//! Documents in small, for the tests of all rooms.

use crate::desired::{Blueprint, Desired};
use crate::health;
use crate::moment::Moment;
use crate::name::{Digest, InstanceId, ReleaseId};
use crate::observed::{Instance, State};
use crate::release::{Release, Service};
use serde_json::{Value, json};

/// A release with these services.
pub(crate) fn release(services: Value) -> Release {
    let document = json!({
        "apiVersion": "skiff.dev/v1", "kind": "Release",
        "metadata": {"name": "shop", "version": "1"}, "services": services
    });
    serde_json::from_value(document).unwrap()
}

/// A service that is `extra` beside its bundle.
pub(crate) fn service(extra: Value) -> Service {
    let mut document = json!({"bundle": "/srv/app"});
    document.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    serde_json::from_value(document).unwrap()
}

/// `1` and a digest that is as different as the text.
pub(crate) fn release_id(version: &str) -> ReleaseId {
    let digest = version.bytes().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    ReleaseId { version: version.into(), digest: format!("sha256:{digest:0>64}").parse::<Digest>().unwrap() }
}

/// What a release of this version with these services wants.
pub(crate) fn desired(version: &str, services: Value) -> Desired {
    let services = services.as_object().unwrap().iter();
    let services = services.map(|(name, extra)| (name.parse().unwrap(), service(extra.clone())));
    Desired { release: release_id(version), services: services.collect() }
}

/// What an instance of such a service is made from.
pub(crate) fn blueprint(version: &str, extra: Value) -> Blueprint {
    Blueprint { release: release_id(version), service: service(extra) }
}

/// Such an instance of version 1, of which no probe has told anything.
pub(crate) fn instance(extra: Value, state: State) -> Instance {
    let blueprint = blueprint("1", extra);
    let limits = blueprint.service.deploy.resources.limits.clone();
    let health = health::fresh(&blueprint.service, Moment(0));
    Instance { blueprint, state, health, limits, busy: false }
}

/// `web-0`
pub(crate) fn id(text: &str) -> InstanceId {
    text.parse().unwrap()
}

/// A `config.json` as `runc spec` writes it.
pub(crate) fn config() -> Value {
    let mount = |place: &str, kind: &str, options: Value| json!({"destination": place, "type": kind, "source": kind, "options": options});
    let asked = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": true, "user": {"uid": 0, "gid": 0}, "args": ["sh"], "cwd": "/",
            "env": ["PATH=/usr/bin:/bin", "TERM=xterm"],
            "capabilities": {"bounding": asked, "effective": asked, "permitted": asked},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "runc",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            mount("/dev", "tmpfs", json!(["nosuid", "strictatime", "mode=755", "size=65536k"])),
            mount("/dev/pts", "devpts", json!(["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"])),
            mount("/dev/shm", "tmpfs", json!(["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"])),
            mount("/dev/mqueue", "mqueue", json!(["nosuid", "noexec", "nodev"])),
            mount("/sys", "sysfs", json!(["nosuid", "noexec", "nodev", "ro"])),
            mount("/sys/fs/cgroup", "cgroup", json!(["nosuid", "noexec", "nodev", "relatime", "ro"]))
        ],
        "linux": {
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [
                {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "cgroup"}
            ],
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/mine"],
            "readonlyPaths": ["/proc/bus"]
        }
    })
}
