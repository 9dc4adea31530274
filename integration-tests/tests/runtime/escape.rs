//! Escapes: images, configurations, programs and neighbours that try to make the runtime touch the host. Each class of past
//! weaknesses has a test named by its number; a tree of canaries on the host must be as it was, whatever the runtime answers.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::compare::Exemption;
use skiff_integration_tests::runtime::{Kind, Runtime};

mod descriptors;
mod exchanges;
mod links;
mod procfs;
mod rights;
mod self_exe;
mod syscalls;

/// For what can be asked of ours alone.
const NOT_MEASURED: [Exemption; 3] =
    [(Kind::Runc, "not measured"), (Kind::Crun, "not measured"), (Kind::Reference, "not measured")];

/// Where another library makes the container.
const NOT_OURS: [Exemption; 1] = [(Kind::Reference, "not measured")];

/// A folder of the host that no container may change.
struct Canaries {
    folder: tempfile::TempDir,
    before: BTreeMap<PathBuf, String>,
}

impl Canaries {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("skt-canary-").tempdir().unwrap();
        for name in ["null", "flag", "pts/0", "self/attr/exec", "sub/deep", "ptmx", "console"] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "canary\n").unwrap();
        }
        // A program of the host: whoever executes it from a container is out.
        let program = folder.path().join("program");
        fs::write(&program, "#!/bin/sh\necho canary\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
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

/// Replaces a folder of the image by a link.
fn linked(bundle: Bundle, name: &str, target: &Path) -> Bundle {
    fs::remove_dir(bundle.rootfs().join(name)).unwrap();
    symlink(target, bundle.rootfs().join(name)).unwrap();
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
    if runtime.kind != Kind::Reference {
        container.assert_gone();
    }
    outcome.stdout
}
