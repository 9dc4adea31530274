//! Whatever a bundle says, an instance has no more than the defaults and what its service adds.

use crate::world::release_id;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use skiff_planner::bundle::{Facts, derive};
use skiff_planner::capability;
use skiff_planner::desired::Blueprint;

/// Keys and texts that mean something somewhere.
const KEYS: [&str; 33] = [
    "path",
    "type",
    "options",
    "source",
    "destination",
    "readonly",
    "hooks",
    "prestart",
    "devices",
    "allow",
    "access",
    "namespaces",
    "resources",
    "memory",
    "limit",
    "capabilities",
    "bounding",
    "effective",
    "permitted",
    "ambient",
    "inheritable",
    "user",
    "uid",
    "gid",
    "args",
    "env",
    "rlimits",
    "hard",
    "soft",
    "seccomp",
    "sysctl",
    "unified",
    "noNewPrivileges",
];
const TEXTS: [&str; 17] = [
    "",
    "/",
    "/etc",
    "rootfs",
    "../rootfs",
    "bind",
    "tmpfs",
    "proc",
    "cgroup",
    "shared",
    "rbind",
    "CAP_SYS_ADMIN",
    "CAP_KILL",
    "network",
    "user",
    "RLIMIT_NOFILE",
    "/proc",
];
/// Where something may be put into a configuration that is good.
const PLACES: [&str; 24] = [
    "",
    "/process",
    "/process/user",
    "/process/capabilities",
    "/process/capabilities/bounding",
    "/process/capabilities/ambient",
    "/process/rlimits",
    "/process/noNewPrivileges",
    "/process/oomScoreAdj",
    "/root",
    "/root/path",
    "/mounts",
    "/linux",
    "/linux/namespaces",
    "/linux/resources",
    "/linux/resources/devices",
    "/linux/devices",
    "/linux/maskedPaths",
    "/linux/readonlyPaths",
    "/linux/rootfsPropagation",
    "/linux/seccomp",
    "/hooks",
    "/annotations",
    "/linux/cgroupsPath",
];

fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        select(&TEXTS[..]).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(select(&KEYS[..]), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())),
        ]
    })
}

fn mount() -> impl Strategy<Value = Value> {
    let options = ["ro", "suid", "dev", "rbind", "size=1m", "noexec", "rshared", "mode=755"];
    let places =
        ["/data", "/proc", "/proc/sys", "/dev", "/dev/shm", "/sys/fs/cgroup", "/a/../proc", "/", "etc", "/tmp"];
    let kinds = ["tmpfs", "proc", "sysfs", "bind", "ext4", "cgroup", "cgroup2", "overlay"];
    (select(places.to_vec()), select(kinds.to_vec()), vec(select(options.to_vec()), 0..3)).prop_map(
        |(place, kind, options)| json!({"destination": place, "type": kind, "source": "/", "options": options}),
    )
}

fn configurations() -> impl Strategy<Value = Value> {
    let changes = vec((select(&PLACES[..]), anything()), 0..2);
    let capabilities = vec(select(&["CAP_KILL", "CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_NET_RAW"][..]), 0..4);
    (changes, vec(mount(), 0..2), capabilities).prop_map(|(changes, mounts, capabilities)| {
        let sets = ["bounding", "effective", "permitted", "inheritable", "ambient"];
        let sets: serde_json::Map<_, _> = sets.iter().map(|set| ((*set).to_owned(), json!(capabilities))).collect();
        let mut config = json!({
            "ociVersion": "1.0.2", "root": {"path": "rootfs", "readonly": false}, "mounts": mounts,
            "process": {"args": ["sh"], "cwd": "/", "user": {"uid": 0, "gid": 0}, "capabilities": sets, "noNewPrivileges": false},
            "linux": {"namespaces": [{"type": "mount"}], "resources": {}, "maskedPaths": [], "readonlyPaths": []}
        });
        for (place, value) in changes {
            put(&mut config, place, value);
        }
        config
    })
}

fn put(config: &mut Value, place: &str, value: Value) {
    let mut at = config;
    for part in place.split('/').skip(1) {
        if !at.is_object() {
            *at = json!({});
        }
        at = &mut at[part];
    }
    *at = value;
}

