//! Makes bundles: a temporary folder with a root file system of one static busybox, and a `config.json` that starts
//! as `runc spec` writes it and is changed by small closures.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;

const BASE: &str = include_str!("base-config.json");
const DIRECTORIES: &[&str] = &["bin", "dev", "etc", "mnt", "proc", "root", "sys", "tmp", "data"];
const APPLETS: &[&str] = &[
    "ash", "awk", "cat", "chmod", "chown", "cp", "cut", "date", "dd", "df", "echo", "env", "expr", "false", "find",
    "getopt", "grep", "head", "hostname", "id", "ifconfig", "ionice", "ip", "kill", "ln", "ls", "mkdir", "mkfifo",
    "mknod", "mktemp", "mount", "mv", "nproc", "nsenter", "od", "ps", "pwd", "readlink", "realpath", "rm", "rmdir",
    "sed", "seq", "setpriv", "setsid", "sh", "sleep", "sort", "stat", "stty", "sync", "tail", "taskset", "tee", "test",
    "timeout", "touch", "tr", "true", "tty", "umount", "uname", "unshare", "wc", "xargs",
];

/// A bundle in a temporary folder of its own, removed when dropped.
#[derive(Debug)]
pub struct Bundle {
    folder: TempDir,
    /// Unique on this machine; every container id made from this bundle begins with it.
    pub id: String,
    /// What will be written as `config.json`.
    pub config: Value,
    given_away: AtomicBool,
}

impl Bundle {
    /// A bundle whose program is `/bin/true`.
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // The letter at the end keeps one id from being the beginning of another.
        let id = format!("skt-{}-{}x", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = tempfile::Builder::new().prefix(&format!("{id}-")).tempdir().expect("temporary folder");
        // Users other than root walk through it, in user namespaces and as the rootless user.
        let mode = if in_user_namespaces() { 0o777 } else { 0o755 };
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).expect("own folder");
        let bundle = Self {
            folder,
            id,
            config: serde_json::from_str(BASE).expect("base-config.json is JSON"),
            given_away: AtomicBool::new(false),
        };
        fill_rootfs(&bundle.rootfs());
        fs::write(bundle.rootfs().join(marker(&bundle.id)), "").expect("own folder");
        bundle
    }

    /// A bundle whose program is this shell script.
    pub fn script(script: &str) -> Self {
        Self::new().args(&["/bin/sh", "-c", script])
    }

    /// A bundle whose program runs until it is killed; it dies of SIGTERM.
    pub fn sleeper() -> Self {
        Self::script("trap 'exit 0' TERM; while :; do sleep 1000 & wait; done")
    }

    /// Sets `process.args`.
    pub fn args(self, args: &[&str]) -> Self {
        self.edit(|config| config["process"]["args"] = json!(args))
    }

    /// Makes the root writable.
    pub fn writable(self) -> Self {
        self.edit(|config| config["root"]["readonly"] = json!(false))
    }

    /// Changes the configuration.
    pub fn edit(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.config);
        self
    }

    /// Adds an entry to `mounts`.
    pub fn mount(self, mount: Value) -> Self {
        self.edit(|config| config["mounts"].as_array_mut().expect("base has mounts").push(mount))
    }

    /// Replaces or adds a namespace; `path` is what it joins.
    pub fn namespace(self, kind: &str, path: Option<&str>) -> Self {
        self.without_namespace(kind).edit(|config| {
            let entry = path.map_or_else(|| json!({"type": kind}), |path| json!({"type": kind, "path": path}));
            config["linux"]["namespaces"].as_array_mut().expect("base has namespaces").push(entry);
        })
    }

    /// Without `linux.resources`, which would need a cgroup.
    pub fn without_limits(self) -> Self {
        self.edit(|config| drop(config["linux"].as_object_mut().expect("linux is an object").remove("resources")))
    }

    /// Removes a namespace, so that the container stays in the caller's.
    pub fn without_namespace(self, kind: &str) -> Self {
        self.edit(|config| {
            let namespaces = config["linux"]["namespaces"].as_array_mut().expect("base has namespaces");
            namespaces.retain(|entry| entry["type"] != kind);
        })
    }

    /// A user namespace whose ids 0..65536 are the host's from `first` on; the root file system is given to them.
    pub fn user_namespace(self, first: u32) -> Self {
        self.give(&self.rootfs(), first);
        self.edit(|config| enter_user_namespace(config, first))
    }

    fn give(&self, folder: &Path, first: u32) {
        let owner = format!("{first}:{first}");
        crate::command::Invocation::new("chown", &["-hR", &owner, &folder.to_string_lossy()]).run().ok();
    }

    /// The bundle's folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The root file system.
    pub fn rootfs(&self) -> PathBuf {
        self.path().join("rootfs")
    }

    /// Writes a file inside the root file system.
    pub fn file(self, path: &str, mode: u32, text: &str) -> Self {
        let target = self.rootfs().join(path.trim_start_matches('/'));
        fs::create_dir_all(target.parent().expect("below the root")).expect("own folder");
        fs::write(&target, text).expect("own folder");
        fs::set_permissions(&target, fs::Permissions::from_mode(mode)).expect("own file");
        self
    }

    /// Writes `config.json`.
    pub fn write(&self) {
        if !self.wants_user_namespace() {
            return self.write_config(&self.config);
        }
        let mut config = self.config.clone();
        enter_user_namespace(&mut config, FIRST_ID);
        // Once: from then on the container's root may be at work in there. All of the bundle, for what tests bind from it.
        if !self.given_away.swap(true, Ordering::Relaxed) {
            self.give(self.path(), FIRST_ID);
        }
        self.write_config(&config);
    }

    /// In the lane of user namespaces, every container that says nothing of its own about namespaces gets one. With the
    /// host's pid or network namespace the kernel lets a user namespace mount no procfs or sysfs.
    fn wants_user_namespace(&self) -> bool {
        let linux = &self.config["linux"];
        let Some(namespaces) = linux["namespaces"].as_array() else { return false };
        let made = |kind: &str| namespaces.iter().any(|entry| entry["type"] == kind);
        let usual = ["pid", "network", "ipc", "uts", "mount"].into_iter().all(made);
        let own = made("user") || !linux["uidMappings"].is_null() || namespaces.iter().any(|it| !it["path"].is_null());
        in_user_namespaces() && usual && !own
    }

    /// Writes another document as `config.json`.
    pub fn write_config(&self, config: &Value) {
        let text = serde_json::to_vec_pretty(config).expect("a value is JSON");
        fs::write(self.path().join("config.json"), text).expect("own folder");
    }
}

