//! `features`: a document that tells the truth; what it lists is accepted, what it denies is refused.

use serde_json::{Value, json};
use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::compare::each;
use skiff_integration_tests::kernel;
use skiff_integration_tests::runtime::{Kind, Runtime};
use skiff_lanes::runs;

fn document(runtime: &Runtime) -> Value {
    serde_json::from_str(&runtime.command(&["features"]).run().ok()).unwrap()
}

fn strings(list: &Value) -> Vec<&str> {
    list.as_array().map(|list| list.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

const NO_COMMAND: &[(Kind, &str)] = &[(Kind::Crun, "crun 1.8 has no features"), (Kind::Reference, "has no features")];

#[test]
fn versions_hooks_and_namespaces() {
    each(NO_COMMAND, |runtime| {
        let features = document(runtime);
        assert_eq!(features["ociVersionMin"], "1.0.0");
        assert!(features["ociVersionMax"].as_str().unwrap().starts_with("1."), "{features}");
        let hooks = strings(&features["hooks"]);
        for hook in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] {
            assert!(hooks.contains(&hook), "{hook}");
        }
        let namespaces = strings(&features["linux"]["namespaces"]);
        for kind in ["cgroup", "ipc", "mount", "network", "pid", "user", "uts"] {
            assert!(namespaces.contains(&kind), "{kind}");
        }
        assert_eq!(namespaces.contains(&"time"), runtime.kind == Kind::Skiff, "runc 1.1 has none");
        let capabilities = strings(&features["linux"]["capabilities"]);
        assert!(capabilities.contains(&"CAP_SYS_ADMIN") && capabilities.contains(&"CAP_CHECKPOINT_RESTORE"));
        assert!(features["linux"]["cgroup"]["v1"] == true && features["linux"]["cgroup"]["v2"] == true, "{features}");
    });
}

/// Options that begin with the letter of the recursive ones and are none of `mount_setattr`'s.
const PLAIN: [&str; 9] = ["rbind", "relatime", "remount", "ro", "rprivate", "rshared", "rslave", "runbindable", "rw"];

#[runs(everywhere)]
fn each_listed_mount_option_is_accepted() {
    each(&[(Kind::Runc, "1.1 lists `ratime` and passes it on as EINVAL"), NO_COMMAND[0], NO_COMMAND[1]], |runtime| {
        let features = document(runtime);
        let options = strings(&features["mountOptions"]);
        assert!(options.len() > 30, "{options:?}");
        for option in options {
            // Options that belong to other types, or that ask for something of their own.
            let mount = match option {
                "tmpcopyup" => json!({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": [option]}),
                "idmap" | "ridmap" => {
                    let map = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
                    json!({"destination": "/mnt", "source": "source", "options": ["bind", option], "uidMappings": map, "gidMappings": map})
                }
                "remount" => continue,
                _ => json!({"destination": "/mnt", "source": "source", "options": ["bind", option]}),
            };
            // mand went out of the kernel in 5.15 and iversion is for disks: a bind takes neither.
            if ["mand", "nomand", "iversion", "noiversion", "silent", "loud", "lazytime", "sync", "async", "dirsync"]
                .contains(&option)
            {
                continue;
            }
            let bundle = Bundle::new().mount(mount);
            std::fs::create_dir(bundle.path().join("source")).unwrap();
            let outcome = runtime.run(&bundle);
            let new = option == "idmap" || option == "ridmap" || option.starts_with('r') && !PLAIN.contains(&option);
            if new && kernel::lacks("mount_setattr") {
                outcome.fails_with(&["Linux 5.12"]);
                continue;
            }
            assert!(outcome.succeeded(), "{option} is listed: {outcome}");
        }
    });
}

#[test]
fn what_is_said_to_be_missing_is_refused() {
    each(&[(Kind::Runc, "has them"), NO_COMMAND[0], NO_COMMAND[1]], |runtime| {
        let linux = document(runtime)["linux"].clone();
        assert_eq!(linux["apparmor"]["enabled"], true);
        let rdt = |config: &mut Value| config["linux"]["intelRdt"] = json!({"closID": "x"});
        let selinux = |config: &mut Value| config["process"]["selinuxLabel"] = json!("system_u:system_r:x:s0");
        type Edit<'a> = (&'a str, &'a dyn Fn(&mut Value), &'a str);
        let edits: [Edit<'_>; 2] =
            [("intelRdt", &rdt, "linux.intelRdt"), ("selinux", &selinux, "process.selinuxLabel")];
        for (name, edit, property) in edits {
            assert_ne!(linux[name]["enabled"], true, "{name}");
            let bundle = Bundle::new().edit(edit);
            let container = runtime.container(&bundle);
            container.run(&[]).fails_with(&[property]);
            container.assert_gone();
        }
    });
}
