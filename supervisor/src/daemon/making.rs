//! From a release and a bundle to what an instance is made from: the bundle's configuration is read and derived from.

use super::state::State;
use crate::node::Making;
use skiff_planner::bundle::Facts;
use skiff_planner::desired::Blueprint;
use skiff_planner::name::InstanceId;
use skiff_planner::release::Bundle;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The largest `config.json` that is read, in bytes.
const LARGEST: u64 = 1 << 20;

/// Why an instance cannot be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// Its archive is not on the device.
    #[error("the bundle `{0}` is not on this device; it comes with the next look at the fleet (`skiffctl sync`)")]
    Absent(String),
    /// Its configuration cannot be read.
    #[error("`{path}` cannot be read; a bundle has a `config.json` beside its root file system")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// It is too long.
    #[error("`{0}` is longer than {LARGEST} bytes")]
    TooLarge(PathBuf),
    /// It is not JSON.
    #[error("`{path}` is not JSON")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line and column.
        #[source]
        source: serde_json::Error,
    },
    /// A path that is not UTF-8, which JSON cannot hold.
    #[error("`{0}` is not UTF-8; give the bundle a folder with another name")]
    NotText(PathBuf),
    /// It asks for what a service may not have.
    #[error(transparent)]
    Derive(#[from] skiff_planner::bundle::Error),
}

/// What an instance is made from.
///
/// # Errors
/// See [`Error`]; nothing was made.
pub(super) fn making(state: &State, instance: &InstanceId, blueprint: &Blueprint) -> Result<Making, Error> {
    let bundle = place(state, &blueprint.service.bundle)?;
    let config = read(&bundle.join("config.json"))?;
    let folder = bundle.to_str().ok_or_else(|| Error::NotText(bundle.clone()))?;
    let facts =
        Facts { instance, blueprint, folder, cgroups_path: None, oom_group: unified(), open_files: open_files() };
    let (config, not_enforced) = skiff_planner::bundle::derive(&config, &facts)?;
    let not_enforced = not_enforced.iter().map(ToString::to_string).collect();
    Ok(Making { blueprint: blueprint.clone(), bundle, config, not_enforced })
}

fn place(state: &State, bundle: &Bundle) -> Result<PathBuf, Error> {
    match bundle {
        Bundle::Path(path) => Ok(PathBuf::from(path)),
        Bundle::Archive { digest, .. } => {
            let found = state.releases.values().find_map(|on_disk| on_disk.bundles.get(digest));
            found.cloned().ok_or_else(|| Error::Absent(digest.to_string()))
        }
    }
}

fn read(path: &Path) -> Result<serde_json::Value, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(failed)?.take(LARGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > LARGEST {
        return Err(Error::TooLarge(path.to_owned()));
    }
    serde_json::from_slice(&bytes).map_err(|source| Error::Parse { path: path.to_owned(), source })
}

/// Whether cgroup version 2 alone is mounted where everybody looks for it, so that its own files can be written to.
fn unified() -> bool {
    const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;
    rustix::fs::statfs("/sys/fs/cgroup").is_ok_and(|found| found.f_type as u64 == CGROUP2_SUPER_MAGIC)
}

/// Our own hard limit, which every process may give on (getrlimit(2)).
fn open_files() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap_or(u64::MAX)
}
