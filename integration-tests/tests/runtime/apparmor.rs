//! `process.apparmorProfile`: the program is confined, further processes too, and nothing runs without what was asked for.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::compare::{Exemption, each};
use skiff_integration_tests::runtime::Kind;
use skiff_lanes::runs;

use super::exec::{each_running, exec};

const OTHERS: [Exemption; 2] =
    [(Kind::Crun, "not measured in its private mount namespace"), (Kind::Reference, "not measured")];

/// A loaded profile that keeps its programs from one file; unloaded when dropped.
struct Profile {
    name: String,
    file: std::path::PathBuf,
}

impl Profile {
    fn load(name: &str) -> Self {
        let name = format!("skt-{name}-{}", std::process::id());
        let file = std::env::temp_dir().join(&name);
        let rules = "file, capability, signal, network, umount, mount, ptrace, deny /data/secret rw,";
        fs::write(&file, format!("profile {name} flags=(attach_disconnected) {{ {rules} }}\n")).unwrap();
        let profile = Self { name, file };
        assert!(profile.parser("--replace"), "apparmor_parser loads the profile");
        profile
    }

    fn parser(&self, verb: &str) -> bool {
        let outcome = Command::new("apparmor_parser").args([verb, "--skip-cache"]).arg(&self.file).status();
        outcome.is_ok_and(|status| status.success())
    }

    fn shown(&self) -> String {
        format!("{} (enforce)\n", self.name)
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        self.parser("--remove");
        let _gone = fs::remove_file(&self.file);
    }
}

fn under(profile: &str, bundle: Bundle) -> Bundle {
    bundle.edit(|config| config["process"]["apparmorProfile"] = json!(profile))
}

const SHOW: &str = "cat /proc/self/attr/current";

#[runs(guest)]
fn the_program_is_confined() {
    let profile = Profile::load("program");
    let script = format!("{SHOW}; cat /data/secret 2>/dev/null || echo denied");
    let edits: [fn(&mut Value); 3] = [
        |_| {},
        |config| config["process"]["noNewPrivileges"] = json!(true),
        |config| config["process"]["user"] = json!({"uid": 1000, "gid": 1000}),
    ];
    for edit in edits {
        each(&OTHERS, |runtime| {
            let bundle = Bundle::script(&script).file("/data/secret", 0o644, "secret\n");
            let bundle = under(&profile.name, bundle).edit(edit);
            assert_eq!(runtime.run(&bundle).ok(), format!("{}denied\n", profile.shown()));
        });
    }
    let bundle = under(&profile.name, Bundle::script(SHOW).user_namespace(500_000));
    each(&OTHERS, |runtime| assert_eq!(runtime.run(&bundle).ok(), profile.shown()));
    each(&OTHERS, |runtime| {
        let bundle = under("unconfined", Bundle::script(SHOW));
        assert_eq!(runtime.run(&bundle).ok(), "unconfined\n");
    });
}

#[runs(guest)]
fn further_processes_are_confined() {
    let (profile, other) = (Profile::load("container"), Profile::load("exec"));
    let show = ["cat", "/proc/self/attr/current"];
    for bundle in [Bundle::sleeper(), Bundle::sleeper().user_namespace(500_000)] {
        let bundle = under(&profile.name, bundle);
        each_running(&OTHERS, &bundle, |container| {
            assert_eq!(exec(container, &[], &show).ok(), profile.shown());
            assert_eq!(exec(container, &["--apparmor", &other.name], &show).ok(), other.shown());
            let file = container.bundle.path().join("process.json");
            let mut process = json!({"cwd": "/", "user": {"uid": 0, "gid": 0}, "args": show, "env": ["PATH=/bin"]});
            for expected in [&profile, &other] {
                fs::write(&file, process.to_string()).unwrap();
                let options = ["--process", file.to_str().unwrap()];
                assert_eq!(exec(container, &options, &[]).ok(), expected.shown());
                process["apparmorProfile"] = json!(other.name);
            }
            exec(container, &["--apparmor", "no-such-profile"], &["true"]).fails_with(&["no-such-profile"]);
        });
    }
}

#[runs(guest)]
fn hooks_of_the_runtime_are_not_confined_and_those_of_the_container_are() {
    let profile = Profile::load("hooks");
    each(&OTHERS, |runtime| {
        let bundle = under(&profile.name, Bundle::script("cat /dev/shm/start"));
        let seen = bundle.path().join("seen");
        let hook =
            |program: &str, file: &str| json!([{"path": program, "args": ["sh", "-c", format!("{SHOW} >{file}")]}]);
        let bundle = bundle.edit(|config| {
            config["hooks"] = json!({
                "createContainer": hook("/bin/sh", seen.to_str().unwrap()),
                "startContainer": hook("/bin/sh", "/dev/shm/start"),
            });
        });
        assert_eq!(runtime.run(&bundle).ok(), profile.shown());
        assert_eq!(fs::read_to_string(&seen).unwrap(), "unconfined\n");
    });
}

#[test]
fn a_profile_that_cannot_be_had_is_refused() {
    // Either it is not loaded, or nothing could be.
    let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with('Y'));
    let way_out = if enabled { "apparmor_parser" } else { "AppArmor is not enabled" };
    each(&[(Kind::Runc, "says it in other words"), OTHERS[0], OTHERS[1]], |runtime| {
        let bundle = under("no-such-profile", Bundle::new());
        let container = runtime.container(&bundle);
        container.run(&[]).fails_with(&["process.apparmorProfile", way_out]);
        container.assert_gone();
        let bundle = under("", Bundle::new());
        runtime.run(&bundle).ok();
    });
}
