//! What can go wrong in the room `cgroup`: a variant an operation, each with its path, never repeating its source.

use std::{io, path::PathBuf};

/// A failed cgroup operation or a refused `linux.resources` property.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A process cannot be where it was asked for.
    #[error("`--cgroup {}`: {reason}", path.display())]
    Below {
        /// As it was given.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A file of /proc or of a cgroup could not be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A cgroup file that belongs to no property of the configuration could not be written.
    #[error("cannot write `{value}` to `{path}`")]
    Write {
        /// The file.
        path: PathBuf,
        /// What was written.
        value: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No cgroup file system is mounted.
    #[error("no cgroup hierarchy is mounted; mount one at `/sys/fs/cgroup` or use --cgroup-manager=disabled")]
    NoHierarchy,
    /// `linux.cgroupsPath` cannot be used.
    #[error("`linux.cgroupsPath` is `{path}`: {reason}")]
    BadPath {
        /// The path as configured.
        path: PathBuf,
        /// What is wrong and what to write instead.
        reason: &'static str,
    },
    /// A relative `linux.cgroupsPath` needs the runtime's own cgroup, which this mount does not show.
    #[error(
        "the runtime's own cgroup `{own}` is not visible below `{mount}`; give `linux.cgroupsPath` as an absolute path"
    )]
    OwnNotVisible {
        /// The path in /proc/self/cgroup.
        own: String,
        /// The mount point of the hierarchy.
        mount: PathBuf,
    },
    /// A property has a value that no kernel could take, or one that this host's cgroup version does not have.
    #[error("`{property}` is refused: {reason}")]
    Refused {
        /// The JSON property.
        property: String,
        /// Why, and what to do instead.
        reason: &'static str,
    },
    /// A property needs a controller that no mounted hierarchy has.
    #[error(
        "`{property}` needs the cgroup controller `{controller}`, which no mounted hierarchy of this host has \
         (see `/proc/cgroups`)"
    )]
    NoController {
        /// The JSON property.
        property: String,
        /// The controller, as the kernel calls it.
        controller: String,
    },
    /// A property needs a controller that a user's systemd manager has not been given.
    #[error(
        "`{property}` needs the cgroup controller `{controller}`, which is not delegated to this user (`{path}` does not \
         name it); have it delegated by `Delegate=cpu cpuset io memory pids` in a drop-in of `user@.service`"
    )]
    NotDelegated {
        /// The JSON property.
        property: String,
        /// The controller, as the kernel calls it.
        controller: String,
        /// The file with what is delegated.
        path: PathBuf,
    },
    /// A property asks for a limit although cgroups are switched off.
    #[error("`{property}` cannot be enforced with --cgroup-manager=disabled; remove it or use cgroupfs")]
    Disabled {
        /// The JSON property.
        property: String,
    },
    /// The kernel did not take a limit.
    #[error("cannot set `{property}`: writing `{value}` to `{path}` failed{hint}")]
    Set {
        /// The JSON property.
        property: String,
        /// The cgroup file.
        path: PathBuf,
        /// What was written.
        value: String,
        /// A way out, starting with `; `, or nothing.
        hint: &'static str,
        /// The errno.
        #[source]
        source: io::Error,
    },
    /// `checkBeforeUpdate` is set and the container already uses more than its new limit.
    #[error("cannot set `linux.resources.memory.limit` to {limit}: `{path}` is {usage} bytes already")]
    BelowUsage {
        /// The file with the usage.
        path: PathBuf,
        /// Bytes asked for.
        limit: u64,
        /// Bytes in use.
        usage: u64,
    },
    /// A new limit of memory alone is above the one on memory and swap together, which stays.
    #[error(
        "cannot set `linux.resources.memory.limit` to {limit}: memory and swap together are limited to {total} bytes; \
         set `linux.resources.memory.swap` too (--memory-swap), or -1 for no limit"
    )]
    OverSwap {
        /// Bytes asked for.
        limit: i64,
        /// Bytes of memory and swap together.
        total: i64,
    },
    /// A directory could not be made.
    #[error("cannot make the cgroup `{path}`")]
    Make {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The cgroup exists and somebody lives there.
    #[error("the cgroup `{path}` already has processes; choose another `linux.cgroupsPath`")]
    Populated {
        /// The directory.
        path: PathBuf,
    },
    /// The cgroup exists and is frozen, so a process put into it would never run.
    #[error("the cgroup `{path}` is frozen; thaw or remove it, or choose another `linux.cgroupsPath`")]
    Frozen {
        /// The directory.
        path: PathBuf,
    },
    /// A controller could not be handed down to the container's cgroup.
    #[error("cannot enable the cgroup controllers `{controllers}` in `{path}`{hint}")]
    Enable {
        /// What was written, such as `+memory +pids`.
        controllers: String,
        /// The subtree_control file.
        path: PathBuf,
        /// A way out, starting with `; `, or nothing.
        hint: &'static str,
        /// The errno.
        #[source]
        source: io::Error,
    },
    /// The container's cgroup could not be opened.
    #[error("cannot open the cgroup `{path}`")]
    Open {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A process could not be moved into the container's cgroup.
    #[error("cannot move process {pid} into the cgroup by `{path}`")]
    Join {
        /// The process.
        pid: i32,
        /// The cgroup.procs file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The cgroup could not be given to the container's user.
    #[error("cannot give `{path}` to user {uid}")]
    Delegate {
        /// The directory or file.
        path: PathBuf,
        /// The user, as the host numbers it.
        uid: u32,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel did not take the device program.
    #[error("cannot load the program for `linux.resources.devices` (cgroup v2 needs a kernel with CONFIG_CGROUP_BPF)")]
    LoadProgram {
        /// The errno.
        #[source]
        source: io::Error,
    },
    /// The device program could not be attached.
    #[error("cannot attach the program for `linux.resources.devices` to `{path}`")]
    AttachProgram {
        /// The cgroup.
        path: PathBuf,
        /// The errno.
        #[source]
        source: io::Error,
    },
    /// A process could not be signalled.
    #[error("cannot send signal {signal} to process {pid} of the cgroup")]
    Signal {
        /// The process.
        pid: i32,
        /// The signal's number.
        signal: i32,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Processes were still there after all attempts to kill them.
    #[error("{count} processes of the container's cgroups are still there {seconds} s after they were killed")]
    Unkillable {
        /// How many.
        count: usize,
        /// How long was waited.
        seconds: u64,
    },
    /// The location has no hierarchy that can freeze.
    #[error("the container has no cgroup that can be frozen (v1 `freezer`, or v2 since Linux 5.2)")]
    NoFreezer,
    /// The processes did not all stop.
    #[error("the cgroup `{path}` did not reach the state `{state}` within {seconds} s")]
    FreezeTimeout {
        /// The directory.
        path: PathBuf,
        /// The state waited for.
        state: &'static str,
        /// How long was waited.
        seconds: u64,
    },
    /// The processes were not stopped, or not all, and none is now.
    #[error("its processes go on")]
    LetGo {
        /// What went wrong with stopping them.
        #[source]
        source: Box<Error>,
    },
    /// Some processes may have stopped, and could not be let go again.
    #[error("the cgroup `{path}` may be frozen in part and could not be thawed (stopping it failed: {failure})")]
    HalfFrozen {
        /// The directory.
        path: PathBuf,
        /// What went wrong with stopping them, as a chain of causes.
        failure: String,
        /// What went wrong with letting them go.
        #[source]
        source: Box<Error>,
    },
    /// Thawing a cgroup does not help when one above it is frozen.
    #[error("the cgroup `{path}` is frozen still: one above it is frozen too; thaw that one")]
    FrozenAbove {
        /// The directory.
        path: PathBuf,
    },
    /// A change failed halfway, and not all that it had written could be set back.
    #[error("`{path}` could not be set back to `{value}` after a failed change ({failure})")]
    NotSetBack {
        /// The file.
        path: PathBuf,
        /// What it said before.
        value: String,
        /// What the change failed with, as a chain of causes.
        failure: String,
        /// Why it could not be set back.
        #[source]
        source: io::Error,
    },
    /// The kernel took new limits, and who keeps them did not; they are set back.
    #[error("the limits cannot be kept")]
    NotKept(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A recorded directory is not below its hierarchy's mount point: the state file is not ours or damaged.
    #[error("the recorded cgroup `{path}` is not below `{mount}`; nothing is done to it")]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// The mount point.
        mount: PathBuf,
    },
    /// A directory could not be removed.
    #[error("cannot remove the cgroup `{path}`")]
    Remove {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// Whether this user may not make cgroups there.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        let Self::Make { source, .. } = self else { return false };
        matches!(source.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
    }
}

/// An error and its causes on one line, for an error that must tell of a second one.
pub(super) fn chain(error: &Error) -> String {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
