//! The plan as data: what a configuration leads to, and what is refused with which words.

use serde_json::{Value, json};

use super::*;

fn spec(edit: impl FnOnce(&mut Value)) -> Spec {
    let mut config = json!({
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs"},
        "process": {"cwd": "/", "user": {"uid": 0, "gid": 0}},
        "mounts": [],
        "linux": {"namespaces": [{"type": "mount"}, {"type": "ipc"}]},
    });
    edit(&mut config);
    serde_json::from_value(config).unwrap()
}

fn planned(edit: impl FnOnce(&mut Value)) -> Plan {
    let spec = spec(edit);
    plan(&spec, &Facts::of(&spec)).unwrap()
}

fn check_refused(edit: impl FnOnce(&mut Value), words: &str) {
    let spec = spec(edit);
    assert_eq!(plan(&spec, &Facts::of(&spec)).unwrap_err().to_string(), words);
}

fn check_mount_refused(mount: Value, words: &str) {
    check_refused(|config| config["mounts"] = json!([mount]), words);
}

#[test]
fn a_dev_of_our_own_comes_first() {
    let plan = planned(|config| config["mounts"] = json!([{"destination": "/dev/pts", "type": "devpts"}]));
    let destinations: Vec<_> = plan.steps.iter().map(|step| step.destination.to_str().unwrap()).collect();
    assert_eq!((plan.dev, destinations), (Some(0), vec!["/dev", "/dev/pts"]));
    assert_eq!(plan.nodes.len(), 6);
}

#[test]
fn the_last_mount_on_dev_decides() {
    let tmpfs = json!({"destination": "dev/", "type": "tmpfs"});
    let bind = json!({"destination": "/dev", "type": "bind", "source": "/dev"});
    let devtmpfs = json!({"destination": "/dev", "type": "devtmpfs"});
    let dev = |mounts: Value| planned(|config| config["mounts"] = mounts).dev;
    assert_eq!(dev(json!([tmpfs])), Some(0));
    assert_eq!(dev(json!([bind, tmpfs])), Some(1));
    assert_eq!(dev(json!([tmpfs, bind])), None);
    assert_eq!(dev(json!([devtmpfs])), None);
}

#[test]
fn a_foreign_dev_is_left_alone() {
    let plan = planned(|config| {
        config["mounts"] = json!([{"destination": "/dev", "type": "bind", "source": "/dev"}]);
        config["linux"]["devices"] = json!([
            {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229},
            {"path": "/srv/fuse", "type": "c", "major": 10, "minor": 229},
        ]);
    });
    let paths: Vec<_> = plan.nodes.iter().map(|node| node.path.to_str().unwrap()).collect();
    assert_eq!(paths, ["/srv/fuse"]);
}

#[test]
fn a_listed_device_replaces_a_default_one() {
    let plan = planned(|config| {
        config["linux"]["devices"] = json!([
            {"path": "/dev/null", "type": "u", "major": 1, "minor": 3, "fileMode": 0o20_600, "uid": 7},
            {"path": "/dev/pipe", "type": "p"},
            {"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2},
        ]);
    });
    assert_eq!(plan.nodes.len(), 7);
    let null = plan.nodes.iter().find(|node| node.path == Path::new("/dev/null")).unwrap();
    assert_eq!((null.kind, null.mode, null.uid), (NodeKind::Character, 0o600, 7));
}

#[test]
fn mounts_are_refused_by_name() {
    let bind = |options: Value| json!({"destination": "/x", "type": "bind", "source": "/", "options": options});
    check_mount_refused(bind(json!(["ro", "colour"])), "`mounts[0].options` has the unknown mount option `colour`");
    check_mount_refused(
        json!({"destination": "/x", "type": "bind"}),
        "`mounts[0].source` is missing; a bind mount needs a path of the host",
    );
    check_mount_refused(
        json!({"destination": "/x", "source": "/y"}),
        "`mounts[0].type` is missing; name a file system, or `bind`",
    );
    check_mount_refused(
        json!({"destination": "/x/..", "type": "tmpfs"}),
        "`mounts[0].destination` has `/x/..`, which would hide the container's root",
    );
    check_mount_refused(
        json!({"destination": "/x", "type": "proc", "options": ["tmpcopyup"]}),
        "`mounts[0].options` has `tmpcopyup`, which is for tmpfs only",
    );
}

#[test]
fn nothing_covers_procfs() {
    for destination in ["/proc/sys", "/proc/self/attr", "/x/../proc/1"] {
        let mount = json!({"destination": destination, "type": "tmpfs"});
        let clean = clean(Path::new(destination));
        let rule = "which is inside procfs and not among the allowed files";
        check_mount_refused(mount, &format!("`mounts[0].destination` has `{}`, {rule}", clean.display()));
    }
    check_mount_refused(
        json!({"destination": "/proc", "type": "tmpfs"}),
        "`mounts[0].destination` has `/proc`, which only procfs may be mounted on",
    );
    let allowed = json!({"destination": "/proc/uptime", "type": "bind", "source": "/x"});
    assert_eq!(planned(|config| config["mounts"] = json!([allowed])).steps.len(), 2);
}

#[test]
fn id_mappings_come_from_the_mount_or_the_container() {
    let mappings = json!([{"containerID": 0, "hostID": 1000, "size": 10}]);
    let mount = |options: Value| json!({"destination": "/x", "source": "/", "type": "bind", "options": options});
    check_mount_refused(
        mount(json!(["idmap"])),
        "`mounts[0].uidMappings` is missing; `idmap` needs them, or a user namespace with mappings",
    );
    let mut half = mount(json!(["bind"]));
    half["uidMappings"] = mappings.clone();
    check_mount_refused(half, "`mounts[0].gidMappings` is missing; `uidMappings` and `gidMappings` come together");
    let plan = planned(|config| {
        config["mounts"] = json!([mount(json!(["ridmap"]))]);
        config["linux"]["uidMappings"] = mappings.clone();
        config["linux"]["gidMappings"] = mappings.clone();
    });
    let Kind::Bind { mapping: Some(mapping), .. } = &plan.steps[1].kind else { panic!("{:?}", plan.steps[1]) };
    let lines = MappingSource::Lines { uid: "0 1000 10\n".into(), gid: "0 1000 10\n".into() };
    assert_eq!(mapping, &Mapping { recursive: true, source: lines });
}

#[test]
fn other_properties_are_refused_by_name() {
    check_refused(
        |config| config["linux"]["rootfsPropagation"] = json!("everywhere"),
        "`linux.rootfsPropagation` has `everywhere`, which is none of (r)shared, (r)slave, (r)private, (r)unbindable",
    );
    check_refused(
        |config| config["linux"]["maskedPaths"] = json!(["/proc/kcore", "proc/keys"]),
        "`linux.maskedPaths` has `proc/keys`, which is not an absolute path below `/`",
    );
    check_refused(
        |config| config["linux"]["sysctl"] = json!({"net.core.somaxconn": "1"}),
        "`linux.sysctl` has `net.core.somaxconn`, which needs a network namespace of its own",
    );
    check_refused(
        |config| config["process"]["cwd"] = json!("here"),
        "`process.cwd` has `here`, which is not an absolute path",
    );
    check_refused(
        |config| config["linux"]["namespaces"] = json!([]),
        "`linux.namespaces` is missing; a root file system needs a `mount` namespace of its own",
    );
    check_refused(
        |config| config["linux"]["devices"] = json!([{"path": "/dev/x", "type": "c", "major": -1, "minor": 1}]),
        "`linux.devices[0].major` has `-1`, which is not a device number",
    );
}
