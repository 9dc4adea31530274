//! `skiffctl fleet explain`, the real program, on folders as people write them and as devices take them.
#![allow(clippy::disallowed_methods, reason = "the bans protect the product; these programs only play with its output")]
#![allow(clippy::unwrap_used, reason = "the lint's exception for tests does not reach their helper functions")]

use serde_json::{Value, json};
use std::fs;
use std::process::{Command, Stdio};

struct Desk(tempfile::TempDir);

struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

const FLEET: &str = "apiVersion: skiff.dev/v1
kind: Fleet
metadata: {name: kiosks, serial: 7}
releases: {\"1\": releases/1.yaml, \"2\": releases/2.yaml}
groups:
- {name: lab, selector: {matchLabels: {stage: lab}}, release: \"2\"}
- name: shops
  selector:
    matchLabels: {role: kiosk}
    matchExpressions: [{key: arch, operator: In, values: [arm64, amd64]}, {key: old, operator: DoesNotExist}]
  release: \"1\"
  rollout: {gate: {minHealthy: 5s, deadline: 50s, autoRevert: false}}
- {name: arms, selector: {matchExpressions: [{key: arch, operator: Exists}]}, release: \"2\"}
devices: {till-9: {release: \"2\", reason: INC-881}}
";

impl Desk {
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        desk.write("fleet/fleet.yaml", FLEET);
        for version in ["1", "2"] {
            let release = format!(
                "apiVersion: skiff.dev/v1\nkind: Release\nmetadata: {{name: kiosk, version: \"{version}\"}}\nservices:\n  \
                 web:\n    bundle: ../web\n    depends_on: [db]\n    deploy: {{replicas: 2, resources: {{limits: {{memory: 64M}}}}}}\n  \
                 db: {{bundle: /opt/db, restart: \"on-failure:3\"}}\n"
            );
            desk.write(&format!("fleet/releases/{version}.yaml"), &release);
        }
        desk.write("fleet/web/config.json", "{}");
        desk.write("fleet/web/rootfs/version", "1");
        desk
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn fleet(&self, words: &[&str]) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skiffctl"));
        command.arg("fleet").args(words).current_dir(self.0.path()).stdin(Stdio::null());
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Said { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    fn explain(&self, words: &[&str]) -> Said {
        self.fleet(&[&["explain"], words].concat())
    }

    fn build(&self) {
        assert_eq!(self.fleet(&["keygen", "-W", "key"]).code, Some(0));
        let built = self.fleet(&["build", "--key", "key.key", "fleet", "public"]);
        assert_eq!(built.code, Some(0), "{}", built.stderr);
    }
}

const KIOSK: [&str; 6] = ["--id", "till-1", "--label", "role=kiosk", "--label", "arch=arm64"];

#[test]
fn every_step_is_shown() {
    let desk = Desk::new();
    let said = desk.explain(&[&KIOSK[..], &["fleet"]].concat());
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
    let wanted = "device `till-1` in fleet `kiosks`, serial 7
  labels: arch=arm64, role=kiosk
group `lab`: does not match; its release is `2`
  no   `stage` is `lab`; there is no such label
group `shops`: matches; its release is `1`
  yes  `role` is `kiosk`
  yes  `arch` is one of `arm64`, `amd64`
  yes  there is no label `old`
group `arms`: not looked at; the first that matches counts
pin: none for `till-1`
release `1`: fleet/releases/1.yaml
  counts as good when healthy for 5s without a break; if not so within 50s, it stays as it is
service `db`: db-0
  bundle   /opt/db on the device
  restart  when it failed, at most 3 times in a row; after 1s, later each time up to 5m
  limits   all processors, all memory, 512 processes
  network  its own, loopback alone; root file system read-only
service `web`: web-0, web-1
  bundle   ../web, which `build` packs
  restart  always; after 1s, later each time up to 5m
  limits   all processors, 64 MiB of memory, 512 processes
  network  its own, loopback alone; root file system read-only
  after    `db` runs
";
    assert_eq!(said.stdout, wanted);
}

#[test]
fn a_pin_beats_a_group_and_needs_none() {
    let desk = Desk::new();
    let said = desk.explain(&["--id", "till-9", "--label", "role=kiosk", "--label", "arch=arm", "fleet"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(said.stdout.contains("  no   `arch` is one of `arm64`, `amd64`; it is `arm`\n"), "{}", said.stdout);
    assert!(said.stdout.contains("group `arms`: matches"), "{}", said.stdout);
    assert!(said.stdout.contains("pin: `2` (INC-881), which beats a group\nrelease `2`:"), "{}", said.stdout);
    let said = desk.explain(&["--device", "till-9", "fleet"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(said.stdout.contains("no group matches\npin: `2` (INC-881)"), "{}", said.stdout);
}

#[test]
fn without_a_release_the_status_is_1() {
    let desk = Desk::new();
    for format in ["text", "json"] {
        let said = desk.explain(&["--id", "x", "--labels", "role=till", "--format", format, "fleet"]);
        assert_eq!(said.code, Some(1), "{}", said.stdout);
        assert!(said.stderr.contains("device `x` has no release: no group matches"), "{}", said.stderr);
        assert_eq!(said.stderr.lines().count(), 1, "{}", said.stderr);
        assert!(said.stdout.contains("shops") && said.stdout.contains("arms"), "why not is shown: {}", said.stdout);
    }
    let said = desk.explain(&["--id", "x", "fleet"]);
    assert!(said.stdout.contains("note: a device adds `arch`"), "{}", said.stdout);
}

#[test]
fn a_built_folder_gives_the_same_answer() {
    let desk = Desk::new();
    desk.build();
    let ask = |folder: &str| -> Value {
        let said = desk.explain(&[&KIOSK[..], &["--format", "json", folder]].concat());
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        serde_json::from_str(&said.stdout).unwrap()
    };
    let (written, built) = (ask("fleet"), ask("public"));
    for key in ["device", "labels", "fleet", "serial", "version", "group", "pin", "gate", "considered", "notReached"] {
        assert!(written.get(key).is_some(), "{key}");
        assert_eq!(written[key], built[key], "{key}");
    }
    assert_eq!((&built["version"], &built["group"], &built["pin"]), (&json!("1"), &json!("shops"), &Value::Null));
    assert_eq!(built["considered"][0]["demands"][0]["holds"], false);
    assert_eq!(built["services"]["web"]["instances"], json!(["web-0", "web-1"]));
    assert_eq!(built["services"]["web"]["stop_signal"], "SIGTERM", "defaults are filled in");
    let digest = built["services"]["web"]["bundle"]["digest"].as_str().unwrap().replace(':', "-");
    assert!(desk.0.path().join("public/blobs").join(&digest).is_file());
    let said = desk.explain(&[&KIOSK[..], &["public"]].concat());
    assert!(said.stdout.contains(&digest.replace('-', ":")), "{}", said.stdout);

    // What a device would not take is not explained.
    let release = desk.0.path().join(built["document"].as_str().unwrap());
    let text = fs::read_to_string(&release).unwrap();
    fs::write(&release, text.replace("SIGTERM", "SIGKILL")).unwrap();
    let said = desk.explain(&[&KIOSK[..], &["public"]].concat());
    assert!(said.code == Some(1) && said.stderr.contains("has the digest"), "{}", said.stderr);
    fs::remove_file(&release).unwrap();
    let said = desk.explain(&[&KIOSK[..], &["public"]].concat());
    assert!(said.code == Some(1) && said.stderr.contains("the release `1` is missing"), "{}", said.stderr);
}

#[test]
fn the_device_is_a_file_or_words() {
    let desk = Desk::new();
    desk.write("device.toml", "id = 'till-1'\n[labels]\nrole = 'kiosk'\narch = 'mips'\n");
    let said = desk.explain(&["--device-file", "device.toml", "--label", "arch=amd64", "fleet"]);
    assert!(said.code == Some(0) && said.stdout.contains("release `1`"), "{}{}", said.stdout, said.stderr);
    assert!(said.stdout.contains("  labels: arch=amd64, role=kiosk\n"), "{}", said.stdout);
    let said = desk.explain(&["--device-file", "device.toml", "--id", "till-9", "fleet"]);
    assert!(said.stdout.contains("pin: `2`"), "{}", said.stdout);
    desk.write("nameless.toml", "[labels]\nrole = 'kiosk'\n");
    desk.write("wrong.toml", "idd = 'x'\n");
    for (words, code, text) in [
        (&["fleet"][..], 2, "--id"),
        (&["--id", "x", "--label", "role", "fleet"], 2, "key=value"),
        (&["--id", "x", "--format", "xml", "fleet"], 2, "xml"),
        (&["--id", "a/b", "fleet"], 1, "`a/b` is not a device's id"),
        (&["--device-file", "nameless.toml", "fleet"], 1, "has no `id`"),
        (&["--device-file", "wrong.toml", "fleet"], 1, "`wrong.toml` is not understood"),
        (&["--device-file", "nothing.toml", "fleet"], 1, "cannot read `nothing.toml`"),
        (&["--id", "x", "nowhere"], 1, "neither `fleet.yaml` nor `index.json`"),
    ] {
        let said = desk.explain(words);
        assert!(said.code == Some(code) && said.stderr.contains(text), "{words:?}: {:?} {}", said.code, said.stderr);
        assert_eq!(said.stdout, "", "{words:?}");
    }
    desk.write("fleet/fleet.yaml", &FLEET.replace("release: \"1\"", "release: \"3\""));
    let said = desk.explain(&["--id", "x", "fleet"]);
    assert!(said.code == Some(1) && said.stderr.contains("fleet.yaml:11: groups[1].release"), "{}", said.stderr);
}
