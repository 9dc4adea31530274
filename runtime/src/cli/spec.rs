//! `skiff spec`: an example configuration to begin with, with runc's defaults.

use anyhow::Context;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

const EXAMPLE: &str = include_str!("spec/example.json");

pub(super) fn spec(bundle: &Path, rootless: bool) -> anyhow::Result<ExitCode> {
    let path = bundle.join("config.json");
    let text = if rootless {
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        serde_json::to_string_pretty(&for_user(uid, gid)?)? + "\n"
    } else {
        EXAMPLE.to_owned()
    };
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(CWD, &path, flags, Mode::from_raw_mode(0o666)) {
        Ok(file) => file,
        Err(Errno::EXIST) => anyhow::bail!("`{}` exists; remove it first", path.display()),
        Err(errno) => return Err(errno).with_context(|| format!("cannot create `{}`", path.display())),
    };
    File::from(file).write_all(text.as_bytes()).with_context(|| format!("cannot write `{}`", path.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// The example for a user who is not root: a user namespace with that user's ids, the host's network, and nothing that
/// an unprivileged mount or cgroup cannot have.
fn for_user(uid: u32, gid: u32) -> anyhow::Result<Value> {
    let mut document: Value = serde_json::from_str(EXAMPLE)?;
    let linux = document["linux"].as_object_mut().context("the example has a linux section")?;
    linux.remove("resources");
    linux.insert("uidMappings".into(), json!([{ "containerID": 0, "hostID": uid, "size": 1 }]));
    linux.insert("gidMappings".into(), json!([{ "containerID": 0, "hostID": gid, "size": 1 }]));
    // They come with the host's /sys, and some of them are the user's own to write to (CVE-2023-25809).
    let masked = linux.get_mut("maskedPaths").and_then(Value::as_array_mut).context("the example masks paths")?;
    masked.push(json!("/sys/fs/cgroup"));
    let namespaces = linux.get_mut("namespaces").and_then(Value::as_array_mut).context("the example has namespaces")?;
    namespaces.retain(|namespace| namespace["type"] != "network");
    namespaces.push(json!({ "type": "user" }));
    let mounts = document["mounts"].as_array_mut().context("the example has mounts")?;
    mounts.retain(|mount| mount["destination"] != "/sys" && mount["destination"] != "/sys/fs/cgroup");
    for mount in mounts.iter_mut() {
        if let Some(options) = mount["options"].as_array_mut() {
            // The ids of the example are not mapped.
            options
                .retain(|option| !option.as_str().is_some_and(|it| it.starts_with("gid=") || it.starts_with("uid=")));
        }
    }
    let options = ["rbind", "nosuid", "noexec", "nodev", "ro"];
    mounts.push(json!({ "destination": "/sys", "type": "none", "source": "/sys", "options": options }));
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::Spec;

    #[test]
    fn both_examples_are_valid() {
        let example: Spec = serde_json::from_str(EXAMPLE).unwrap();
        assert!(crate::namespaces::plan(&example).is_ok());
        let rootless: Spec = serde_json::from_value(for_user(1000, 100).unwrap()).unwrap();
        let plan = crate::namespaces::plan(&rootless).unwrap();
        assert_eq!((plan.uid_mappings[0].host_id(), plan.gid_mappings[0].host_id()), (1000, 100));
        assert!(!plan.has(crate::namespaces::Kind::Network));
    }
}