/// Whether this is the lane in which every container has a user namespace: what only the host's root may do is refused
/// there, or done in another way.
#[must_use]
pub fn in_user_namespaces() -> bool {
    std::env::var_os("SKIFF_TEST_USER_NAMESPACE").is_some()
}

/// The host's id of a container's root in that lane.
const FIRST_ID: u32 = 300_000;

fn enter_user_namespace(config: &mut Value, first: u32) {
    let map = json!([{"containerID": 0, "hostID": first, "size": 65536}]);
    let linux = &mut config["linux"];
    let namespaces = linux["namespaces"].as_array_mut().expect("a bundle has namespaces");
    namespaces.retain(|entry| entry["type"] != "user");
    namespaces.push(json!({"type": "user"}));
    linux["uidMappings"] = map.clone();
    linux["gidMappings"] = map;
}

impl Default for Bundle {
    fn default() -> Self {
        Self::new()
    }
}

/// Name of the file in a root file system by which the processes of a bundle are recognised.
pub fn marker(id: &str) -> String {
    format!(".{id}")
}

fn fill_rootfs(rootfs: &Path) {
    fs::create_dir(rootfs).expect("own folder");
    for directory in DIRECTORIES {
        fs::create_dir(rootfs.join(directory)).expect("own folder");
    }
    fs::set_permissions(rootfs.join("tmp"), fs::Permissions::from_mode(0o1777)).expect("own folder");
    copy_program(busybox(), &rootfs.join("bin/busybox"));
    for applet in APPLETS {
        symlink("busybox", rootfs.join("bin").join(applet)).expect("own folder");
    }
    fs::write(rootfs.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nadm:x:1000:1000:adm:/srv/adm:/bin/sh\n")
        .expect("own folder");
    fs::write(rootfs.join("etc/group"), "root:x:0:\nadm:x:1000:\n").expect("own folder");
}

/// Copies a program that is executed right after. By another process: while a thread here had it open for writing, a child
/// that another thread makes would inherit that, and the kernel executes nothing that is being written (ETXTBSY).
pub fn copy_program(from: &Path, to: &Path) {
    crate::command::Invocation::new("cp", &[&from.to_string_lossy(), &to.to_string_lossy()]).run().ok();
}

fn busybox() -> &'static Path {
    static BUSYBOX: OnceLock<PathBuf> = OnceLock::new();
    BUSYBOX.get_or_init(|| {
        let candidates = ["/bin/busybox", "/usr/bin/busybox"];
        let found = candidates.iter().map(Path::new).find(|path| path.exists());
        found.expect("busybox is needed: apt-get install busybox-static").to_owned()
    })
}
