//! How a caller and a new shim find each other: the dialect of the answer, the group whose containers share a process,
//! the socket, and the claim on it that keeps two `start`s from making two shims.

pub(crate) mod claim;
pub(crate) mod dialect;
pub(crate) mod group;
pub(crate) mod socket;

use std::io;
use std::path::PathBuf;

/// Why a shim cannot be found or begun.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The bundle has no readable configuration.
    #[error("`{path}` cannot be read")]
    Config { path: PathBuf, source: io::Error },
    /// It is not a configuration.
    #[error("`{path}` is not an OCI configuration")]
    Json { path: PathBuf, source: serde_json::Error },
    /// The folder of sockets is not there and cannot be made.
    #[error("the folder of sockets `{path}` cannot be used")]
    Folder { path: PathBuf, source: io::Error },
    /// Others could put a socket of theirs in the place of ours.
    #[error("the folder of sockets `{0}` may be written to by others; take that from them with chmod")]
    Open(PathBuf),
    /// `sun_path` of unix(7).
    #[error("`{path}` is too long for a socket: {length} bytes, and 107 are the most; choose a shorter folder")]
    Long { path: PathBuf, length: usize },
    /// The kernel refused.
    #[error("socket `{path}` cannot be made")]
    Bind { path: PathBuf, source: io::Error },
    /// A socket that leads nowhere cannot be taken away.
    #[error("the stale socket `{path}` cannot be removed")]
    Unlink { path: PathBuf, source: io::Error },
}
