//! `skiff features`: what can be enforced, in the form of the specification (features-linux.md). Each list is read
//! from the table that does the work, so that it cannot say more than is true.

use super::print;
use crate::hooks;
use crate::namespaces::Kind;
use crate::process::memory_policy;
use crate::{rootfs, seccomp};
use serde_json::{Value, json};
use std::process::ExitCode;

pub(super) fn features() -> anyhow::Result<ExitCode> {
    print(&(serde_json::to_string_pretty(&document())? + "\n"))
}

fn document() -> Value {
    let mut options = rootfs::options::known();
    options.sort_unstable();
    let capabilities: Vec<String> = {
        let mut all: Vec<String> = caps::all().iter().map(ToString::to_string).collect();
        all.sort_unstable();
        all
    };
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": skiff_contract::document::OCI_VERSION,
        "hooks": hooks::Kind::ALL.map(hooks::Kind::name),
        "mountOptions": options,
        "linux": {
            "namespaces": Kind::ALL.map(Kind::word),
            "capabilities": capabilities,
            "cgroup": { "v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true },
            "seccomp": seccomp(),
            "apparmor": { "enabled": true },
            "selinux": { "enabled": false },
            "intelRdt": { "enabled": false },
            "memoryPolicy": {
                "modes": memory_policy::MODES.map(|(name, ..)| name),
                "flags": memory_policy::FLAGS.map(|(name, ..)| name),
            },
            "mountExtensions": { "idmap": { "enabled": true } },
            "netDevices": { "enabled": true },
        },
        "annotations": { "io.skiff.version": env!("CARGO_PKG_VERSION") },
        // With the systemd driver they change the unit in any way that systemd knows.
        "potentiallyUnsafeConfigAnnotations": ["org.systemd.property."],
    })
}

fn seccomp() -> Value {
    let known = seccomp::FLAGS.map(|(name, _)| name);
    // Those without a bit are taken and need nothing from the kernel.
    let supported = seccomp::FLAGS.iter().filter(|(_, bit)| *bit == 0 || seccomp::kernel_knows(*bit));
    json!({
        "enabled": true,
        "actions": seccomp::ACTIONS,
        "operators": seccomp::OPERATORS,
        "archs": seccomp::arch::OURS.iter().map(|arch| arch.name()).collect::<Vec<_>>(),
        "knownFlags": known,
        "supportedFlags": supported.map(|(name, _)| *name).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_a_document_of_the_specification() {
        let features: oci_spec::runtime::Features = serde_json::from_value(document()).unwrap();
        assert!(features.mount_options().as_ref().is_some_and(|options| options.iter().any(|it| it == "rro")));
    }
}
