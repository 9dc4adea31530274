//! What a program may do and who it is: capabilities, ids, cgroups; who sees the runtime's state; and input that is too large.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde_json::{Value, json};
use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::command::Invocation;
use skiff_integration_tests::compare::each;
use skiff_integration_tests::kernel;
use skiff_integration_tests::runtime::Kind;
use skiff_lanes::runs;

use super::{NOT_MEASURED, NOT_OURS};
use crate::exec::{NO_EXEC, each_running, exec};

const INHERITABLE: &str = "grep ^CapInh /proc/self/status | tr '\\t' ' '";
const NONE: &str = "CapInh: 0000000000000000\n";

/// Also CVE-2022-27650 and CVE-2022-24769: a program of another user would get them from a file.
#[test]
fn cve_2022_29162_no_capability_is_inheritable() {
    // The caller's own are not handed on either.
    let caller = ["setpriv", "--inh-caps", "+chown,+kill,+net_raw"];
    each(&NOT_OURS, |runtime| {
        let bundle = Bundle::script(INHERITABLE);
        assert_eq!(runtime.container(&bundle).run_under(&caller, &[]).run().ok(), NONE);
    });
    each_running(&[NO_EXEC], &Bundle::sleeper(), |container| {
        for options in [&[][..], &["--cap", "CAP_KILL"], &["--user", "1000"]] {
            let mut words = vec!["exec"];
            words.extend(options);
            words.extend([&*container.id, "/bin/sh", "-c", INHERITABLE]);
            let outcome = container.runtime.command_under(&caller, &words).env("SKIFF_TEST_ID", &container.id).run();
            // Where --cap is given, runc 1.1 gives it in all five sets, and is the measure for what is asked for.
            if options.first() != Some(&"--cap") || container.runtime.kind == Kind::Skiff {
                assert_eq!(outcome.ok(), NONE, "{options:?}");
            }
        }
    });
}

/// A number is itself or refused; none becomes root.
#[runs(everywhere)]
fn cve_2024_40635_a_user_id_that_wraps() {
    const USER: &str = "grep -E '^(Uid|Gid):' /proc/self/status | tr '\\t' ' '";
    let wrapping = [json!(4_294_967_295u64), json!(4_294_967_296u64), json!(-1), json!(1u64 << 63), json!(1e10)];
    let doubtful = [json!(1000.5), json!("0"), json!("4294967296"), json!(null), json!(true), json!([0])];
    each(&NOT_MEASURED, |runtime| {
        for member in ["uid", "gid"] {
            for id in wrapping.iter().chain(&doubtful) {
                let bundle = Bundle::script(USER).edit(|config| config["process"]["user"][member] = id.clone());
                let container = runtime.container(&bundle);
                container.run(&[]).exits(1).fails_with(&[&format!("process.user.{member}")]);
                container.assert_gone();
            }
        }
        for id in wrapping.iter().chain(&doubtful[..3]) {
            let bundle = Bundle::script(USER).edit(|config| config["process"]["user"]["additionalGids"] = json!([id]));
            runtime.container(&bundle).run(&[]).exits(1).fails_with(&["process.user.additionalGids"]);
        }
    });
    each_running(&NOT_MEASURED, &Bundle::sleeper(), |container| {
        let words =
            ["4294967295", "4294967296", "18446744073709551616", "-1", "+0", "0x0", "1e3", " 0", "0 ", "", "root"];
        for id in words {
            for user in [id.to_owned(), format!("1000:{id}"), format!("{id}:1000")] {
                // The empty word is no user at all, which is the container's own.
                if !user.is_empty() {
                    exec(container, &["--user", &user], &["/bin/sh", "-c", USER]).fails_with(&["--user"]);
                }
            }
            exec(container, &["--additional-gids", id], &["/bin/true"]).fails();
        }
    });
}

/// The largest ids that there are, and those that a signed reading would make negative.
#[runs(host, guest)]
fn cve_2024_40635_large_ids_are_themselves() {
    each(&NOT_MEASURED, |runtime| {
        for id in [65_535u32, 65_536, 2_147_483_647, 2_147_483_648, 4_294_967_294] {
            let bundle = Bundle::script("grep -E '^(Uid|Gid):' /proc/self/status | tr '\\t' ' '").edit(|config| {
                config["process"]["user"] = json!({"uid": id, "gid": id});
            });
            let wanted = format!("Uid: {id} {id} {id} {id}\nGid: {id} {id} {id} {id}\n");
            assert_eq!(runtime.run(&bundle).ok(), wanted);
        }
    });
}

