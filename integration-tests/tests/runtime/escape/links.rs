//! Links of the image where the runtime mounts, makes devices, puts the terminal, or enters.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use serde_json::json;
use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::compare::each;
use skiff_integration_tests::console::ConsoleSocket;
use skiff_integration_tests::runtime::Kind;
use skiff_lanes::runs;

use super::{Canaries, NOT_MEASURED, linked, survives, without_mount};

/// Also CVE-2026-47766: default devices and links made through the image's /dev.
#[runs(everywhere)]
fn cve_2026_41579_dev_is_a_link() {
    each(&[(Kind::Runc, "1.1.5 is before the fix")], |runtime| {
        let canaries = Canaries::new();
        for target in [canaries.path().to_owned(), canaries.path().join("sub")] {
            survives(runtime, &linked(Bundle::new().writable(), "dev", &target), &canaries);
        }
    });
}

#[test]
fn cve_2026_41579_dev_is_a_link_and_nothing_is_mounted_there() {
    // Run on the references by hand only, in a machine that may be lost: these versions have the hole.
    let open = [
        (Kind::Runc, "1.1.5 is before the fix"),
        (Kind::Crun, "1.8 is before the fix"),
        (Kind::Reference, "0.7.0 is before the fix"),
    ];
    each(&open, |runtime| {
        let canaries = Canaries::new();
        for target in [canaries.path().to_owned(), canaries.path().join("sub")] {
            let bundle = without_mount(linked(Bundle::new().writable(), "dev", &target), "/dev");
            survives(runtime, &bundle, &canaries);
        }
    });
}

/// A link to the host, or to a place of the image where masks would not be looked for: refused, not followed.
#[runs(everywhere)]
fn cve_2025_54867_proc_and_sys_are_links() {
    each(&[], |runtime| {
        for name in ["proc", "sys"] {
            let canaries = Canaries::new();
            for target in [canaries.path().to_owned(), PathBuf::from("data")] {
                let bundle = linked(Bundle::new(), name, &target);
                survives(runtime, &bundle, &canaries);
                if runtime.kind == Kind::Skiff {
                    let words = [&*format!("/{name}"), "symbolic link"];
                    runtime.container(&bundle).run(&[]).fails_with(&words);
                }
            }
        }
    });
}

/// `..` and absolute links on the way to the target.
#[runs(everywhere)]
fn cve_2019_18837_mount_points_through_links_of_the_image() {
    each(&[], |runtime| {
        let canaries = Canaries::new();
        let climbing = PathBuf::from("../".repeat(12)).join(canaries.path().strip_prefix("/").unwrap());
        for target in [canaries.path().to_owned(), climbing] {
            for destination in ["/link/sub", "/link/made/deep", "/link"] {
                let bundle = Bundle::new()
                    .writable()
                    .mount(json!({"destination": destination, "type": "tmpfs", "source": "tmpfs"}));
                symlink(&target, bundle.rootfs().join("link")).unwrap();
                survives(runtime, &bundle, &canaries);
            }
            let bundle = Bundle::new().writable();
            let file = bundle.path().join("file");
            fs::write(&file, "file\n").unwrap();
            let bundle = bundle.mount(json!({"destination": "/link/flag", "source": file, "options": ["bind"]}));
            symlink(&target, bundle.rootfs().join("link")).unwrap();
            survives(runtime, &bundle, &canaries);
        }
    });
}

#[runs(everywhere)]
fn devices_through_links_of_the_image() {
    each(&[], |runtime| {
        let canaries = Canaries::new();
        let bundle = Bundle::new().writable().edit(|config| {
            config["linux"]["devices"] =
                json!([{"path": "/link/device", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666}]);
        });
        symlink(canaries.path(), bundle.rootfs().join("link")).unwrap();
        survives(runtime, &bundle, &canaries);
    });
}

#[test]
fn working_directory_made_through_a_link() {
    each(&[], |runtime| {
        let canaries = Canaries::new();
        let bundle = Bundle::new().writable().edit(|config| config["process"]["cwd"] = json!("/link/made"));
        symlink(canaries.path(), bundle.rootfs().join("link")).unwrap();
        survives(runtime, &bundle, &canaries);
    });
}

/// The terminal would be put over whatever the link names, in procfs or on the host.
#[test]
fn cve_2025_52565_the_console_is_a_link() {
    each(&NOT_MEASURED, |runtime| {
        let canaries = Canaries::new();
        for target in [canaries.path().join("console"), "/proc/sysrq-trigger".into(), "pts/0".into(), "null".into()] {
            // A folder of somebody else's in the place of our own tmpfs.
            let bundle = Bundle::script("echo x >/dev/tty; echo started");
            let volume = bundle.path().join("volume");
            for folder in ["pts", "shm", "mqueue"] {
                fs::create_dir_all(volume.join(folder)).unwrap();
            }
            fs::write(volume.join("null"), "").unwrap();
            symlink(&target, volume.join("console")).unwrap();
            let bundle = bundle.edit(|config| {
                config["process"]["terminal"] = json!(true);
                let mounts = config["mounts"].as_array_mut().unwrap();
                let dev = mounts.iter_mut().find(|mount| mount["destination"] == "/dev").unwrap();
                *dev = json!({"destination": "/dev", "source": volume, "options": ["bind"]});
            });
            let socket = ConsoleSocket::listen(bundle.path(), "c");
            let container = runtime.container(&bundle);
            container.create(&["--console-socket", &socket.path()]).fails_with(&["/dev/console"]);
            canaries.unchanged();
            container.assert_gone();
        }
    });
}

#[runs(everywhere)]
fn state_and_cgroup_names_cannot_climb() {
    each(&[(Kind::Crun, "1.8 deletes nothing and says nothing")], |runtime| {
        let canaries = Canaries::new();
        let bundle = Bundle::new();
        runtime.write(&bundle);
        let climbing = format!("../{}", canaries.path().file_name().unwrap().to_string_lossy());
        for verb in ["state", "start", "delete"] {
            runtime.command(&[verb, &climbing]).run().fails();
        }
        let _either_way = runtime.command(&["delete", "--force", &climbing]).run();
        canaries.unchanged();
    });
}
