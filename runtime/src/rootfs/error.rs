//! What can go wrong in this room. Bad configuration names its JSON property; a failed operation names the mount,
//! device or path it was for and carries the kernel's errno.

use std::path::PathBuf;

use rustix::io::Errno;

/// An error of the room `rootfs`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A property that must be there is not.
    #[error("`{property}` is missing; {hint}")]
    Missing {
        /// The JSON property.
        property: String,
        /// What to write.
        hint: &'static str,
    },
    /// A property has a value that cannot be used.
    #[error("`{property}` has `{value}`, {rule}")]
    Invalid {
        /// The JSON property.
        property: String,
        /// Its value.
        value: String,
        /// Why it cannot be used.
        rule: &'static str,
    },
    /// A bind mount has an option that nobody would look at.
    #[error("`mounts[{index}].options` has the unknown mount option `{option}`")]
    UnknownOption {
        /// Which mount.
        index: usize,
        /// The word.
        option: String,
    },
    /// The kernel has no such file system, and no module of it.
    #[error("`{property}.type` is `{filesystem}`, which this kernel does not have (see /proc/filesystems)")]
    UnknownFilesystem {
        /// Which mount, as a JSON property.
        property: String,
        /// The word.
        filesystem: String,
        /// What mount(2) said.
        source: Errno,
    },
    /// The kernel's file system does not take an option.
    #[error("`{property}.options` has `{option}`, which the file system `{filesystem}` refuses")]
    RefusedOption {
        /// Which mount, as a JSON property.
        property: String,
        /// The word.
        option: String,
        /// The type of the mount.
        filesystem: String,
        /// The kernel's answer.
        source: Errno,
    },
    /// `root.path` cannot be opened.
    #[error("cannot open the root file system `{}` (`root.path`)", path.display())]
    RootOpen {
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        source: Errno,
    },
    /// `root.path` is something else than a directory.
    #[error("the root file system `{}` is {found}; `root.path` must name a directory", path.display())]
    RootKind {
        /// Where it is.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// The source of a bind mount cannot be opened.
    #[error("cannot open `{}`, the source of `{property}` for `{}`", path.display(), destination.display())]
    Source {
        /// Which mount.
        property: String,
        /// Where it was to go.
        destination: PathBuf,
        /// The source.
        path: PathBuf,
        /// Why not.
        source: Errno,
    },
    /// One step of a mount failed.
    #[error("cannot {operation} for `{property}` on `{}`", destination.display())]
    Mount {
        /// Which mount.
        property: String,
        /// Where.
        destination: PathBuf,
        /// What was tried.
        operation: &'static str,
        /// Why it failed.
        source: Errno,
    },
    /// A user namespace for the mapping of an id-mapped mount could not be had.
    #[error("cannot get the user namespace of `{property}.uidMappings`")]
    Mapping {
        /// Which mount.
        property: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The image or another process tries to lead a mount or a file elsewhere.
    #[error("`{property}` is refused on `{}`: {reason}", path.display())]
    Refused {
        /// Which property asks for it.
        property: String,
        /// Where.
        path: PathBuf,
        /// What is wrong there.
        reason: &'static str,
    },
    /// A device node cannot be made.
    #[error("cannot make the device `{}` (`{property}`)", path.display())]
    Device {
        /// Which device.
        property: String,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: Errno,
    },
    /// Something that every container gets cannot be made.
    #[error("cannot {operation} `{}`", path.display())]
    Make {
        /// What was tried.
        operation: &'static str,
        /// On which path of the container.
        path: PathBuf,
        /// Why it failed.
        source: Errno,
    },
    /// A kernel parameter cannot be set.
    #[error("cannot set `linux.sysctl` `{key}` to `{value}`")]
    Sysctl {
        /// The parameter.
        key: String,
        /// Its value.
        value: String,
        /// Why not.
        source: Errno,
    },
    /// A step of the change of the root directory failed.
    #[error("cannot {operation}")]
    Enter {
        /// What was tried.
        operation: &'static str,
        /// Why it failed.
        source: Errno,
    },
}

impl Error {
    /// The kernel's answer, when the error is one.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Missing { .. }
            | Self::Invalid { .. }
            | Self::UnknownOption { .. }
            | Self::RootKind { .. }
            | Self::Refused { .. } => None,
            Self::Mapping { source, .. } => Errno::from_io_error(source),
            Self::RefusedOption { source, .. }
            | Self::UnknownFilesystem { source, .. }
            | Self::RootOpen { source, .. }
            | Self::Source { source, .. }
            | Self::Mount { source, .. }
            | Self::Device { source, .. }
            | Self::Make { source, .. }
            | Self::Sysctl { source, .. }
            | Self::Enter { source, .. } => Some(*source),
        }
    }
}
