//! `skiffctl fleet` on real folders, and its keys and signatures against Debian's `minisign`.
#![allow(clippy::disallowed_methods, reason = "the bans protect the product; these programs only play with its output")]
#![allow(clippy::unwrap_used, reason = "the lint's exception for tests does not reach their helper functions")]

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

struct Desk(tempfile::TempDir);

impl Desk {
    /// A desk with a fleet of one release whose bundle is a folder.
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        desk.write("fleet/fleet.yaml", FLEET);
        desk.write("fleet/releases/1.yaml", RELEASE);
        desk.write("fleet/bundles/web/config.json", "{}");
        desk.write("fleet/bundles/web/rootfs/bin/busybox", "program");
        fs::hard_link(desk.at("fleet/bundles/web/rootfs/bin/busybox"), desk.at("fleet/bundles/web/rootfs/bin/ls"))
            .unwrap();
        symlink("/bin/busybox", desk.at("fleet/bundles/web/rootfs/bin/sh")).unwrap();
        desk.write(&format!("fleet/bundles/web/rootfs/{}/long", "deep/".repeat(30)), "long names");
        desk
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), text).unwrap();
    }

    fn fleet(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skiffctl"));
        command.arg("fleet").args(words).current_dir(self.0.path()).stdin(Stdio::null()).output().unwrap()
    }

    /// Runs what must succeed.
    fn good(&self, words: &[&str]) -> String {
        let output = self.fleet(words);
        assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Runs what must be refused, in one line.
    fn bad(&self, words: &[&str]) -> String {
        let output = self.fleet(words);
        assert!(!output.status.success(), "{words:?}");
        let said = text(&output.stderr);
        assert_eq!(said.lines().count(), 1, "{said}");
        said
    }

    fn build(&self) -> String {
        self.good(&["build", "-W", "--key", "fleet.key", "fleet", "public"])
    }

    fn minisign(&self, words: &[&str], stdin: &str) -> Output {
        let input = self.at("stdin");
        fs::write(&input, stdin).unwrap();
        let mut command = Command::new("minisign");
        command.args(words).current_dir(self.0.path()).stdin(fs::File::open(input).unwrap());
        command.output().expect("minisign runs; integration-tests/setup.sh installs it")
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.at(folder)).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

const FLEET: &str = "apiVersion: skiff.dev/v1
kind: Fleet
metadata: {name: kiosks, serial: 7}
releases: {\"1\": releases/1.yaml}
groups: [{name: all, release: \"1\"}]
";

const RELEASE: &str = "apiVersion: skiff.dev/v1
kind: Release
metadata: {name: kiosk, version: \"1\"}
services: {web: {bundle: ../bundles/web}}
";

#[test]
fn keys_are_made_once_and_kept_secret() {
    let desk = Desk::new();
    let said = desk.good(&["keygen", "-W"]);
    assert!(said.contains("not protected by a password"), "{said}");
    assert_eq!((mode(&desk.at("fleet.key")), mode(&desk.at("fleet.pub"))), (0o600, 0o644));
    let public = fs::read(desk.at("fleet.pub")).unwrap();
    assert!(desk.bad(&["keygen", "-W"]).contains("`fleet.key` exists"));
    fs::remove_file(desk.at("fleet.key")).unwrap();
    assert!(desk.bad(&["keygen", "-W"]).contains("`fleet.pub` exists"));
    assert_eq!(fs::read(desk.at("fleet.pub")).unwrap(), public);
    assert!(!desk.at("fleet.key").exists());
    let said = desk.bad(&["build", "-W", "--key", "fleet.pub", "fleet", "public"]);
    assert!(said.contains("`fleet.pub` is the public half") && said.contains("NAME.key"), "{said}");
}

#[test]
fn what_we_sign_minisign_verifies() {
    let desk = Desk::new();
    desk.write("password", "correct horse\n");
    desk.good(&["keygen", "-W"]);
    desk.good(&["keygen", "locked", "--password-file", "password"]);
    for (name, password) in [("fleet", &["-W"][..]), ("locked", &["--password-file", "password"])] {
        let (key, out) = (format!("{name}.key"), format!("public-{name}"));
        desk.good(&[&["build", "--key", &key], password, &["fleet", &out]].concat());
        let verified = desk.minisign(&["-Vm", &format!("{out}/index.json"), "-p", &format!("{name}.pub")], "");
        assert!(verified.status.success(), "{}", text(&verified.stderr));
        assert!(text(&verified.stdout).contains("serial:7"), "{}", text(&verified.stdout));
        // And minisign signs with our keys.
        let mut words = vec!["-Sm", "fleet/fleet.yaml", "-x", "by-minisign", "-s", &key];
        words.extend((name == "fleet").then_some("-W"));
        let signed = desk.minisign(&words, "correct horse\n");
        assert!(signed.status.success(), "{name}: {}", text(&signed.stderr));
    }
    desk.write("wrong", "battery staple\n");
    let refused = desk.bad(&["build", "--key", "locked.key", "--password-file", "wrong", "fleet", "elsewhere"]);
    assert!(refused.contains("locked.key") && !desk.at("elsewhere").exists(), "{refused}");
}

#[test]
fn we_sign_with_a_key_that_minisign_made() {
    let desk = Desk::new();
    let made = desk.minisign(&["-GW", "-s", "fleet.key", "-p", "fleet.pub"], "");
    assert!(made.status.success(), "{}", text(&made.stderr));
    desk.build();
    let verified = desk.minisign(&["-Vm", "public/index.json", "-p", "fleet.pub"], "");
    assert!(verified.status.success(), "{}", text(&verified.stderr));
    // A device takes a signature that minisign makes over the same bytes.
    let keys = skiff_supervisor::fleet::verify::Keys::read(desk.0.path()).unwrap();
    let bytes = fs::read(desk.at("public/index.json")).unwrap();
    let signed = desk.minisign(&["-Sm", "public/index.json", "-W", "-s", "fleet.key", "-x", "by-minisign"], "");
    assert!(signed.status.success(), "{}", text(&signed.stderr));
    for signature in ["public/index.json.minisig", "by-minisign"] {
        let signature = fs::read(desk.at(signature)).unwrap();
        let memory = skiff_supervisor::fleet::verify::Memory::default();
        let judged = skiff_supervisor::fleet::verify::judge(&bytes, &signature, &keys, &memory, None).unwrap();
        assert!(judged.memory.signed.is_some_and(|time| time > 1_700_000_000));
    }
}

#[test]
fn a_folder_is_built_and_building_again_changes_nothing() {
    let desk = Desk::new();
    desk.good(&["keygen", "-W"]);
    desk.build();
    assert_eq!(desk.names("public"), ["blobs", "index.json", "index.json.minisig", "releases"]);
    let (blobs, releases) = (desk.names("public/blobs"), desk.names("public/releases"));
    assert_eq!((blobs.len(), releases.len()), (1, 1));
    for path in ["public/index.json", "public/index.json.minisig", &format!("public/blobs/{}", blobs[0])] {
        assert_eq!(mode(&desk.at(path)), 0o644, "{path}");
    }
    let release = fs::read_to_string(desk.at(&format!("public/releases/{}", releases[0]))).unwrap();
    assert!(release.contains(&blobs[0].replace("sha256-", "sha256:")), "{release}");
    let state = || -> Vec<_> {
        let files = ["index.json", "index.json.minisig"].map(String::from).into_iter();
        let files = files.chain([format!("blobs/{}", blobs[0]), format!("releases/{}", releases[0])]);
        let look = |file| fs::metadata(desk.at("public").join(file)).map(|it| (it.ino(), it.mtime_nsec())).unwrap();
        files.map(look).collect()
    };
    let before = state();
    desk.build();
    assert_eq!(state(), before);
    // Another desk and another time: the same bytes.
    let second = Desk::new();
    fs::copy(desk.at("fleet.key"), second.at("fleet.key")).unwrap();
    second.build();
    assert_eq!(second.names("public/blobs"), blobs);
    assert_eq!(fs::read(second.at("public/index.json")).unwrap(), fs::read(desk.at("public/index.json")).unwrap());
}

#[test]
fn a_file_that_went_bad_is_written_again() {
    let desk = Desk::new();
    desk.good(&["keygen", "-W"]);
    desk.build();
    let blob = desk.at("public/blobs").join(&desk.names("public/blobs")[0]);
    let (whole, signature) = (fs::read(&blob).unwrap(), desk.at("public/index.json.minisig"));
    fs::write(&blob, b"bad").unwrap();
    fs::write(&signature, b"bad").unwrap();
    desk.build();
    assert_eq!(fs::read(&blob).unwrap(), whole);
    assert!(desk.minisign(&["-Vm", "public/index.json", "-p", "fleet.pub"], "").status.success());
}

#[test]
fn a_serial_is_given_once() {
    let desk = Desk::new();
    desk.good(&["keygen", "-W"]);
    desk.build();
    let index = fs::read(desk.at("public/index.json")).unwrap();
    desk.write("fleet/bundles/web/rootfs/new", "new");
    let build = ["build", "-W", "--key", "fleet.key", "fleet", "public"];
    assert!(desk.bad(&build).contains("another index with serial 7"));
    desk.write("fleet/fleet.yaml", &FLEET.replace("serial: 7", "serial: 6"));
    assert!(desk.bad(&build).contains("`metadata.serial` is 6"));
    assert_eq!(fs::read(desk.at("public/index.json")).unwrap(), index);
    desk.write("fleet/fleet.yaml", &FLEET.replace("serial: 7", "serial: 8"));
    desk.build();
    assert_eq!(desk.names("public/blobs").len(), 2, "older archives stay for devices that are late");
}

#[test]
fn what_cannot_be_packed_is_named() {
    let desk = Desk::new();
    desk.good(&["keygen", "-W"]);
    let build = ["build", "-W", "--key", "fleet.key", "fleet", "public"];
    desk.write("fleet/bundles/web/notes.txt", "");
    assert!(desk.bad(&build).contains("notes.txt` is neither"));
    fs::remove_file(desk.at("fleet/bundles/web/notes.txt")).unwrap();
    let pipe = desk.at("fleet/bundles/web/rootfs/pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert!(desk.bad(&build).contains("rootfs/pipe` is a pipe or a socket"));
    fs::remove_file(&pipe).unwrap();
    assert!(!desk.at("public/index.json").exists());
    assert!(desk.bad(&["build", "-W", "--key", "missing.key", "fleet", "public"]).contains("missing.key"));
    desk.write("fleet/releases/1.yaml", &RELEASE.replace("bundle:", "image:"));
    assert!(desk.bad(&build).contains("releases/1.yaml:4"));
}

#[test]
fn a_failing_disk_publishes_no_index() {
    let desk = Desk::new();
    desk.good(&["keygen", "-W"]);
    desk.build();
    let index = fs::read(desk.at("public/index.json")).unwrap();
    desk.write("fleet/fleet.yaml", &FLEET.replace("serial: 7", "serial: 8"));
    // An archive, its folder, a release, its folder, and the index itself: each of these can fail to reach the disk.
    for (number, error) in (1..=5).zip(["EIO", "ENOSPC", "EIO", "EDQUOT", "EIO"]) {
        desk.write("fleet/bundles/web/rootfs/new", &number.to_string());
        let inject = format!("inject=fsync:error={error}:when={number}");
        let mut command = Command::new("strace");
        command.args(["-f", "-o", "/dev/null", "-e", "trace=fsync", "-e", &inject, env!("CARGO_BIN_EXE_skiffctl")]);
        command.args(["fleet", "build", "-W", "--key", "fleet.key", "fleet", "public"]).current_dir(desk.0.path());
        let output = command.output().expect("strace runs; integration-tests/setup.sh installs it");
        assert!(!output.status.success(), "fsync {number}: {}", text(&output.stdout));
        assert_eq!(fs::read(desk.at("public/index.json")).unwrap(), index, "fsync {number}");
    }
    desk.build();
    assert!(desk.minisign(&["-Vm", "public/index.json", "-p", "fleet.pub"], "").status.success());
}

/// The example that people copy: nothing is wrong with it, it builds, and devices get what its comments say.
#[test]
fn the_example_is_a_fleet() {
    let desk = Desk::new();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs/fleet");
    let output = desk.fleet(&["lint", example]);
    let said = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && said.0.contains("nothing wrong") && said.1.is_empty(), "{said:?}");
    desk.good(&["keygen", "-W"]);
    desk.good(&["build", "-W", "--key", "fleet.key", example, "example"]);
    assert_eq!((desk.names("example/releases").len(), desk.names("example/blobs").len()), (2, 1));
    let verified = desk.minisign(&["-Vm", "example/index.json", "-p", "fleet.pub"], "");
    assert!(verified.status.success(), "{}", text(&verified.stderr));
    for (id, labels, release) in [
        ("till-0042", &["role=kiosk", "arch=arm64"][..], "2026.11.3"),
        ("till-0043", &["role=kiosk", "arch=arm64"], "2026.11.2"),
        ("bench", &["stage=lab"], "2026.11.3"),
    ] {
        let labels: Vec<_> = labels.iter().flat_map(|label| ["--label", label]).collect();
        for folder in [example, "example"] {
            let said = desk.good(&[&["explain", "--id", id][..], &labels, &[folder]].concat());
            assert!(said.contains(&format!("release `{release}`: {folder}")), "{said}");
        }
    }
}
