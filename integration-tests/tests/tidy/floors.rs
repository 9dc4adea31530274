//! The floors of the house, read from the manifests: which crate may name which. Cargo reads the manifests for us, so
//! that inherited and renamed dependencies are seen as they are.

use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Command;

/// Where one of our crates stands.
struct Floor {
    name: &'static str,
    folder: &'static str,
    /// Our crates that it may name.
    ours: &'static [&'static str],
    /// The libraries of a pure crate; empty for the others, which are not limited here.
    pure: &'static [&'static str],
}

const fn floor(
    name: &'static str,
    folder: &'static str,
    ours: &'static [&'static str],
    pure: &'static [&'static str],
) -> Floor {
    Floor { name, folder, ours, pure }
}

const FLOORS: [Floor; 7] = [
    floor("skiff-contract", "runtime/contract", &[], &["serde", "serde_json", "thiserror"]),
    floor("skiff-planner", "supervisor/planner", &["skiff-contract"], &["serde", "serde_json", "thiserror"]),
    floor("skiff", "runtime", &["skiff-contract"], &[]),
    floor("skiff-shim", "shim", &["skiff-contract"], &[]),
    floor("skiff-supervisor", "supervisor", &["skiff-contract", "skiff-planner"], &[]),
    floor("skiff-integration-tests", "integration-tests", &["skiff-contract", "skiff-lanes"], &[]),
    floor("skiff-lanes", "integration-tests/lanes", &[], &[]),
];

/// Libraries with one home: (prefix of the name, crates that may name it, why).
const HOMES: [(&str, &[&str], &str); 8] = [
    ("libcontainer", &["skiff-integration-tests"], "it changes its caller; here it is the oracle of the tests"),
    ("libcgroups", &["skiff", "skiff-integration-tests"], "cgroups are the runtime's"),
    ("tokio", &["skiff-shim", "skiff-supervisor", "skiff-integration-tests"], "the runtime is synchronous"),
    ("oci-spec", &["skiff", "skiff-integration-tests"], "only the runtime reads a config.json"),
    (
        "containerd",
        &["skiff-shim", "skiff-supervisor", "skiff-integration-tests"],
        "containerd's types stop at the shim's wall",
    ),
    (
        "ttrpc",
        &["skiff-shim", "skiff-supervisor", "skiff-integration-tests"],
        "containerd's types stop at the shim's wall",
    ),
    ("clap", &["skiff-supervisor"], "lexopt parses runc's flags in a tenth of the size; skiffctl is for people"),
    ("libseccomp", &[], "a C library with a licence that static linking cannot keep"),
];

/// One package as Cargo sees it.
pub(crate) struct Manifest {
    pub(crate) name: String,
    pub(crate) folder: String,
    pub(crate) rust_version: String,
    pub(crate) license: String,
    pub(crate) dependencies: Vec<Dependency>,
}

/// One line of a manifest.
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// Named under `[dev-dependencies]`.
    pub(crate) dev: bool,
}

pub(crate) fn read_manifests() -> Vec<Manifest> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    parse(&serde_json::from_slice(&output.stdout).unwrap())
}

fn parse(metadata: &Value) -> Vec<Manifest> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let root = text(&metadata["workspace_root"]) + "/";
    let packages = metadata["packages"].as_array().expect("cargo metadata lists packages");
    packages
        .iter()
        .map(|package| Manifest {
            name: text(&package["name"]),
            folder: text(&package["manifest_path"]).replace(&root, "").replace("/Cargo.toml", ""),
            rust_version: text(&package["rust_version"]),
            license: text(&package["license"]),
            dependencies: package["dependencies"]
                .as_array()
                .expect("a package has dependencies")
                .iter()
                .map(|line| Dependency { name: text(&line["name"]), dev: line["kind"] == "dev" })
                .collect(),
        })
        .collect()
}

pub(crate) fn check(manifests: &[Manifest]) -> Vec<String> {
    let mut complaints: Vec<_> = manifests.iter().flat_map(check_one).collect();
    for floor in &FLOORS {
        if !manifests.iter().any(|manifest| manifest.name == floor.name) {
            complaints.push(format!("`{}` is missing from the workspace", floor.name));
        }
    }
    complaints
}

