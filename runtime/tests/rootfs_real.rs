//! The room `rootfs` on the running kernel, with both generations of mount calls. Each case runs in a process of its
//! own with a private mount namespace: this binary executes itself through `unshare -m` with `SKIFF_CASE` set.

#![allow(clippy::unwrap_used, reason = "the lint's exception for tests does not reach their helper functions")]
#![allow(clippy::disallowed_methods, reason = "the folders are the test's own")]

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use oci_spec::runtime::Spec;
use serde_json::{Value, json};
use skiff::rootfs::{Api, CgroupView, Error, Facts, Root, build, plan, prepare_with};

const CASE: &str = "SKIFF_CASE";
const FOLDER: &str = "SKIFF_FOLDER";
const NAMESPACE: &str = "SKIFF_HOST_NAMESPACE";

/// Runs `case` in a namespace of its own, once with each generation of calls. Only the parent, which sees none of the
/// mounts, removes files: deleting a bundle where binds are in place would delete what they show.
fn in_namespace(name: &str, case: impl Fn(Api)) {
    if let Some(api) = std::env::var_os(CASE) {
        let namespace = fs::read_link("/proc/self/ns/mnt").unwrap();
        assert_ne!(namespace.as_os_str(), std::env::var_os(NAMESPACE).unwrap(), "still among the host's mounts");
        case(if api == "mount" { Api::Mount } else { Api::Trees });
        return;
    }
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    for api in ["trees", "mount"] {
        let folder = tempfile::tempdir().unwrap();
        let status = Command::new("unshare")
            .args(["-m", "--propagation", "private"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(CASE, api)
            .env(FOLDER, folder.path())
            .env(NAMESPACE, fs::read_link("/proc/self/ns/mnt").unwrap())
            .status()
            .unwrap();
        assert!(status.success(), "{name} with {api}: {status}");
    }
}

/// A bundle in the folder of the case. Everything that is bound into it is its own, never a folder of the host.
struct Bundle {
    folder: PathBuf,
    config: Value,
}

impl Bundle {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap());
        let folder = folder.join(COUNT.fetch_add(1, Ordering::Relaxed).to_string());
        fs::create_dir_all(folder.join("rootfs")).unwrap();
        let config = json!({
            "ociVersion": "1.2.0",
            "root": {"path": "rootfs"},
            "process": {"cwd": "/", "user": {"uid": 0, "gid": 0}},
            "mounts": [],
            "linux": {"namespaces": [{"type": "mount"}]},
        });
        Self { folder, config }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn folder(&self, name: &str) -> PathBuf {
        fs::create_dir_all(self.path(name)).unwrap();
        self.path(name)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    fn build(&self, api: Api) -> Result<Root, Error> {
        let spec: Spec = serde_json::from_value(self.config.clone()).unwrap();
        let plan = plan(&spec, &Facts::of(&spec))?;
        let prepared = prepare_with(&plan, &self.folder, api)?;
        build(&plan, prepared, &CgroupView::Legacy(Vec::new()))
    }
}

/// A path inside the root that was built, before it is entered.
fn inside(root: &Root, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", root.dir().as_raw_fd()))
}

fn is_read_only(path: &Path) -> bool {
    rustix::fs::statvfs(path).unwrap().f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY)
}

#[test]
fn default_mounts_devices_and_links() {
    in_namespace("default_mounts_devices_and_links", |api| {
        let mut bundle = Bundle::new();
        bundle.config["mounts"] = json!([
            {"destination": "/proc", "type": "proc"},
            {"destination": "/dev", "type": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=64k"]},
            {"destination": "/dev/pts", "type": "devpts", "options": ["nosuid", "newinstance", "ptmxmode=0666"]},
            {"destination": "/sys", "type": "sysfs", "options": ["ro"]},
        ]);
        bundle.config["process"]["cwd"] = json!("/home/me");
        let root = bundle.build(api).unwrap();
        for name in ["null", "zero", "full", "random", "urandom", "tty"] {
            let node = fs::symlink_metadata(inside(&root, "dev").join(name)).unwrap();
            assert!(node.file_type().is_char_device() && node.permissions().mode() & 0o7777 == 0o666, "{name}");
        }
        assert_eq!(fs::read_link(inside(&root, "dev/ptmx")).unwrap(), Path::new("pts/ptmx"));
        assert!(inside(&root, "proc/self/status").exists() && inside(&root, "dev/pts/ptmx").exists());
        assert!(is_read_only(&inside(&root, "sys")) && inside(&root, "home/me").is_dir());
        assert_eq!(fs::metadata(inside(&root, "home")).unwrap().mode() & 0o7777, 0o755);
        // Host paths serve the hooks until the root is entered.
        assert!(bundle.path("rootfs/dev/null").exists(), "the mounts are not seen at the bundle's path");
        root.enter(false).unwrap();
        root.seal().unwrap();
        assert!(Path::new("/dev/null").exists() && !bundle.path("rootfs").exists());
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert_eq!(mounts.lines().count(), 5, "{mounts}");
    });
}

#[test]
fn a_link_for_dev_proc_or_sys_is_refused() {
    in_namespace("a_link_for_dev_proc_or_sys_is_refused", |api| {
        for name in ["dev", "proc", "sys"] {
            let mut bundle = Bundle::new();
            let canary = bundle.folder("canary");
            symlink(&canary, bundle.path("rootfs").join(name)).unwrap();
            symlink("/etc", canary.join("ptmx")).unwrap();
            let kind = if name == "dev" { "tmpfs" } else { name };
            let kind = if name == "sys" { "sysfs" } else { kind };
            bundle.config["mounts"] = json!([{"destination": format!("/{name}"), "type": kind}]);
            let error = bundle.build(api).unwrap_err();
            assert!(matches!(error, Error::Refused { .. }), "{error}");
            bundle.config["mounts"] = json!([]);
            assert_eq!(bundle.build(api).is_err(), name == "dev");
            assert_eq!(fs::read_dir(&canary).unwrap().count(), 1, "{name}");
        }
    });
}

#[test]
fn masks_and_read_only_paths() {
    in_namespace("masks_and_read_only_paths", |api| {
        let mut bundle = Bundle::new();
        bundle.file("rootfs/secret", "secret");
        bundle.file("rootfs/one/inner", "secret");
        bundle.file("rootfs/two/inner", "secret");
        bundle.file("rootfs/closed/file", "text");
        bundle.config["linux"]["maskedPaths"] = json!(["/secret", "/one", "/two", "/absent", "/secret/below"]);
        bundle.config["linux"]["readonlyPaths"] = json!(["/closed", "/absent"]);
        let root = bundle.build(api).unwrap();
        assert_eq!(fs::read(inside(&root, "secret")).unwrap(), b"");
        for name in ["one", "two"] {
            assert_eq!(fs::read_dir(inside(&root, name)).unwrap().count(), 0, "{name}");
            assert!(is_read_only(&inside(&root, name)), "{name}");
        }
        assert!(is_read_only(&inside(&root, "closed")) && !is_read_only(&inside(&root, ".")));
        assert!(fs::write(inside(&root, "closed/file"), "").is_err());
        assert_eq!(fs::read_to_string(inside(&root, "closed/file")).unwrap(), "text");

        let mut bundle = Bundle::new();
        symlink("/etc/passwd", bundle.path("rootfs/link")).unwrap();
        bundle.config["linux"]["maskedPaths"] = json!(["/link"]);
        let error = bundle.build(api).unwrap_err();
        assert_eq!(error.to_string(), "`linux.maskedPaths` is refused on `/link`: it is a symbolic link");
    });
}

#[test]
fn a_mask_covers_the_view_through_a_read_only_path() {
    in_namespace("a_mask_covers_the_view_through_a_read_only_path", |api| {
        let mut bundle = Bundle::new();
        bundle.file("rootfs/a/secret", "secret");
        bundle.config["linux"]["maskedPaths"] = json!(["/a/secret"]);
        bundle.config["linux"]["readonlyPaths"] = json!(["/a"]);
        let root = bundle.build(api).unwrap();
        assert_eq!(fs::read(inside(&root, "a/secret")).unwrap(), b"");
        assert!(is_read_only(&inside(&root, "a")));
    });
}

#[test]
fn binds_of_folders_and_files() {
    in_namespace("binds_of_folders_and_files", |api| {
        let mut bundle = Bundle::new();
        bundle.file("source/file", "text");
        fs::create_dir(bundle.path("rootfs/etc")).unwrap();
        symlink("../run/resolv.conf", bundle.path("rootfs/etc/resolv.conf")).unwrap();
        bundle.config["mounts"] = json!([
            {"destination": "/a/b", "type": "bind", "source": "source", "options": ["rbind", "rprivate", "ro", "nosuid"]},
            {"destination": "/etc/resolv.conf", "source": "source/file", "options": ["bind"]},
        ]);
        let root = bundle.build(api).unwrap();
        assert_eq!(fs::read_to_string(inside(&root, "a/b/file")).unwrap(), "text");
        assert!(is_read_only(&inside(&root, "a/b")));
        assert_eq!(fs::read_to_string(inside(&root, "run/resolv.conf")).unwrap(), "text");
        bundle.config["mounts"] = json!([{"destination": "/x", "type": "bind", "source": "absent"}]);
        let error = bundle.build(api).unwrap_err();
        let absent = bundle.path("absent");
        assert_eq!(
            error.to_string(),
            format!("cannot open `{}`, the source of `mounts[0]` for `/x`", absent.display())
        );
    });
}

#[test]
fn tmpfs_that_is_filled_and_closed() {
    in_namespace("tmpfs_that_is_filled_and_closed", |api| {
        let mut bundle = Bundle::new();
        bundle.file("rootfs/data/deep/file", "text");
        symlink("deep/file", bundle.path("rootfs/data/link")).unwrap();
        fs::set_permissions(bundle.path("rootfs/data/deep"), fs::Permissions::from_mode(0o1770)).unwrap();
        std::os::unix::fs::chown(bundle.path("rootfs/data/deep/file"), Some(7), Some(8)).unwrap();
        bundle.config["mounts"] = json!([
            {"destination": "/data", "type": "tmpfs", "options": ["tmpcopyup", "ro"]},
            {"destination": "/data/made", "type": "tmpfs", "options": ["mode=700"]},
        ]);
        let root = bundle.build(api).unwrap();
        assert_eq!(fs::read_to_string(inside(&root, "data/link")).unwrap(), "text");
        assert_eq!(fs::metadata(inside(&root, "data/deep")).unwrap().mode() & 0o7777, 0o1770);
        let file = fs::metadata(inside(&root, "data/deep/file")).unwrap();
        assert_eq!((file.uid(), file.gid()), (7, 8));
        assert!(is_read_only(&inside(&root, "data")) && !is_read_only(&inside(&root, "data/made")));
        assert!(!bundle.path("rootfs/data/made").join("x").exists());
    });
}

#[test]
fn an_option_that_the_file_system_refuses_is_named() {
    in_namespace("an_option_that_the_file_system_refuses_is_named", |api| {
        let mut bundle = Bundle::new();
        for options in [json!(["mode=700", "colour=blue"]), json!(["ro", "colour=blue"])] {
            bundle.config["mounts"] = json!([{"destination": "/x", "type": "tmpfs", "options": options}]);
            let error = bundle.build(api).unwrap_err();
            assert_eq!(
                error.to_string(),
                "`mounts[0].options` has `colour=blue`, which the file system `tmpfs` refuses"
            );
        }
    });
}

#[test]
fn an_id_mapped_bind_changes_owners() {
    in_namespace("an_id_mapped_bind_changes_owners", |api| {
        let mut bundle = Bundle::new();
        // A tmpfs takes id mappings since Linux 6.3, the disk's file system since 5.12.
        bundle.file("source/file", "text");
        bundle.config["mounts"] = json!([{
            "destination": "/x", "type": "bind", "source": "source", "options": ["bind", "idmap"],
            "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}],
            "gidMappings": [{"containerID": 0, "hostID": 2000, "size": 10}],
        }]);
        let built = bundle.build(api);
        if api == Api::Mount {
            assert!(built.unwrap_err().to_string().contains("Linux 5.12"));
            return;
        }
        let file = fs::metadata(inside(&built.unwrap(), "x/file")).unwrap();
        assert_eq!((file.uid(), file.gid()), (1000, 2000));
    });
}

#[test]
fn the_image_cannot_lead_a_mount_into_procfs() {
    in_namespace("the_image_cannot_lead_a_mount_into_procfs", |api| {
        let mut bundle = Bundle::new();
        symlink("/proc/sys", bundle.path("rootfs/trap")).unwrap();
        bundle.config["mounts"] = json!([
            {"destination": "/proc", "type": "proc"},
            {"destination": "/trap", "type": "tmpfs"},
        ]);
        let error = bundle.build(api).unwrap_err();
        assert_eq!(error.to_string(), "`mounts[1]` is refused on `/trap`: the image leads it into procfs");
        bundle.folder("source");
        bundle.config["mounts"] = json!([{"destination": "/proc", "type": "bind", "source": "source"}]);
        assert!(matches!(bundle.build(api).unwrap_err(), Error::Refused { .. }));
    });
}

#[test]
fn a_read_only_root_and_its_propagation() {
    in_namespace("a_read_only_root_and_its_propagation", |api| {
        let mut bundle = Bundle::new();
        bundle.config["root"]["readonly"] = json!(true);
        bundle.config["linux"]["rootfsPropagation"] = json!("rshared");
        bundle.config["mounts"] = json!([{"destination": "/proc", "type": "proc"}]);
        let root = bundle.build(api).unwrap();
        root.enter(false).unwrap();
        root.seal().unwrap();
        assert!(is_read_only(Path::new("/")) && fs::write("/file", "").is_err());
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(mounts.lines().next().unwrap().contains(" shared:"), "{mounts}");
    });
}

#[test]
fn without_pivot_root() {
    in_namespace("without_pivot_root", |api| {
        let mut bundle = Bundle::new();
        bundle.file("rootfs/mark", "");
        bundle.config["mounts"] = json!([{"destination": "/proc", "type": "proc"}]);
        let root = bundle.build(api).unwrap();
        root.enter(true).unwrap();
        root.seal().unwrap();
        assert!(Path::new("/mark").exists() && Path::new("/proc/self/status").exists());
        assert!(!Path::new("/../etc/passwd").exists());
    });
}

#[test]
fn bad_roots() {
    in_namespace("bad_roots", |api| {
        let mut bundle = Bundle::new();
        symlink("rootfs", bundle.path("link")).unwrap();
        bundle.file("file", "");
        for (path, words) in [("link/", "is a symbolic link"), ("file", "is a file"), ("absent", "cannot open")] {
            bundle.config["root"]["path"] = json!(path);
            let error = bundle.build(api).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("`root.path`"), "{error}");
        }
    });
}

/// As in real life: the host's mounts are shared, the parent prepares, the child builds in a copy of its namespace.
fn build_in_a_copy(bundle: &Bundle, api: Api) -> Root {
    let spec: Spec = serde_json::from_value(bundle.config.clone()).unwrap();
    let plan = plan(&spec, &Facts::of(&spec)).unwrap();
    let prepared = prepare_with(&plan, &bundle.folder, api).unwrap();
    // Of this thread alone; the process's first thread stays and keeps the host's view.
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
    build(&plan, prepared, &CgroupView::Legacy(Vec::new())).unwrap()
}

fn host_mounts() -> String {
    fs::read_to_string(format!("/proc/{}/mountinfo", std::process::id())).unwrap()
}

fn mount_tmpfs(place: &Path) {
    nix::mount::mount(Some("t"), place, Some("tmpfs"), nix::mount::MsFlags::empty(), None::<&str>).unwrap();
}

fn make_shared() {
    let status = Command::new("mount").args(["--make-rshared", "/"]).status().unwrap();
    assert!(status.success());
}

#[test]
fn nothing_is_mounted_on_a_shared_host() {
    in_namespace("nothing_is_mounted_on_a_shared_host", |api| {
        make_shared();
        let before = host_mounts();
        for propagation in ["", "rslave", "rprivate", "rshared", "shared"] {
            let bundle = shared_bundle(propagation);
            let done = std::thread::scope(|scope| {
                scope.spawn(|| build_in_a_copy(&bundle, api).enter(false).unwrap()).join().is_ok()
            });
            assert!(done && host_mounts() == before, "{propagation} {api:?}:\n{}", host_mounts());
        }
    });
}

fn shared_bundle(propagation: &str) -> Bundle {
    let mut bundle = Bundle::new();
    bundle.folder("source");
    bundle.config["linux"]["rootfsPropagation"] = json!(propagation);
    bundle.config["linux"]["maskedPaths"] = json!(["/proc/kcore", "/proc/acpi"]);
    bundle.config["mounts"] = json!([
        {"destination": "/proc", "type": "proc"},
        {"destination": "/x", "type": "bind", "source": "source", "options": ["rbind", "rshared"]},
    ]);
    bundle
}

#[test]
fn a_shared_bind_reaches_the_host_when_asked() {
    in_namespace("a_shared_bind_reaches_the_host_when_asked", |api| {
        make_shared();
        for (propagation, reaches) in [("rshared", true), ("rslave", false), ("", false)] {
            let bundle = shared_bundle(propagation);
            // A mount of its own: with mount(2) alone the one that holds the image must be parted from its peers first,
            // and binds from there with it, as in runc.
            mount_tmpfs(&bundle.path("source"));
            fs::create_dir(bundle.path("source/point")).unwrap();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    build_in_a_copy(&bundle, api).enter(false).unwrap();
                    mount_tmpfs(Path::new("/x/point"));
                });
            });
            let point = bundle.path("source/point").display().to_string();
            assert_eq!(host_mounts().contains(&point), reaches, "{propagation} {api:?}");
        }
    });
}