/// Everything in a derived configuration that could reach beyond the container.
fn check(made: &Value, added: &[&str], host_network: bool) {
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let top = ["annotations", "domainname", "hostname", "linux", "mounts", "ociVersion", "process", "root"];
    assert!(keys(made).iter().all(|key| top.contains(&key.as_str())), "{made}");
    let linux = ["cgroupsPath", "maskedPaths", "namespaces", "readonlyPaths", "resources"];
    assert!(keys(&made["linux"]).iter().all(|key| linux.contains(&key.as_str())), "{made}");
    let resources = ["cpu", "devices", "memory", "pids", "unified"];
    assert!(keys(&made["linux"]["resources"]).iter().all(|key| resources.contains(&key.as_str())), "{made}");
    assert_eq!(made["linux"]["resources"]["devices"], json!([{"allow": false, "access": "rwm"}]));
    assert_eq!(made["root"]["path"].as_str().unwrap().replace("/./", "/").find("/b/"), Some(0));
    assert!(!made["root"]["path"].as_str().unwrap().split('/').any(|part| part == ".."));
    assert_eq!((&made["root"]["readonly"], &made["process"]["noNewPrivileges"]), (&json!(true), &json!(true)));
    let namespaces = if host_network { 5 } else { 6 };
    assert_eq!(made["linux"]["namespaces"].as_array().unwrap().len(), namespaces);
    assert!(made["linux"]["namespaces"].as_array().unwrap().iter().all(|it| it.get("path").is_none()));
    for path in ["/proc/kcore", "/sys/firmware", "/proc/keys"] {
        assert!(made["linux"]["maskedPaths"].as_array().unwrap().contains(&json!(path)));
    }
    for path in ["/proc/sys", "/proc/sysrq-trigger"] {
        assert!(made["linux"]["readonlyPaths"].as_array().unwrap().contains(&json!(path)));
    }
    let sets = &made["process"]["capabilities"];
    for (set, names) in sets.as_object().unwrap() {
        let may = |name: &str| capability::DEFAULT.contains(&name) || added.contains(&name);
        let fits = names.as_array().unwrap().iter().all(|name| may(name.as_str().unwrap()));
        assert!(fits && (!["ambient", "inheritable"].contains(&set.as_str()) || *names == json!([])), "{sets}");
    }
    let limit = &made["process"]["rlimits"][0];
    assert!(made["process"]["rlimits"].as_array().unwrap().len() == 1 && limit["hard"].as_u64().unwrap() <= 524_288);
    assert!(made["process"].get("oomScoreAdj").is_none_or(|score| score.as_i64().unwrap() >= 0));
    for mount in made["mounts"].as_array().unwrap() {
        let kind = mount["type"].as_str().unwrap();
        assert!(["proc", "tmpfs", "devpts", "mqueue", "sysfs", "cgroup"].contains(&kind), "{mount}");
        let options: Vec<_> =
            mount["options"].as_array().unwrap().iter().map(|option| option.as_str().unwrap()).collect();
        assert!(options.contains(&"nosuid"), "{mount}");
        let open = ["bind", "rbind", "suid", "dev", "shared", "rshared", "slave", "rslave"];
        assert!(!options.iter().any(|option| open.contains(option)), "{mount}");
        assert!(!["sysfs", "cgroup"].contains(&kind) || options.contains(&"ro"), "{mount}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn no_bundle_has_more_than_it_may(config in configurations(), add in any::<bool>(), host in any::<bool>()) {
        let added: &[&str] = if add { &["CAP_NET_RAW"] } else { &[] };
        let service = json!({"bundle": "/b", "cap_add": added, "network_mode": if host { "host" } else { "none" }});
        let blueprint = Blueprint { release: release_id("1"), service: serde_json::from_value(service).unwrap() };
        let instance = "web-0".parse().unwrap();
        let facts =
            Facts { instance: &instance, blueprint: &blueprint, folder: "/b", cgroups_path: Some("/s/web-0"), oom_group: true, open_files: 1 << 20 };
        if let Ok((made, _)) = derive(&config, &facts) {
            check(&made, added, host);
        }
    }
}