fn check_one(manifest: &Manifest) -> Vec<String> {
    let name = &manifest.name;
    let Some(floor) = FLOORS.iter().find(|floor| floor.name == name) else {
        return vec![format!("`{name}`: a new crate needs a floor here and an argument in ARCHITECTURE.md")];
    };
    let mut complaints = Vec::new();
    if manifest.folder != floor.folder {
        complaints.push(format!("`{name}` lives in {}, not in {}", manifest.folder, floor.folder));
    }
    if manifest.rust_version != "1.85" || manifest.license != "Apache-2.0" {
        complaints.push(format!("`{name}`: inherit rust-version 1.85 and licence Apache-2.0 from the workspace"));
    }
    for dependency in &manifest.dependencies {
        let other = dependency.name.as_str();
        if FLOORS.iter().any(|own| own.name == other) {
            if !floor.ours.contains(&other) {
                complaints.push(format!("`{name}` may not name `{other}`: wings meet at process boundaries only"));
            }
        } else if !dependency.dev && !floor.pure.is_empty() && !floor.pure.contains(&other) {
            complaints.push(format!("`{name}` is pure: it may not name `{other}`"));
        }
        for (prefix, homes, reason) in HOMES {
            if other.starts_with(prefix) && !homes.contains(&name.as_str()) {
                complaints.push(format!("`{name}` may not name `{other}`: {reason}"));
            }
        }
    }
    complaints
}

/// Libraries of what is shipped that `architecture` does not name in backticks.
pub(crate) fn check_reasons(manifests: &[Manifest], architecture: &str) -> Vec<String> {
    let shipped = manifests.iter().filter(|manifest| manifest.name != "skiff-integration-tests");
    let libraries: BTreeSet<_> = shipped
        .flat_map(|manifest| &manifest.dependencies)
        .filter(|line| !line.dev && !line.name.starts_with("skiff"))
        .map(|line| &line.name)
        .collect();
    let named = |name: &str| architecture.contains(&format!("`{name}`"));
    libraries.into_iter().filter(|name| !named(name)).map(|name| format!("`{name}`")).collect()
}

/// Lines of bans in `root` that `planner` has not got.
pub(crate) fn check_bans(root: &str, planner: &str) -> Vec<String> {
    let bans = root.lines().map(str::trim).filter(|line| line.starts_with("{ path"));
    let lost: Vec<_> = bans.clone().filter(|ban| !planner.contains(*ban)).map(str::to_owned).collect();
    if bans.count() == 0 { vec!["the root's clippy.toml has no bans".to_owned()] } else { lost }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(name: &str, folder: &str, dependencies: &[&str]) -> Manifest {
        let dependencies = dependencies
            .iter()
            .map(|name| Dependency { name: name.trim_start_matches("dev:").to_owned(), dev: name.starts_with("dev:") })
            .collect();
        let (rust_version, license) = ("1.85".to_owned(), "Apache-2.0".to_owned());
        Manifest { name: name.to_owned(), folder: folder.to_owned(), rust_version, license, dependencies }
    }

    #[test]
    fn floors() {
        let check = |name: &str, folder: &str, lines: &[&str]| check_one(&manifest(name, folder, lines)).len();
        assert_eq!(check("skiff", "runtime", &["skiff-contract", "libc"]), 0);
        assert_eq!(check("skiff", "elsewhere", &[]), 1);
        assert_eq!(check("skiff-shim", "shim", &["skiff"]), 1);
        assert_eq!(check("skiff-supervisor", "supervisor", &["dev:skiff-shim"]), 1);
        assert_eq!(check("skiff-contract", "runtime/contract", &["rustix"]), 1);
        assert_eq!(check("skiff-planner", "supervisor/planner", &["dev:proptest"]), 0);
        assert_eq!(check("skiff", "runtime", &["libcontainer"]), 1);
        assert_eq!(check("skiff", "runtime", &["tokio"]), 1);
        assert_eq!(check("skiff-new", "new", &[]), 1);
        let old = Manifest { rust_version: "1.80".to_owned(), ..manifest("skiff", "runtime", &[]) };
        assert_eq!(check_one(&old).len(), 1);
        assert_eq!(super::check(&[]).len(), FLOORS.len());
    }

    #[test]
    fn reasons_and_bans() {
        let manifests = [manifest("skiff", "runtime", &["libc", "dev:tempfile", "skiff-contract"])];
        assert_eq!(check_reasons(&manifests, "Uses `libc` for calls."), Vec::<String>::new());
        assert_eq!(check_reasons(&manifests, "Uses libc."), ["`libc`"]);
        let root = "    { path = \"a\", reason = \"b\" },";
        assert!(check_bans(root, root).is_empty());
        assert_eq!(check_bans(root, "").len(), 1);
        assert_eq!(check_bans("", "").len(), 1);
    }
}