/// Opens for writing whatever of the cgroup trees would take a program of the container's choosing out to the host, or out
/// of its limits; and makes a folder in each.
const CGROUP_WRITER: &str = r#"
cd /sys/fs/cgroup || exit 0
for file in $(find . -name release_agent -o -name notify_on_release -o -name cgroup.procs -o -name 'devices.*' -o -name memory.max); do
    (: >>$file) && echo "WROTE $file"
done
for folder in $(find . -type d); do mkdir $folder/skt && rmdir $folder/skt && echo "MADE $folder/skt"; done
grep -E ' - cgroup2? ' /proc/self/mountinfo | grep -v ' ro,' | grep -q . && echo 'WRITABLE MOUNT'
echo seen
"#;

fn cgroup_writer(bundle: Bundle) -> Bundle {
    bundle.args(&["/bin/sh", "-c", &format!("{{ {CGROUP_WRITER} }} 2>/dev/null")])
}

/// With the mount as `skiff spec` has it, root of the container changes nothing in it, with a cgroup namespace and without.
#[runs(cgroups)]
fn cve_2022_0492_the_release_agent_is_not_writable() {
    each(&NOT_OURS, |runtime| {
        for bundle in [Bundle::new(), Bundle::new().namespace("cgroup", None)] {
            assert_eq!(runtime.run(&cgroup_writer(bundle)).ok(), "seen\n");
        }
    });
}

/// Without a network namespace a user namespace is shown the host's sysfs, and with it would come the host's cgroups: as
/// writable as the container's root is the host's root, or the user to whom some of them belong.
#[test]
fn cve_2023_25809_the_hosts_cgroups_do_not_come_with_its_sysfs() {
    each(&NOT_MEASURED, |runtime| {
        for (listed, network) in [(true, true), (true, false), (false, true), (false, false)] {
            let bundle = cgroup_writer(Bundle::new().user_namespace(0));
            let bundle = if network { bundle } else { bundle.without_namespace("network") };
            let bundle = if listed { bundle } else { super::without_mount(bundle, "/sys/fs/cgroup") };
            let mut seen = runtime.run(&bundle).ok();
            if kernel::lacks("mount_setattr") {
                // Those that are covered cannot be made read-only there.
                seen = seen.replace("WRITABLE MOUNT\n", "");
            }
            assert_eq!(seen, "seen\n", "cgroup mount listed: {listed}, network namespace: {network}");
        }
        let bundle = Bundle::script("ls -A /sys/fs/cgroup; ls -d /sys/kernel").user_namespace(0);
        let bundle = super::without_mount(bundle.without_namespace("network"), "/sys/fs/cgroup");
        assert_eq!(runtime.run(&bundle).ok(), "/sys/kernel\n");
    });
}

/// The same of the configuration that a user begins with.
#[test]
fn cve_2023_25809_the_example_for_a_user_shows_no_cgroups() {
    each(&NOT_MEASURED, |runtime| {
        let bundle = Bundle::new();
        let path = bundle.path().to_string_lossy();
        runtime.command(&["spec", "--rootless", "--bundle", &path]).run().ok();
        let text = fs::read_to_string(bundle.path().join("config.json")).unwrap();
        let example: Value = serde_json::from_str(&text).unwrap();
        let bundle = cgroup_writer(bundle.edit(|config| {
            *config = example;
            config["process"]["terminal"] = json!(false);
        }));
        assert_eq!(runtime.run(&bundle).ok().replace("WRITABLE MOUNT\n", ""), "seen\n");
    });
}

/// Also CVE-2024-25621: what others could enter, they could fill. Whatever the caller's umask.
#[test]
fn cve_2021_41103_state_folders_are_private() {
    each(&NOT_MEASURED, |runtime| {
        let bundle = Bundle::sleeper();
        runtime.write(&bundle);
        let folder = tempfile::Builder::new().prefix("skt-state-").tempdir().unwrap();
        // The folder above belongs to everybody, as a careless administrator may have it.
        fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let root = folder.path().join("made/root");
        let id = format!("{}-private", bundle.id);
        let (root_text, path) = (root.to_string_lossy(), bundle.path().to_string_lossy());
        let binary = runtime.binary.to_string_lossy();
        let words = |verb: &[&str]| {
            let mut all = vec!["-c", "umask 0; exec \"$@\"", "sh", &*binary, "--root", &*root_text];
            all.extend(verb);
            Invocation::new("sh", &all).env("SKIFF_TEST_ID", &id).run()
        };
        words(&["run", "--detach", "--bundle", &path, &id]).ok();
        let mut complaints = Vec::new();
        complaints.extend(too_open(&root, 0o700));
        complaints.extend(too_open(root.parent().unwrap(), 0o711));
        for entry in walk(&root) {
            let socket = entry.file_name().is_some_and(|name| name == "notify" || name == "start");
            complaints.extend(too_open(&entry, if entry.is_dir() || socket { 0o755 } else { 0o600 }));
        }
        complaints.extend(too_open(&root.join(&id), 0o700));
        let stranger = Invocation::new("ls", &[&*root_text]).user(65_534).run();
        words(&["delete", "--force", &id]).ok();
        assert!(complaints.is_empty(), "{complaints:#?}");
        stranger.fails_with(&["Permission denied"]);
    });
}

