//! The bundle's configuration: read with limits, parsed by `oci-spec` (the only spec type there is here), and held
//! against what this runtime can enforce. What it cannot is refused by name. So is the document of `update`.

mod load;
mod locate;
mod refuse;
mod resources;

pub use load::{Bundle, Loaded, from_text, load, load_process};
pub use resources::{ResourcesError, read_resources};

use std::path::PathBuf;

/// The largest `config.json` that is read, in bytes. The largest real ones, with a seccomp profile and hundreds of
/// mounts, stay below one mebibyte.
pub const LARGEST_CONFIG: u64 = 4 << 20;

/// Why a bundle cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bundle folder cannot be opened.
    #[error("bundle `{path}` cannot be opened as a folder")]
    Bundle {
        /// The bundle as given.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// `config.json` cannot be opened or read.
    #[error("`{path}` cannot be read (a bundle needs a config.json; `skiff spec` writes one)")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// The file of `exec --process` cannot be opened or read.
    #[error(
        "`{path}` cannot be read (--process needs a file with the JSON of one process, as `process` in config.json)"
    )]
    ReadProcess {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// Not JSON, or not a process.
    #[error("`{path}` is not a valid OCI process{}", at(member))]
    InvalidProcess {
        /// The file.
        path: PathBuf,
        /// The member in which the parser stopped.
        member: String,
        /// What the parser said, with line and column.
        #[source]
        source: serde_json::Error,
    },
    /// `config.json` is a folder, a device, a pipe.
    #[error("`{path}` is not a regular file")]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// More than [`LARGEST_CONFIG`].
    #[error("`{path}` is larger than {LARGEST_CONFIG} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Not JSON, or not of the specification's types; the source names line and column.
    #[error("`{path}` is not a valid OCI configuration{}", at(member))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The member in which the parser stopped.
        member: String,
        /// What the parser said, with line and column.
        #[source]
        source: serde_json::Error,
    },
    /// A member that is required is missing.
    #[error("`{property}` is missing in config.json")]
    Missing {
        /// The member's path in the document.
        property: &'static str,
    },
    /// `ociVersion` is not one of 1.0 to 1.3.
    #[error("ociVersion `{0}` is not supported; this runtime knows 1.0.0 to 1.3.x")]
    Version(String),
    /// A member that this runtime cannot enforce.
    #[error("`{property}` is set, but {reason}; remove it, or use a runtime that has it")]
    Unsupported {
        /// The member's path in the document.
        property: &'static str,
        /// Why it cannot be enforced.
        reason: &'static str,
    },
}

fn at(member: &str) -> String {
    if member.is_empty() { String::new() } else { format!(", at `{member}`") }
}
