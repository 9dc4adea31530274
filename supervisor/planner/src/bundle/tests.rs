//! Tests of the room `bundle`.

use super::*;
use crate::capability;
use crate::specimen::{blueprint, config, id};
use serde_json::{Value, json};

fn derived(config: &Value, extra: Value) -> Result<(Value, Vec<NotEnforced>), Error> {
    let (instance, blueprint) = (id("web-1"), blueprint("2026.1", extra));
    let facts = Facts {
        instance: &instance,
        blueprint: &blueprint,
        folder: "/var/lib/bundles/one/",
        cgroups_path: Some("/skiff/web-1"),
        oom_group: true,
        open_files: 1 << 20,
    };
    derive(config, &facts)
}

fn good(extra: Value) -> Value {
    derived(&config(), extra).unwrap().0
}

/// The configuration with one value more, or another.
fn with(pointer: &str, value: Value) -> Value {
    let mut config = config();
    let mut place = &mut config;
    for part in pointer.split('/').skip(1) {
        place = match place {
            Value::Array(list) => {
                list.push(Value::Null);
                list.last_mut().unwrap()
            }
            _ => &mut place[part],
        };
    }
    *place = value;
    config
}

fn keys(result: Result<(Value, Vec<NotEnforced>), Error>) -> Vec<String> {
    match result {
        Ok(_) => Vec::new(),
        Err(Error::Refused { refusals, .. }) => refusals.into_iter().map(|refusal| refusal.key).collect(),
        Err(Error::NotAConfiguration(_)) => vec!["(not a configuration)".into()],
    }
}