fn too_open(path: &Path, most: u32) -> Option<String> {
    let mode = fs::symlink_metadata(path).unwrap().mode() & 0o7777;
    (mode & !most != 0).then(|| format!("{} is {mode:o}", path.display()))
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(walk(&path));
        }
        found.push(path);
    }
    found
}

/// Also CVE-2026-115520: there is nothing to restore, so nothing that a checkpoint could bring.
#[test]
fn cve_2026_119101_checkpoint_and_restore_are_refused() {
    each_running(&NOT_MEASURED, &Bundle::sleeper(), |container| {
        let folder = container.bundle.path().join("checkpoint");
        let (image, bundle) = (folder.to_string_lossy(), container.bundle.path().to_string_lossy());
        for words in [
            &["checkpoint", &*container.id][..],
            &["checkpoint", "--image-path", &*image, &*container.id],
            &["restore", "--image-path", &*image, "--bundle", &*bundle, "skt-restored"],
        ] {
            container.runtime.command(words).run().exits(1).fails_with(&["neither checkpoint nor restore"]);
        }
        assert!(!folder.exists() && container.status() == "running");
        let features = container.runtime.command(&["features"]).run().ok();
        assert!(!features.contains("\"org.opencontainers.runc.checkpoint.enabled\":\"true\""), "{features}");
    });
}

/// A length that outgrows its field would make of the rest another message (a namespace to join, a path to write).
#[test]
fn cve_2021_43784_input_that_is_too_large() {
    type Edit = fn(&mut Value);
    let rows: [(&str, Edit); 12] = [
        ("config.json", |c| c["annotations"] = json!({"x": "x".repeat(5 << 20)})),
        ("Mappings", |c| {
            let line = |id: u32| json!({"containerID": id * 2, "hostID": 100_000 + id * 2, "size": 1});
            let lines: Vec<Value> = (0..20_000).map(line).collect();
            c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
            (c["linux"]["uidMappings"], c["linux"]["gidMappings"]) = (json!(lines), json!(lines));
        }),
        ("mounts", |c| mount(c, &"/x".repeat(40_000))),
        ("mounts", |c| mount(c, &format!("/{}", "x".repeat(70_000)))),
        ("namespace", |c| c["linux"]["namespaces"][0]["path"] = json!("/p".repeat(40_000))),
        ("argument list too long", |c| c["process"]["args"] = json!(["/bin/true", "x".repeat(3 << 20)])),
        ("", |c| c["process"]["args"] = json!(["x".repeat(1 << 20)])),
        ("", |c| c["process"]["cwd"] = json!(format!("/{}", "x".repeat(1 << 20)))),
        ("hostname", |c| c["hostname"] = json!("x".repeat(1 << 20))),
        ("sysctl", |c| c["linux"]["sysctl"] = json!({"kernel.shmmni": "1".repeat(1 << 20)})),
        ("sysctl", |c| c["linux"]["sysctl"] = json!({format!("net.{}", "x".repeat(1 << 20)): "1"})),
        ("root", |c| c["root"]["path"] = json!("x".repeat(1 << 20))),
    ];
    each(&NOT_MEASURED, |runtime| {
        for (number, (word, edit)) in rows.into_iter().enumerate() {
            let bundle = Bundle::new().edit(edit);
            let container = runtime.container(&bundle);
            let outcome = container.run(&[]);
            assert!(!outcome.hung && outcome.signal.is_none() && !outcome.succeeded(), "row {number}");
            assert!(outcome.stderr.len() < 4 << 20 && outcome.stderr.lines().count() == 1, "row {number} is no line");
            let start: String = outcome.stderr.chars().take(300).collect();
            assert!(outcome.stderr.contains(word), "row {number} says nothing of {word}: {start}");
            assert!(!outcome.stderr.contains("without a word") && !outcome.stderr.contains("packet"), "{start}");
            container.assert_gone();
        }
    });
}

fn mount(config: &mut Value, destination: &str) {
    let mounts = config["mounts"].as_array_mut().unwrap();
    mounts.push(json!({"destination": destination, "type": "tmpfs", "source": "tmpfs"}));
}
