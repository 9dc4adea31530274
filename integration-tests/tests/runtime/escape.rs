//! Escapes: images and configurations that try to make the runtime touch the host. A tree of canaries on the host must
//! be as it was, whatever the runtime answers.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::json;
use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::compare::each;
use skiff_integration_tests::runtime::Runtime;
use skiff_lanes::runs;

/// A folder of the host that no container may change.
struct Canaries {
    folder: tempfile::TempDir,
    before: BTreeMap<PathBuf, String>,
}

impl Canaries {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("skt-canary-").tempdir().unwrap();
        for name in ["null", "flag", "pts/0", "self/attr/exec", "sub/deep", "ptmx"] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "canary\n").unwrap();
        }
        let before = Self::look(folder.path());
        Self { folder, before }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn look(folder: &Path) -> BTreeMap<PathBuf, String> {
        let mut seen = BTreeMap::new();
        let mut pending = vec![folder.to_owned()];
        while let Some(path) = pending.pop() {
            let data = fs::symlink_metadata(&path).unwrap();
            let text = if data.is_file() { fs::read_to_string(&path).unwrap() } else { String::new() };
            if data.is_dir() {
                pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
            seen.insert(path, format!("{:o} {} {} {} {text}", data.mode(), data.uid(), data.gid(), data.ino()));
        }
        seen
    }

    #[track_caller]
    fn unchanged(&self) {
        assert_eq!(Self::look(self.path()), self.before, "the canaries on the host changed");
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!table.contains(&*self.path().to_string_lossy()), "something is mounted on the canaries");
    }
}

/// Replaces a folder of the image by a link to the canaries.
fn linked(bundle: Bundle, name: &str, canaries: &Canaries) -> Bundle {
    fs::remove_dir(bundle.rootfs().join(name)).unwrap();
    symlink(canaries.path(), bundle.rootfs().join(name)).unwrap();
    bundle
}

