//! Unpacking: an archive whose digest is right becomes a bundle folder, which appears whole or not at all. A right digest
//! says who made an archive, not that it is harmless: a child with nothing else in its reach reads it.

pub mod child;
pub(crate) mod entry;
mod place;

use super::{Limits, children};
use crate::store;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;

/// An archive that takes longer than this on any machine is not one.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Why there is no folder.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The archive is one that is not taken.
    #[error("the bundle archive is refused: {0}")]
    Refused(String),
    /// It could not be written down.
    #[error("the bundle archive cannot be unpacked: {0}")]
    Failed(String),
    /// The child.
    #[error("the child that unpacks {what}")]
    Child {
        /// What it did.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The folder.
    #[error("cannot {operation} `{path}`")]
    Folder {
        /// What was asked.
        operation: &'static str,
        /// Of which folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The disk.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// What the child is told.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Words {
    entries: u64,
    bytes: u64,
    archive: u64,
}

/// What it says in the end.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Said {
    #[serde(rename_all = "camelCase")]
    Done {
        not_enforced: Vec<String>,
    },
    Refused(String),
    Failed(String),
}

/// Unpacks an archive of so many bytes into a folder, in place of whatever is left of an older one. Returns what this machine could not enforce of
/// the child's confinement.
///
/// # Errors
/// See [`Error`]; nothing is left then.
pub async fn unpack(
    program: &Path,
    limits: &Limits,
    archive: File,
    size: u64,
    folder: &Path,
) -> Result<Vec<String>, Error> {
    let new = unfinished(folder);
    discard(&new)?;
    store::make_folder(&new, 0o700)?;
    let words = Words { entries: limits.entries, bytes: limits.unpacked, archive: size };
    let error = match run(program, &words, archive, &new).await {
        Ok(Said::Done { not_enforced }) => {
            // One that lost its configuration is in the way; a whole one is never unpacked again.
            discard(folder)?;
            std::fs::rename(&new, folder).map_err(fail("publish", folder))?;
            store::sync_folder(folder)?;
            return Ok(not_enforced);
        }
        Ok(Said::Refused(why)) => Error::Refused(why),
        Ok(Said::Failed(why)) => Error::Failed(why),
        Err(error) => error,
    };
    // What was refused matters more than that its remains could not be cleared away; the next start does it.
    let _left_for_the_next_start = discard(&new);
    Err(error)
}

async fn run(program: &Path, words: &Words, archive: File, new: &Path) -> Result<Said, Error> {
    let start = |mut command: Command| command.stdin(archive).current_dir(new).spawn();
    let child = children::command(program, "unpack", words).and_then(start);
    let child = child.map_err(|source| Error::Child { what: "does not start", source })?;
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
    let output = output.map_err(|_| Error::Child { what: "does not end", source: io::ErrorKind::TimedOut.into() })?;
    let output = output.map_err(|source| Error::Child { what: "does not end", source })?;
    if !output.status.success() {
        let source = io::Error::other(output.status.to_string());
        return Err(Error::Child { what: "failed", source });
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|error| Error::Child { what: "is not understood", source: error.into() })
}

/// Where a folder grows before it is whole.
pub(super) fn unfinished(folder: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(folder.file_name().unwrap_or_default());
    name.push(".new");
    folder.with_file_name(name)
}

/// Takes a folder away, with all that is in it; its absence is fine. No link is followed.
///
/// # Errors
/// [`Error::Folder`]
pub(super) fn discard(folder: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(fail("remove", folder)(error)),
        _ => Ok(()),
    }
}

fn fail(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Folder { operation, path, source }
}
