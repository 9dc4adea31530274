//! Namespaces: each new, each left out, each joined by path, user namespaces with mappings, time with offsets.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::command::Invocation;
use skiff_integration_tests::compare::{Exemption, as_is, each, same};
use skiff_integration_tests::runtime::{Kind, on_path};
use skiff_integration_tests::skip::skip;
use skiff_lanes::runs;

/// Words of config.json and names under /proc/self/ns.
const KINDS: &[(&str, &str)] =
    &[("pid", "pid"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("cgroup", "cgroup"), ("mount", "mnt")];

fn of(pid: &str, name: &str) -> String {
    fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap().to_string_lossy().into_owned()
}

fn link(name: &str) -> Bundle {
    Bundle::script(&format!("readlink /proc/self/ns/{name}"))
}

#[runs(everywhere)]
fn each_new_namespace_is_another_one() {
    each(&[], |runtime| {
        for (word, name) in KINDS {
            let seen = runtime.run(&link(name).namespace(word, None)).ok();
            assert_ne!(seen.trim(), of("self", name), "{word}");
            assert!(seen.starts_with(name), "{seen}");
        }
    });
}

#[test]
fn a_namespace_that_is_not_asked_for_stays_the_callers() {
    each(&[], |runtime| {
        for (word, name) in KINDS.iter().filter(|(word, _)| !["mount", "pid"].contains(word)) {
            // A host name needs a uts namespace; sysfs needs a network namespace of the same user namespace.
            let bundle = link(name).without_namespace(word).edit(|config| {
                config.as_object_mut().unwrap().remove("hostname");
            });
            let seen = runtime.run(&bundle).ok();
            assert_eq!(seen.trim(), of("self", name), "{word}");
        }
    });
}

#[test]
fn without_a_pid_namespace_the_program_has_the_pid_of_the_host() {
    each(&[], |runtime| {
        let bundle = Bundle::script("echo $$; sleep 1000").without_namespace("pid");
        let container = runtime.container(&bundle);
        container.run(&["--detach"]).ok();
        assert_eq!(of(&container.pid().to_string(), "pid"), of("self", "pid"));
        container.delete(&["--force"]).ok();
        container.assert_gone();
    });
}

#[runs(everywhere)]
fn each_namespace_is_joined_by_path() {
    each(&[], |runtime| {
        for (word, name) in KINDS.iter().filter(|(word, _)| *word != "mount") {
            let first = Bundle::sleeper().namespace(word, None);
            let holder = runtime.container(&first);
            holder.run(&["--detach"]).ok();
            let path = format!("/proc/{}/ns/{name}", holder.pid());
            let second = link(name).namespace(word, Some(&path));
            let second = match *word {
                // The joined one has its name already.
                "uts" => second.edit(|config| drop(config.as_object_mut().unwrap().remove("hostname"))),
                _ => second,
            };
            let seen = runtime.run(&second).ok();
            assert_eq!(seen.trim(), of(&holder.pid().to_string(), name), "{word}");
        }
    });
}

#[runs(everywhere)]
fn a_joined_pid_namespace_shows_its_processes() {
    each(&[], |runtime| {
        let first = Bundle::new().args(&["/bin/sleep", "4242"]);
        let holder = runtime.container(&first);
        holder.run(&["--detach"]).ok();
        let second =
            Bundle::script("tr '\\0' ' ' </proc/1/cmdline; test $$ != 1 && echo; grep ^NSpid /proc/$$/status | wc -w")
                .namespace("pid", Some(&format!("/proc/{}/ns/pid", holder.pid())));
        let joined = runtime.container(&second);
        assert_eq!(joined.run(&[]).ok(), "/bin/sleep 4242 \n2\n");
        joined.assert_gone();
        assert_eq!(holder.status(), "running", "the holder lives on");
    });
}

#[runs(everywhere)]
fn joining_several_and_making_the_rest() {
    each(&[], |runtime| {
        let first = Bundle::sleeper();
        let holder = runtime.container(&first);
        holder.run(&["--detach"]).ok();
        let pid = holder.pid();
        let names = ["pid", "net", "ipc"];
        let second = Bundle::script("for name in pid net ipc uts mnt; do readlink /proc/self/ns/$name; done")
            .namespace("pid", Some(&format!("/proc/{pid}/ns/pid")))
            .namespace("network", Some(&format!("/proc/{pid}/ns/net")))
            .namespace("ipc", Some(&format!("/proc/{pid}/ns/ipc")));
        let seen = runtime.run(&second).ok();
        let lines: Vec<&str> = seen.lines().collect();
        for (index, name) in names.iter().enumerate() {
            assert_eq!(lines[index], of(&pid.to_string(), name));
        }
        for (index, name) in [(3, "uts"), (4, "mnt")] {
            assert_ne!(lines[index], of(&pid.to_string(), name));
            assert_ne!(lines[index], of("self", name));
        }
    });
}

#[test]
fn a_wrong_namespace_path_is_refused() {
    each(&[(Kind::Crun, "1.8 leaves the cgroup behind")], |runtime| {
        for path in ["/proc/self/ns/uts", "/etc/passwd", "/does/not/exist"] {
            let bundle = Bundle::new().namespace("network", Some(path));
            let container = runtime.container(&bundle);
            container.run(&[]).fails();
            container.assert_gone();
        }
    });
}

#[runs(everywhere)]
fn hostname_and_domainname() {
    let bundle = Bundle::script("hostname; cat /proc/sys/kernel/domainname").edit(|config| {
        config["hostname"] = json!("anchor");
        config["domainname"] = json!("sea.example");
    });
    let before = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let old = [(Kind::Runc, "runc 1.1 has no domainname")];
    if let Some(seen) = same(&old, &bundle, as_is) {
        assert_eq!(seen, "anchor\nsea.example\n");
    }
    assert_eq!(fs::read_to_string("/proc/sys/kernel/hostname").unwrap(), before, "the host keeps its name");
}

#[test]
fn loopback_is_up_in_a_new_network_namespace() {
    let bundle = Bundle::script("ip -o link show lo | grep -c 'LOOPBACK,UP'; ip -o link | wc -l");
    let exemption = [(Kind::Reference, "leaves it down"), (Kind::Crun, "leaves it down")];
    if let Some(seen) = same(&exemption, &bundle, as_is) {
        assert!(seen.starts_with("1\n"), "{seen}");
    }
}

#[runs(everywhere)]
fn user_namespace_with_mappings() {
    let fields = "cat /proc/self/uid_map /proc/self/gid_map | tr -s ' '; cat /proc/self/setgroups; id -u; stat -c %u /bin/busybox /proc/1";
    let bundle = Bundle::script(fields).user_namespace(200_000);
    if let Some(seen) = same(&[], &bundle, as_is) {
        assert_eq!(seen, " 0 200000 65536\n 0 200000 65536\nallow\n0\n0\n0\n");
    }
}

#[runs(everywhere)]
fn user_namespace_with_several_ranges_and_a_user() {
    let bundle = Bundle::script("cat /proc/self/uid_map | tr -s ' '; id -u; id -g; echo new >/data/new")
        .writable()
        .user_namespace(200_000)
        .edit(|config| {
            config["linux"]["uidMappings"] = json!([
                {"containerID": 0, "hostID": 200_000, "size": 10},
                {"containerID": 10, "hostID": 300_000, "size": 5000},
            ]);
            config["process"]["user"] = json!({"uid": 11, "gid": 12, "additionalGids": [13]});
        });
    fs::set_permissions(bundle.rootfs().join("data"), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    if let Some(seen) = same(&[(Kind::Reference, "EINVAL for several ranges")], &bundle, as_is) {
        assert_eq!(seen, " 0 200000 10\n 10 300000 5000\n11\n12\n");
        let made = fs::metadata(bundle.rootfs().join("data/new")).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&made), 300_001);
    }
}

