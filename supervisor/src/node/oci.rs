//! The last words of a configuration: what is known only where the instance is made. And what a shim is told beside it.

use super::error::Error;
use super::{Log, Settings, systemd};
use containerd_shim_protos::shim::oci::Options;
use protobuf::Message;
use protobuf::well_known_types::any::Any;
use serde_json::{Map, Value, json};
use skiff_planner::name::{InstanceId, ServiceName};
use std::path::Path;

/// The annotation on which every containerd shim groups containers.
const GROUP: &str = "io.containerd.runc.v2.group";

/// The configuration with its group, an absolute root path and its cgroup.
///
/// # Errors
/// [`Error::Config`]
pub(super) fn complete(
    mut config: Value,
    instance: &InstanceId,
    bundle: &Path,
    settings: &Settings,
) -> Result<Value, Error> {
    let bad = |member| Error::Config { instance: instance.clone(), member };
    let group = instance.service.as_str();
    member(&mut config, "annotations").ok_or_else(|| bad("annotations"))?.insert(GROUP.into(), group.into());
    let path = cgroups_path(settings, instance);
    member(&mut config, "linux").ok_or_else(|| bad("linux"))?.insert("cgroupsPath".into(), path.into());
    let root = member(&mut config, "root").ok_or_else(|| bad("root"))?;
    let absolute = match root.get("path").and_then(Value::as_str) {
        // An absolute path takes the place of the bundle's (Path::join).
        Some(path) if !path.is_empty() => bundle.join(path),
        Some(_) | None => return Err(bad("root.path")),
    };
    root.insert("path".into(), absolute.to_str().ok_or_else(|| bad("root.path"))?.into());
    Ok(config)
}

fn member<'a>(config: &'a mut Value, name: &str) -> Option<&'a mut Map<String, Value>> {
    config.as_object_mut()?.entry(name).or_insert_with(|| json!({})).as_object_mut()
}

/// Where the cgroup of an instance is.
pub(super) fn cgroups_path(settings: &Settings, instance: &InstanceId) -> String {
    if settings.systemd {
        format!("{}/{instance}", systemd::cgroup(&instance.service))
    } else {
        format!("{}/{instance}", settings.cgroup.trim_end_matches('/'))
    }
}

/// The least that a shim reads of a configuration before it has a container: which group it is for.
pub(super) fn group_document(service: &ServiceName) -> Value {
    json!({"ociVersion": "1.0.2", "annotations": {GROUP: service.as_str()}})
}

/// Which runtime a shim uses, and where its state is.
pub(super) fn options(settings: &Settings) -> Any {
    let options = Options {
        binary_name: settings.runtime.to_string_lossy().into_owned(),
        root: settings.runtime_root.to_string_lossy().into_owned(),
        ..Default::default()
    };
    let value = options.write_to_bytes().expect("a message in memory is written to memory");
    Any { type_url: "containerd.runc.v1.Options".into(), value, ..Default::default() }
}

/// Where the output of an instance goes, as a shim is told.
pub(super) fn output(log: Log, path: &Path) -> String {
    match log {
        Log::Rotated { max_size, max_files } => {
            format!("rotate://{}?max-size={max_size}&max-files={max_files}", path.display())
        }
        Log::Plain => format!("file://{}", path.display()),
    }
}

/// A process for a probe: the container's own, with other arguments.
pub(super) fn probe_process(config: &Value, arguments: &[String]) -> Option<Value> {
    let mut process = config.get("process")?.clone();
    let members = process.as_object_mut()?;
    members.insert("args".into(), arguments.into());
    members.insert("terminal".into(), false.into());
    members.remove("consoleSize");
    Some(process)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(systemd: bool) -> Settings {
        Settings {
            run: "/run/skiff".into(),
            logs: "/var/log/skiff".into(),
            shim: "/usr/bin/containerd-shim-skiff-v1".into(),
            runtime: "/usr/bin/skiff".into(),
            runtime_root: "/run/skiff/runtime".into(),
            systemd,
            cgroup: "/skiff/".into(),
            log: Log::Plain,
        }
    }

    #[test]
    fn a_configuration_is_completed() {
        let instance = "web-0".parse().unwrap();
        let config =
            json!({"root": {"path": "rootfs"}, "linux": {"cgroupsPath": "/stolen"}, "annotations": {"a": "b"}});
        let complete = |config, systemd| complete(config, &instance, Path::new("/b"), &settings(systemd));
        let expected = json!({
            "root": {"path": "/b/rootfs"},
            "linux": {"cgroupsPath": "/skiff/web-0"},
            "annotations": {"a": "b", "io.containerd.runc.v2.group": "web"},
        });
        assert_eq!(complete(config.clone(), false).unwrap(), expected);
        let systemd = complete(config, true).unwrap();
        assert_eq!(systemd["linux"]["cgroupsPath"], "/skiff.slice/skiff-web.service/web-0");
        assert_eq!(complete(json!({"root": {"path": "/r"}}), false).unwrap()["root"]["path"], "/r");
        for bad in [json!([]), json!({}), json!({"root": {"path": ""}}), json!({"root": {"path": "r"}, "linux": 1})] {
            assert!(matches!(complete(bad.clone(), false), Err(Error::Config { .. })), "{bad}");
        }
    }

    #[test]
    fn what_a_shim_is_told() {
        let any = options(&settings(false));
        let options = Options::parse_from_bytes(&any.value).unwrap();
        assert_eq!((options.binary_name.as_str(), options.root.as_str()), ("/usr/bin/skiff", "/run/skiff/runtime"));
        let path = Path::new("/l/web-0.log");
        assert_eq!(output(Log::Plain, path), "file:///l/web-0.log");
        let log = Log::Rotated { max_size: 8, max_files: 3 };
        assert_eq!(output(log, path), "rotate:///l/web-0.log?max-size=8&max-files=3");
        let config = json!({"process": {"args": ["httpd"], "terminal": true, "consoleSize": {}, "cwd": "/"}});
        let process = probe_process(&config, &["true".into()]).unwrap();
        assert_eq!(process, json!({"args": ["true"], "terminal": false, "cwd": "/"}));
        assert_eq!(probe_process(&json!({}), &[]), None);
    }
}