fn without_mount(bundle: Bundle, prefix: &'static str) -> Bundle {
    bundle.edit(|config| {
        let mounts = config["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with(prefix));
    })
}

/// Runs it, whatever comes of it, and looks at the canaries and for what is left.
fn survives(runtime: &Runtime, bundle: &Bundle, canaries: &Canaries) -> String {
    let container = runtime.container(bundle);
    let outcome = container.run(&[]);
    assert!(!outcome.hung, "{outcome}");
    canaries.unchanged();
    if runtime.kind != skiff_integration_tests::runtime::Kind::Reference {
        container.assert_gone();
    }
    outcome.stdout
}

#[runs(everywhere)]
fn dev_is_a_link() {
    // CVE-2026-41579, CVE-2026-47766: default devices and links made through the image's /dev.
    each(&[(skiff_integration_tests::runtime::Kind::Runc, "1.1.5 is before the fix")], |runtime| {
        let canaries = Canaries::new();
        survives(runtime, &linked(Bundle::new().writable(), "dev", &canaries), &canaries);
    });
}

#[test]
fn dev_is_a_link_and_nothing_is_mounted_there() {
    use skiff_integration_tests::runtime::Kind::{Crun, Reference, Runc};
    // Run on the references by hand only, in a machine that may be lost: these versions have the hole.
    let open = [(Runc, "1.1.5 is before the fix"), (Crun, "1.8 is before the fix"), (Reference, "0.7.0 is not fixed")];
    each(&open, |runtime| {
        let canaries = Canaries::new();
        let bundle = without_mount(linked(Bundle::new().writable(), "dev", &canaries), "/dev");
        survives(runtime, &bundle, &canaries);
    });
}

#[runs(everywhere)]
fn proc_and_sys_are_links() {
    // CVE-2019-16884, CVE-2023-27561, CVE-2025-54867.
    each(&[], |runtime| {
        for name in ["proc", "sys"] {
            let canaries = Canaries::new();
            survives(runtime, &linked(Bundle::new(), name, &canaries), &canaries);
        }
    });
}

#[test]
fn proc_is_not_procfs() {
    // Sysctls and labels are written to a procfs of the runtime's own, never to what the image calls /proc.
    each(&[], |runtime| {
        let canaries = Canaries::new();
        let bundle = without_mount(Bundle::new(), "/proc").file("/proc/sys/net/ipv4/ip_forward", 0o644, "fake\n").edit(
            |config| {
                config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
                config["linux"]["maskedPaths"] = json!([]);
                config["linux"]["readonlyPaths"] = json!([]);
            },
        );
        survives(runtime, &bundle, &canaries);
        let fake = fs::read_to_string(bundle.rootfs().join("proc/sys/net/ipv4/ip_forward")).unwrap();
        assert_eq!(fake, "fake\n", "written to the image");
    });
}

#[runs(everywhere)]
fn the_source_of_a_mask_is_not_the_images_null() {
    // CVE-2025-31133: /dev/null of the container replaced, so that a mask shows (and lets write) something else.
    use skiff_integration_tests::runtime::Kind::{Crun, Reference, Runc};
    let open =
        [(Runc, "1.1.5 is before the fix"), (Crun, "not measured"), (Reference, "refuses, and leaves its folder")];
    each(&open, |runtime| {
        let canaries = Canaries::new();
        let evil = canaries.path().join("flag");
        let mask = |bundle: Bundle| bundle.edit(|config| config["linux"]["maskedPaths"] = json!(["/data/secret"]));
        let base = || {
            mask(Bundle::script("cat /data/secret; echo changed >/data/secret").writable().file(
                "/data/secret",
                0o666,
                "secret\n",
            ))
        };
        let bound = base().mount(json!({"destination": "/dev/null", "source": evil, "options": ["bind"]}));
        let seen = survives(runtime, &bound, &canaries);
        assert!(!seen.contains("canary") && !seen.contains("secret"), "{seen}");
        let replaced = without_mount(base(), "/dev");
        symlink(&evil, replaced.rootfs().join("dev/null")).unwrap();
        let seen = survives(runtime, &replaced, &canaries);
        assert!(!seen.contains("canary") && !seen.contains("secret"), "{seen}");
    });
}

#[runs(everywhere)]
fn working_directory_in_a_leaked_descriptor() {
    // CVE-2024-21626. The caller holds folders of the host open, too.
    each(&[(skiff_integration_tests::runtime::Kind::Crun, "1.8 goes where its caller's descriptor is")], |runtime| {
        let canaries = Canaries::new();
        let flag = canaries.path().join("flag");
        let climb =
            format!("cat ../../../../../../../..{0} 2>/dev/null; cat ./flag 2>/dev/null; exit 0", flag.display());
        for number in 3..=64 {
            let bundle = Bundle::script(&climb)
                .edit(|config| config["process"]["cwd"] = json!(format!("/proc/self/fd/{number}")));
            let container = runtime.container(&bundle);
            let shell = ["sh", "-c", "exec 7</ 8<$0; exec \"$@\"", &*canaries.path().to_string_lossy()];
            let outcome = container.run_under(&shell, &[]).run();
            assert!(!outcome.hung && !outcome.stdout.contains("canary"), "{number}: {outcome}");
            canaries.unchanged();
        }
    });
}

#[runs(everywhere)]
fn mount_points_through_links_of_the_image() {
    // CVE-2019-18837, CVE-2021-30465: `..` and absolute links on the way to the target.
    each(&[], |runtime| {
        let canaries = Canaries::new();
        let climbing = PathBuf::from("../".repeat(12)).join(canaries.path().strip_prefix("/").unwrap());
        for target in [canaries.path().to_owned(), climbing] {
            for (destination, source) in
                [("/link/sub", json!("tmpfs")), ("/link/made/deep", json!("tmpfs")), ("/link", json!("tmpfs"))]
            {
                let bundle = Bundle::new()
                    .writable()
                    .mount(json!({"destination": destination, "type": "tmpfs", "source": source}));
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

const EXCHANGES: usize = 10_000;
const STARTS: usize = 60;

/// Exchanges the mount target with a link to the canaries until it is told to end and has done enough.
fn exchange(target: &Path, link: &Path, done: &AtomicBool, count: &AtomicUsize) {
    while !done.load(Ordering::Relaxed) || count.load(Ordering::Relaxed) < EXCHANGES {
        renameat_with(CWD, target, CWD, link, RenameFlags::EXCHANGE).unwrap();
        count.fetch_add(1, Ordering::Relaxed);
    }
}

#[runs(everywhere)]
fn mount_targets_that_are_exchanged_meanwhile() {
    // CVE-2021-30465, CVE-2024-45310: a volume shared with a container that exchanges the next one's targets.
    use skiff_integration_tests::runtime::Kind::{Crun, Reference, Runc};
    let open = [
        (Runc, "1.1.5 makes folders on the host (CVE-2024-45310)"),
        (Crun, "not measured"),
        (Reference, "not measured"),
    ];
    each(&open, |runtime| {
        let canaries = Canaries::new();
        let bundle = Bundle::new().writable();
        let file = bundle.path().join("file");
        fs::write(&file, "file\n").unwrap();
        let bundle = bundle
            .mount(json!({"destination": "/data/target/sub", "type": "tmpfs", "source": "tmpfs"}))
            .mount(json!({"destination": "/data/target/made/deep", "type": "tmpfs", "source": "tmpfs"}))
            .mount(json!({"destination": "/data/target/flag", "source": file, "options": ["bind"]}));
        let target = bundle.rootfs().join("data/target");
        fs::create_dir_all(target.join("sub")).unwrap();
        let link = bundle.rootfs().join("data/link");
        symlink(canaries.path(), &link).unwrap();
        let (done, count) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| exchange(&target, &link, &done, &count));
            // Whatever happens the attacker must be told to end, or the scope would wait for ever.
            let starts = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                for _ in 0..STARTS {
                    let outcome = runtime.run(&bundle);
                    assert!(!outcome.hung, "{outcome}");
                }
            }));
            done.store(true, Ordering::Relaxed);
            if let Err(panic) = starts {
                std::panic::resume_unwind(panic);
            }
        });
        assert!(count.load(Ordering::Relaxed) >= EXCHANGES);
        canaries.unchanged();
    });
}

#[runs(everywhere)]
fn state_and_cgroup_names_cannot_climb() {
    each(&[(skiff_integration_tests::runtime::Kind::Crun, "1.8 deletes nothing and says nothing")], |runtime| {
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