#[test]
fn a_user_namespace_is_joined_by_path() {
    each(&[(Kind::Reference, "maps the joined namespace again")], |runtime| {
        let first = Bundle::sleeper().user_namespace(200_000);
        let holder = runtime.container(&first);
        holder.run(&["--detach"]).ok();
        let pid = holder.pid();
        let second = link("user").user_namespace(200_000).namespace("user", Some(&format!("/proc/{pid}/ns/user")));
        let second = match runtime.kind {
            // 1.1 wants the mappings repeated.
            Kind::Runc => second,
            _ => second.edit(|config| {
                let linux = config["linux"].as_object_mut().unwrap();
                linux.remove("uidMappings");
                linux.remove("gidMappings");
            }),
        };
        let seen = runtime.run(&second).ok();
        assert_eq!(seen.trim(), of(&pid.to_string(), "user"));
    });
}

#[test]
fn a_user_without_rights_runs_a_rootless_container() {
    each(&[(Kind::Reference, "wants cgroups")], |runtime| {
        if runtime.is_wrapped() {
            return;
        }
        let bundle = Bundle::script("id -u; cat /proc/self/uid_map | tr -s ' '").edit(rootless(1));
        let (runtime, _copy) = runtime.for_everybody();
        give_away(&bundle, runtime.root());
        let container = runtime.container(&bundle);
        bundle.write();
        let outcome = container.run_command(&[]).user(1000).env("XDG_RUNTIME_DIR", "/tmp").run();
        assert_eq!(outcome.ok(), "0\n 0 1000 1\n");
        container.assert_gone();
        // runc only looks at whether it may fail, crun has no such flag.
        if runtime.kind == Kind::Skiff {
            let (root, folder) = (runtime.root().to_string_lossy(), bundle.path().to_string_lossy());
            let words = ["--root", &*root, "--rootless=false", "run", "--bundle", &*folder, &*container.id];
            let outcome = Invocation::new(&runtime.binary, &words).user(1000).env("XDG_RUNTIME_DIR", "/tmp").run();
            outcome.fails_with(&["cgroup", "ermission denied"]);
            container.assert_gone();
        }
    });
}