#[test]
fn the_defaults_are_safe() {
    let made = good(json!({}));
    assert_eq!(made["root"], json!({"path": "/var/lib/bundles/one/rootfs", "readonly": true}));
    assert_eq!(made["hostname"], "web-1");
    assert_eq!(made["ociVersion"], "1.0.2");
    let process = &made["process"];
    assert_eq!((&process["terminal"], &process["noNewPrivileges"]), (&json!(false), &json!(true)));
    assert_eq!(process["rlimits"], json!([{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1024}]));
    // What the bundle asks for among the default ones: not CAP_AUDIT_WRITE.
    let asked = json!(["CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    assert_eq!(
        process["capabilities"],
        json!({"bounding": asked, "permitted": asked, "effective": asked, "inheritable": [], "ambient": []})
    );
    let linux = &made["linux"];
    assert_eq!(
        linux["resources"],
        json!({
            "devices": [{"allow": false, "access": "rwm"}], "pids": {"limit": 512}, "unified": {"memory.oom.group": "1"}
        })
    );
    assert_eq!(linux["namespaces"].as_array().unwrap().len(), 6);
    assert_eq!(linux["cgroupsPath"], "/skiff/web-1");
    let masked = linux["maskedPaths"].as_array().unwrap();
    assert_eq!(masked.len(), MASKED.len() + 1);
    assert!(masked.contains(&json!("/mine")));
    assert_eq!(linux["readonlyPaths"], json!(READ_ONLY));
    let annotations = &made["annotations"];
    assert_eq!(annotations["io.containerd.runc.v2.group"], "web");
    assert_eq!(annotations["io.skiff.instance"], "web-1");
    assert_eq!((&annotations["io.skiff.service"], &annotations["io.skiff.release"]), (&json!("web"), &json!("2026.1")));
}

#[test]
fn a_bundle_with_nothing_but_a_program_runs() {
    let least = json!({"process": {"args": ["/app"]}, "root": {"path": "rootfs"}});
    let made = derived(&least, json!({})).unwrap().0;
    assert_eq!((&made["process"]["cwd"], &made["ociVersion"]), (&json!("/"), &json!("1.0.2")));
    assert_eq!(made["process"]["rlimits"][0]["hard"], 524_288);
    assert_eq!(made["process"]["capabilities"]["bounding"], json!([]));
    assert_eq!(made["mounts"].as_array().unwrap().len(), 9);
}

#[test]
fn the_service_says_how_it_runs() {
    let made = good(json!({
        "command": "serve --port 80", "environment": {"TERM": "dumb", "SHOP": "7"}, "user": "1000:100",
        "working_dir": "/srv", "hostname": "till", "network_mode": "host",
        "deploy": {"resources": {"limits": {"memory": "64M", "cpus": "0.25", "pids": 20}}}
    }));
    let process = &made["process"];
    assert_eq!(process["args"], json!(["serve", "--port", "80"]));
    assert_eq!(process["env"], json!(["PATH=/usr/bin:/bin", "SHOP=7", "TERM=dumb"]));
    assert_eq!((&process["user"], &process["cwd"]), (&json!({"uid": 1000, "gid": 100}), &json!("/srv")));
    assert_eq!(made["hostname"], "till");
    let kinds: Vec<_> = made["linux"]["namespaces"].as_array().unwrap().iter().map(|it| it["type"].clone()).collect();
    assert_eq!(kinds, ["pid", "ipc", "uts", "mount", "cgroup"]);
    let resources = &made["linux"]["resources"];
    assert_eq!(resources["memory"], json!({"limit": 64 << 20, "swap": 64 << 20}));
    assert_eq!(resources["cpu"], json!({"quota": 25_000, "period": 100_000}));
    assert_eq!(resources["pids"], json!({"limit": 20}));
}

#[test]
fn a_read_only_root_has_places_to_write() {
    let places = |made: &Value| -> Vec<String> {
        let mounts = made["mounts"].as_array().unwrap().iter();
        mounts.skip(7).map(|mount| format!("{} {}", mount["destination"], mount["options"])).collect()
    };
    let options = r#"["nosuid","nodev","mode=755","uid=5","gid=0"]"#;
    let made = good(json!({"user": "5"}));
    assert_eq!(places(&made)[1], format!("\"/run\" {options}"));
    assert_eq!(places(&good(json!({"read_only": false}))), [""; 0]);
    assert_eq!(good(json!({"read_only": false}))["root"]["readonly"], false);
    let own = json!({"destination": "/run/", "type": "tmpfs", "source": "x", "options": ["size=1m", "noexec"]});
    let made = derived(&with("/mounts/-", own), json!({})).unwrap().0;
    assert_eq!(places(&made)[0], r#""/run" ["size=1m","noexec","nosuid","nodev"]"#);
    assert_eq!(places(&made).len(), 2);
}

#[test]
fn capabilities_are_added_and_taken_away() {
    let bounding = |add: Value, drop: Value| {
        good(json!({"cap_add": add, "cap_drop": drop}))["process"]["capabilities"]["bounding"].clone()
    };
    assert_eq!(bounding(json!(["net_raw"]), json!(["KILL"])), json!(["CAP_NET_BIND_SERVICE", "CAP_NET_RAW"]));
    assert_eq!(bounding(json!([]), json!(["ALL"])), json!([]));
    assert_eq!(bounding(json!(["SYS_TIME"]), json!(["all"])), json!(["CAP_SYS_TIME"]));
    assert_eq!(keys(derived(&config(), json!({"cap_add": ["NOPE"], "cap_drop": ["ALL"]}))), ["cap_add.NOPE"]);
    let mut greedy = config();
    let all = json!(capability::DEFAULT.iter().copied().chain(["CAP_SYS_ADMIN"]).collect::<Vec<_>>());
    for key in ["bounding", "effective", "permitted", "inheritable", "ambient"] {
        greedy["process"]["capabilities"][key] = all.clone();
    }
    let made = derived(&greedy, json!({})).unwrap().0;
    let mut default = capability::DEFAULT;
    default.sort_unstable();
    assert_eq!(made["process"]["capabilities"]["bounding"], json!(default));
    assert_eq!(made["process"]["capabilities"]["ambient"], json!([]));
}

#[test]
fn what_reaches_further_is_refused_by_name() {
    let bind = json!({"destination": "/etc", "type": "bind", "source": "/etc", "options": ["rbind", "ro"]});
    let tmpfs = |options: Value| json!({"destination": "/x", "type": "tmpfs", "source": "tmpfs", "options": options});
    let at = |place: &str, kind: &str| json!({"destination": place, "type": kind, "source": kind});
    let cases = [
        ("/hooks", json!({"prestart": [{"path": "/bin/sh"}]}), "hooks"),
        ("/solaris", json!({"milestone": "x"}), "solaris"),
        ("/vm", json!({"kernel": {"path": "/k"}}), "vm"),
        ("/whatever", json!(1), "whatever"),
        ("/ociVersion", json!(1), "ociVersion"),
        ("/process", json!(1), "process process.args"),
        ("/process/args", json!([]), "process.args"),
        ("/process/args", json!([1]), "process.args process.args"),
        ("/process/env", json!({}), "process.env"),
        ("/process/apparmorProfile", json!("x"), "process.apparmorProfile"),
        ("/process/selinuxLabel", json!("x"), "process.selinuxLabel"),
        ("/process/scheduler", json!({"policy": "SCHED_FIFO"}), "process.scheduler"),
        ("/process/ioPriority", json!({"class": "IOPRIO_CLASS_RT"}), "process.ioPriority"),
        ("/process/oomScoreAdj", json!(-1), "process.oomScoreAdj"),
        ("/process/user/uid", json!(4_294_967_295_u32), "process.user.uid"),
        ("/process/user/uid", json!(-1), "process.user.uid"),
        ("/process/user/additionalGids", json!([-1]), "process.user.additionalGids"),
        (
            "/process/rlimits/-",
            json!({"type": "RLIMIT_MEMLOCK", "soft": 1, "hard": 1}),
            "process.rlimits.RLIMIT_MEMLOCK",
        ),
        (
            "/process/rlimits/-",
            json!({"type": "RLIMIT_NOFILE", "soft": 1, "hard": 524_289}),
            "process.rlimits.RLIMIT_NOFILE",
        ),
        ("/root/path", json!("/"), "root.path"),
        ("/root/path", json!("../rootfs"), "root.path"),
        ("/root/path", json!(""), "root.path"),
        ("/root", json!(null), "root.path"),
        ("/annotations", json!({"run.oci.keep_original_groups": "1"}), "annotations.run.oci.keep_original_groups"),
        ("/annotations", json!({"org.systemd.property.X": "1"}), "annotations.org.systemd.property.X"),
        ("/annotations", json!({"io.kubernetes.cri.sandbox-id": "a"}), "annotations.io.kubernetes.cri.sandbox-id"),
        ("/mounts/-", bind, "mounts./etc"),
        ("/mounts/-", at("/data", ""), "mounts./data"),
        ("/mounts/-", at("/data", "ext4"), "mounts./data"),
        ("/mounts/-", at("/data", "overlay"), "mounts./data"),
        ("/mounts/-", at("data", "tmpfs"), "mounts.data"),
        ("/mounts/-", at("/a/../b", "tmpfs"), "mounts./a/../b"),
        ("/mounts/-", at("/", "tmpfs"), "mounts./"),
        ("/mounts/-", at("/proc/self", "tmpfs"), "mounts./proc/self"),
        ("/mounts/-", at("//proc/", "tmpfs"), "mounts.//proc/"),
        ("/mounts/-", at("/dev", "devtmpfs"), "mounts./dev"),
        ("/mounts/-", tmpfs(json!(["suid"])), "mounts./x"),
        ("/mounts/-", tmpfs(json!(["dev"])), "mounts./x"),
        ("/mounts/-", tmpfs(json!(["rshared"])), "mounts./x"),
        ("/mounts/-", tmpfs(json!(["size=1m,dev"])), "mounts./x"),
        ("/mounts/-", tmpfs(json!(["rbind"])), "mounts./x"),
        ("/mounts/-", json!(7), "mounts."),
        ("/linux/devices", json!([{"path": "/dev/mem", "type": "c"}]), "linux.devices"),
        ("/linux/resources/devices", json!([{"allow": true, "access": "rwm"}]), "linux.resources.devices"),
        ("/linux/resources/memory", json!({"limit": -1}), "linux.resources.memory"),
        ("/linux/resources/unified", json!({"memory.max": "max"}), "linux.resources.unified"),
        ("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW"}), "linux.seccomp"),
        ("/linux/sysctl", json!({"kernel.shm_rmid_forced": "1"}), "linux.sysctl"),
        ("/linux/uidMappings", json!([{"containerID": 0}]), "linux.uidMappings"),
        ("/linux/cgroupsPath", json!("/"), "linux.cgroupsPath"),
        ("/linux/personality", json!({"domain": "LINUX32"}), "linux.personality"),
        ("/linux/rootfsPropagation", json!("shared"), "linux.rootfsPropagation"),
        ("/linux/rootfsPropagation", json!("rslave"), "linux.rootfsPropagation"),
        ("/linux/namespaces/-", json!({"type": "network", "path": "/proc/1/ns/net"}), "linux.namespaces.network"),
        ("/linux/namespaces/-", json!({"type": "user"}), "linux.namespaces.user"),
        ("/linux/namespaces/-", json!({"type": "time"}), "linux.namespaces.time"),
        ("/linux/namespaces", json!("all"), "linux.namespaces"),
        ("/linux", json!([]), "linux"),
    ];
    for (pointer, value, wanted) in cases {
        let found = keys(derived(&with(pointer, value.clone()), json!({})));
        assert_eq!(found.join(" "), wanted, "{pointer} {value}");
    }
    assert_eq!(keys(derived(&json!([]), json!({}))), ["(not a configuration)"]);
}

