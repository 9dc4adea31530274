//! What is written down of an instance, in `<run>/instances/<id>/record.json`: the intent before anything is made, then
//! what was made, then how it ended. The run folder is a tmpfs, so that a rename is enough to publish it.
//!
//! ```text
//!   (absent) ──> Intent ──> Created ──> Running ──> Ended ──> (absent)
//!                   └──────────┴── taken back ───────────────────^
//! ```

use super::error::Error;
use super::identity::Identity;
use serde::{Deserialize, Serialize};
use skiff_planner::desired::Blueprint;
use skiff_planner::moment::Moment;
use skiff_planner::name::InstanceId;
use skiff_planner::observed::Exit;
use skiff_planner::release::Limits;
use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// One instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Record {
    pub(super) instance: InstanceId,
    /// Everything here is true of this boot alone.
    pub(super) boot_id: String,
    pub(super) blueprint: Blueprint,
    /// The limits that it has now; the blueprint's are those of its start.
    pub(super) limits: Limits,
    pub(super) not_enforced: Vec<String>,
    pub(super) phase: Phase,
}

/// How far it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", tag = "at")]
pub(super) enum Phase {
    /// It is to be made; a shim and a container may be there.
    Intent,
    /// Its container is there.
    Created {
        /// Its first process.
        process: Identity,
    },
    /// Its program was started.
    Running {
        /// Its first process.
        process: Identity,
        /// When.
        since: Moment,
        /// The same for people.
        started: String,
    },
    /// Its program has ended. What was seen once is not seen again at another moment, so that nobody counts it twice.
    Ended {
        /// When it ran from.
        since: Option<Moment>,
        /// The same for people.
        started: Option<String>,
        /// When that was seen.
        seen: Moment,
        /// How.
        exit: Exit,
    },
}

impl Phase {
    pub(super) fn process(&self) -> Option<&Identity> {
        match self {
            Self::Created { process } | Self::Running { process, .. } => Some(process),
            Self::Intent | Self::Ended { .. } => None,
        }
    }

    pub(super) fn since(&self) -> Option<Moment> {
        match self {
            Self::Running { since, .. } => Some(*since),
            Self::Ended { since, .. } => *since,
            Self::Intent | Self::Created { .. } => None,
        }
    }

    pub(super) fn started(&self) -> Option<String> {
        match self {
            Self::Running { started, .. } => Some(started.clone()),
            Self::Ended { started, .. } => started.clone(),
            Self::Intent | Self::Created { .. } => None,
        }
    }
}

/// The folder of all instances.
pub(super) fn folder(run: &Path) -> PathBuf {
    run.join("instances")
}

/// The folder of one: its record, and the bundle that its shim is given.
pub(super) fn bundle(run: &Path, instance: &InstanceId) -> PathBuf {
    folder(run).join(instance.to_string())
}

/// Makes the folder of an instance that is not there, for its owner alone.
///
/// # Errors
/// [`Error::Exists`], [`Error::File`]
pub(super) fn claim(run: &Path, instance: &InstanceId) -> Result<(), Error> {
    let path = bundle(run, instance);
    match fs::DirBuilder::new().mode(0o700).create(&path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(Error::Exists(instance.clone())),
        outcome => outcome.map_err(Error::file("make the folder", path)),
    }
}

impl Record {
    /// Publishes it.
    ///
    /// # Errors
    /// [`Error::File`]; the older one is still there.
    pub(super) fn write(&self, run: &Path) -> Result<(), Error> {
        let bytes = serde_json::to_vec(self).expect("a record holds nothing that JSON cannot say");
        publish(&bundle(run, &self.instance), "record.json", &bytes)
    }

    /// Reads that of `folder`; none where nothing was published, or where the record is another instance's.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Garbled`]
    pub(super) fn read(folder: &Path) -> Result<Option<Self>, Error> {
        let path = folder.join("record.json");
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            outcome => outcome.map_err(Error::file("read", &path))?,
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|source| Error::Garbled { path, source })
    }
}

/// Writes a file of a bundle whole or not at all.
///
/// # Errors
/// [`Error::File`]
pub(super) fn publish(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), Error> {
    let (new, path) = (folder.join(format!(".{name}.new")), folder.join(name));
    fs::write(&new, bytes).map_err(Error::file("write", &new))?;
    // A configuration holds a program's environment, and with it what others need not know.
    fs::set_permissions(&new, Permissions::from_mode(0o600)).map_err(Error::file("protect", &new))?;
    fs::rename(&new, &path).map_err(Error::file("publish", path))
}

/// Removes the folder of an instance.
///
/// # Errors
/// [`Error::File`]
pub(super) fn remove(run: &Path, instance: &InstanceId) -> Result<(), Error> {
    let path = bundle(run, instance);
    match fs::remove_dir_all(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        outcome => outcome.map_err(Error::file("remove", path)),
    }
}

/// Puts a garbled record beside the instances, for people: the latest of each instance.
///
/// # Errors
/// [`Error::File`]
pub(super) fn quarantine(run: &Path, name: &str) -> Result<PathBuf, Error> {
    let place = run.join("garbled");
    match fs::DirBuilder::new().mode(0o700).create(&place) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(Error::File { operation: "make the folder", path: place, source: error });
        }
        Ok(()) | Err(_) => {}
    }
    let to = place.join(format!("{name}.json"));
    fs::rename(folder(run).join(name).join("record.json"), &to).map_err(Error::file("set aside", &to))?;
    Ok(to)
}

#[cfg(test)]
mod tests;