#[test]
fn newuidmap_writes_the_mappings_of_a_user_without_rights() {
    let first = 700_000;
    if on_path("newuidmap").is_none() || !["/etc/subuid", "/etc/subgid"].iter().all(|path| Path::new(path).exists()) {
        return skip("newuidmap is not installed");
    }
    each(&[(Kind::Reference, "wants cgroups")], |runtime| {
        if runtime.is_wrapped() {
            return;
        }
        let bundle = Bundle::script("cat /proc/self/uid_map | tr -s ' '").edit(rootless(1)).edit(|config| {
            let more = json!({"containerID": 1, "hostID": first, "size": 1000});
            for mappings in ["uidMappings", "gidMappings"] {
                config["linux"][mappings].as_array_mut().unwrap().push(more.clone());
            }
        });
        let (runtime, _copy) = runtime.for_everybody();
        give_away(&bundle, runtime.root());
        // A private /etc in which user 1000 exists and owns subordinate ids; the machine's own stays as it is.
        for (name, text) in
            [("subuid", "tester:700000:65536\n"), ("subgid", "tester:700000:65536\n"), ("passwd", PASSWD)]
        {
            fs::write(bundle.path().join(name), text).unwrap();
        }
        let script = "for name in subuid subgid passwd; do mount --bind $0/$name /etc/$name || exit 99; done; \
            exec setpriv --reuid 1000 --regid 1000 --clear-groups \"$@\"";
        let folder = bundle.path().to_string_lossy();
        let container = runtime.container(&bundle);
        let command = container.run_under(&["unshare", "-m", "sh", "-c", script, &folder], &[]);
        assert_eq!(command.env("XDG_RUNTIME_DIR", "/tmp").run().ok(), format!(" 0 1000 1\n 1 {first} 1000\n"));
        container.assert_gone();
    });
}

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\ntester:x:1000:1000::/tmp:/bin/sh\n";