#[test]
fn empty_keys_ask_for_nothing() {
    for (pointer, value) in [
        ("/hooks", json!({})),
        ("/linux/devices", json!([])),
        ("/linux/sysctl", json!({})),
        ("/linux/mountLabel", json!("")),
        ("/process/oomScoreAdj", json!(500)),
        ("/linux/rootfsPropagation", json!("rprivate")),
        ("/linux/seccomp", Value::Null),
        ("/annotations", json!({"org.opencontainers.image.title": "kiosk"})),
        ("/mounts/-", json!({"destination": "/sys/fs/cgroup", "type": "cgroup2", "source": "cgroup"})),
    ] {
        assert!(derived(&with(pointer, value.clone()), json!({})).is_ok(), "{pointer} {value}");
    }
}

#[test]
fn errors_name_all_keys_with_a_way_out() {
    let mut config = with("/hooks", json!({"poststop": [{"path": "/x"}]}));
    config["linux"]["sysctl"] = json!({"a": "b"});
    assert_eq!(
        derived(&config, json!({})).unwrap_err().to_string(),
        "the bundle of `web-1` is refused: `hooks` would run programs on the machine itself; do it in the container, or in a \
         unit of the machine, `linux.sysctl` would change the kernel's settings; remove it"
    );
}

#[test]
fn what_does_not_hold_is_said() {
    let said = |extra: Value, oom_group: bool| -> Vec<&'static str> {
        let (instance, blueprint) = (id("web-0"), blueprint("1", extra));
        let facts = Facts {
            instance: &instance,
            blueprint: &blueprint,
            folder: "/b",
            cgroups_path: None,
            oom_group,
            open_files: 1 << 20,
        };
        let (made, list) = derive(&config(), &facts).unwrap();
        assert_eq!(made["linux"].get("cgroupsPath"), None);
        assert_eq!(made["linux"]["resources"].get("unified").is_some(), oom_group);
        list.into_iter().map(|it| it.what).collect()
    };
    let always = ["seccomp default profile", "user namespace", "AppArmor profile"];
    assert_eq!(said(json!({}), true), always);
    assert_eq!(said(json!({}), false), [&always[..], &["memory.oom.group"]].concat());
    let shared = said(json!({"read_only": false, "deploy": {"replicas": 2}}), true);
    assert_eq!(shared, [&always[..], &["read-only root", "root of its own"]].concat());
}

#[test]
fn all_limits_are_always_said() {
    let limits = |json: Value| limits_document(&serde_json::from_value(json).unwrap());
    assert_eq!(
        limits(json!({})),
        json!({"memory": {"limit": -1, "swap": -1}, "cpu": {"quota": -1, "period": 100_000}, "pids": {"limit": 512}})
    );
    assert_eq!(
        limits(json!({"memory": 4096, "cpus": "1.5", "pids": 3})),
        json!({"memory": {"limit": 4096, "swap": 4096}, "cpu": {"quota": 150_000, "period": 100_000}, "pids": {"limit": 3}})
    );
}

#[test]
fn a_machine_that_gives_fewer_open_files_is_asked_for_no_more() {
    let (instance, blueprint) = (id("web-1"), blueprint("2026.1", json!({})));
    let facts = Facts {
        instance: &instance,
        blueprint: &blueprint,
        folder: "/b",
        cgroups_path: None,
        oom_group: false,
        open_files: 1000,
    };
    let (made, _) = derive(&config(), &facts).unwrap();
    assert_eq!(made["process"]["rlimits"], json!([{"type": "RLIMIT_NOFILE", "soft": 1000, "hard": 1000}]));
}