/// What `spec --rootless` makes: own user and mount namespaces, no cgroup, nothing only root may mount.
pub(crate) fn rootless(size: u32) -> impl FnOnce(&mut Value) {
    move |config| {
        let map = json!([{"containerID": 0, "hostID": 1000, "size": size}]);
        config["linux"]["uidMappings"] = map.clone();
        config["linux"]["gidMappings"] = map;
        config["linux"].as_object_mut().unwrap().remove("resources");
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        let mounts = config["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| mount["type"] != "cgroup");
        for mount in mounts {
            if let Some(options) = mount["options"].as_array_mut() {
                options.retain(|option| option != "gid=5");
            }
        }
    }
}

pub(crate) fn give_away(bundle: &Bundle, state: &Path) {
    for path in [bundle.path(), state] {
        Invocation::new("chown", &["-hR", "1000:1000", &path.to_string_lossy()]).run().ok();
    }
}

const OLD_TIME: &[Exemption] =
    &[(Kind::Runc, "runc 1.1 has no time namespace"), (Kind::Crun, "crun 1.8 loses its child when offsets are set")];

#[runs(everywhere)]
fn time_namespace_with_offsets() {
    let offset = || {
        let script =
            "cut -d. -f1 /proc/uptime; tr -s ' \\t' ' ' </proc/self/timens_offsets; readlink /proc/self/ns/time";
        Bundle::script(script).namespace("time", None).edit(|config| {
            config["linux"]["timeOffsets"] = json!({
                "monotonic": {"secs": 1000, "nanosecs": 7}, "boottime": {"secs": 1_000_000, "nanosecs": 0},
            })
        })
    };
    // Who has become the root of a user namespace may not open its own file of offsets any more.
    for bundle in [offset(), offset().user_namespace(500_000)] {
        each(OLD_TIME, |runtime| {
            let seen = runtime.run(&bundle).ok();
            let mut lines = seen.lines();
            let uptime: u64 = lines.next().unwrap().parse().unwrap();
            assert!(uptime > 1_000_000, "{seen}");
            assert!(seen.contains("monotonic 1000 7") && seen.contains("boottime 1000000 0"), "{seen}");
            assert_ne!(lines.next_back().unwrap(), of("self", "time"));
        });
    }
}

#[test]
fn time_namespace_is_joined_by_path() {
    each(&[OLD_TIME[0], OLD_TIME[1], (Kind::Reference, "does not join it")], |runtime| {
        let offsets = json!({"boottime": {"secs": 5_000_000, "nanosecs": 0}});
        let first = Bundle::sleeper().namespace("time", None).edit(|config| config["linux"]["timeOffsets"] = offsets);
        let holder = runtime.container(&first);
        holder.run(&["--detach"]).ok();
        let pid = holder.pid().to_string();
        let seen = runtime.run(&link("time").namespace("time", Some(&format!("/proc/{pid}/ns/time")))).ok();
        assert_eq!(seen.trim(), of(&pid, "time"));
    });
}

#[test]
fn no_namespace_at_all_but_a_mount_namespace() {
    each(&[(Kind::Reference, "needs what it makes")], |runtime| {
        let bundle = Bundle::script("echo ran").edit(|config| {
            config["linux"]["namespaces"] = json!([{"type": "mount"}]);
            config.as_object_mut().unwrap().remove("hostname");
            // mqueue belongs to an ipc namespace; sysfs to a network namespace: both the caller's, both allowed.
        });
        let container = runtime.container(&bundle);
        assert_eq!(container.run(&[]).ok(), "ran\n");
        container.assert_gone();
    });
}

// Under `unshare`, so that what a runtime does wrong here happens to its caller and not to this machine.
#[test]
fn a_path_to_the_runtimes_own_mount_namespace_is_refused() {
    each(&[(Kind::Runc, "not measured"), (Kind::Crun, "not measured"), (Kind::Reference, "not measured")], |runtime| {
        let bundle = Bundle::new().namespace("mount", Some("/proc/self/ns/mnt"));
        let container = runtime.container(&bundle);
        container.run_under(&["unshare", "-m"], &[]).run().fails_with(&["mount", "own"]);
        container.assert_gone();
    });
}
