//! How the two children give up what they do not need, before they read a byte from outside: another user, no capabilities
//! but the named ones, no new privileges, no files but the named ones, no system calls that they have no use for, little
//! memory. What a kernel cannot enforce is reported, never passed over.

mod filter;
mod user;

pub(super) use filter::Filter;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus, Scope,
};
use rustix::process::{Resource, Rlimit, Signal};
use rustix::thread::{CapabilitiesSecureBits, CapabilitySet, CapabilitySets};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

/// Why a child does not begin. What the kernel lacks is no reason; what it refuses is.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// A limit.
    #[error("cannot limit {0}")]
    Limit(&'static str, #[source] io::Error),
    /// The user.
    #[error("cannot become user `{0}`")]
    User(String, #[source] io::Error),
    /// Capabilities.
    #[error("cannot give up capabilities")]
    Capabilities(#[source] io::Error),
    /// `prctl(2)`.
    #[error("cannot give up {0}")]
    Privileges(&'static str, #[source] io::Error),
    /// Landlock is there and will not have these rules.
    #[error("cannot close off the file system")]
    Files(#[source] landlock::RulesetError),
    /// A folder that the child is to have.
    #[error("cannot keep hold of a folder")]
    Folder(#[source] io::Error),
    /// The filter cannot be made or put in place.
    #[error("cannot close off system calls")]
    Calls(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What a child keeps.
pub(super) struct Keep<'a> {
    /// Files and folders that may be read; those that do not exist are left out.
    pub(super) read: &'a [&'a Path],
    /// A folder that may be read.
    pub(super) read_folder: Option<&'a OwnedFd>,
    /// A folder that may be written.
    pub(super) write_folder: Option<&'a OwnedFd>,
    /// Whose user it becomes, if it is root.
    pub(super) user: Option<&'a str>,
    /// Capabilities, if it is root and stays so.
    pub(super) capabilities: CapabilitySet,
    /// Bytes of address space.
    pub(super) memory: u64,
    /// Bytes of any file it writes.
    pub(super) file: u64,
    /// System calls that it is denied.
    pub(super) filter: Filter,
}

/// Gives up everything else. Returns what this machine could not enforce, in words.
///
/// # Errors
/// See [`Error`]. The child then ends: half confined is not confined.
pub(super) fn confine(keep: &Keep<'_>) -> Result<Vec<String>, Error> {
    let mut missing = Vec::new();
    limit(keep)?;
    missing.extend(close_files(keep)?);
    // After the files, which need no user, and before the filter, which would deny it.
    match keep.user {
        Some(user) => missing.extend(user::become_user(user)?),
        None => missing.extend(keep_capabilities(keep.capabilities)?),
    }
    rustix::thread::set_no_new_privs(true).map_err(|errno| Error::Privileges("new privileges", errno.into()))?;
    // Cleared by a change of user, hence here. A parent that is gone already has closed the pipes.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|errno| Error::Privileges("a life without its parent", errno.into()))?;
    missing.extend(keep.filter.apply()?);
    Ok(missing)
}

fn limit(keep: &Keep<'_>) -> Result<(), Error> {
    let limits = [
        ("memory", Resource::As, keep.memory),
        ("the size of files", Resource::Fsize, keep.file),
        ("open files", Resource::Nofile, 64),
        ("core dumps", Resource::Core, 0),
    ];
    for (what, resource, most) in limits {
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        rustix::process::setrlimit(resource, limit).map_err(|errno| Error::Limit(what, errno.into()))?;
    }
    Ok(())
}

/// Landlock, landlock(7): as much of it as the kernel has.
fn close_files(keep: &Keep<'_>) -> Result<Option<String>, Error> {
    let abi = ABI::V7;
    let network = if keep.write_folder.is_some() { AccessNet::from_all(abi) } else { AccessNet::BindTcp.into() };
    let readable = AccessFs::ReadFile | AccessFs::ReadDir;
    let writable = AccessFs::from_all(abi) & !BitFlags::from(AccessFs::Execute);
    let folder = |folder: &OwnedFd| folder.as_fd().try_clone_to_owned().map_err(Error::Folder);
    let files = || -> Result<_, landlock::RulesetError> {
        let ruleset = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
        let ruleset = ruleset.handle_access(AccessFs::from_all(abi))?.handle_access(network)?;
        ruleset.scope(Scope::from_all(abi))?.create()
    };
    let mut ruleset = files().map_err(Error::Files)?;
    for path in keep.read {
        // A device without /etc/hosts has no need of it.
        let Ok(file) = PathFd::new(path) else { continue };
        let access = if path.is_dir() { readable } else { AccessFs::ReadFile.into() };
        ruleset = ruleset.add_rule(PathBeneath::new(file, access)).map_err(Error::Files)?;
    }
    if let Some(read) = keep.read_folder {
        ruleset = ruleset.add_rule(PathBeneath::new(folder(read)?, readable)).map_err(Error::Files)?;
    }
    if let Some(write) = keep.write_folder {
        ruleset = ruleset.add_rule(PathBeneath::new(folder(write)?, writable)).map_err(Error::Files)?;
    }
    let status = ruleset.restrict_self().map_err(Error::Files)?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => None,
        RulesetStatus::PartiallyEnforced => Some("landlock: in part, this kernel is older".to_owned()),
        RulesetStatus::NotEnforced => {
            Some("landlock: not at all, this kernel does not have it or has it off".to_owned())
        }
    })
}

/// Root with nothing but these capabilities, which no program that it might execute inherits.
fn keep_capabilities(keep: CapabilitySet) -> Result<Option<String>, Error> {
    if !rustix::process::geteuid().is_root() {
        return Ok(Some("owners of files: not root, so all files are this user's".to_owned()));
    }
    let fail = |errno: rustix::io::Errno| Error::Capabilities(errno.into());
    drop_bounding()?;
    rustix::thread::clear_ambient_capability_set().map_err(fail)?;
    let sets = CapabilitySets { effective: keep, permitted: keep, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets).map_err(fail)?;
    Ok(None)
}

/// Nothing can be gained by executing a program, and root's number means nothing.
fn drop_bounding() -> Result<(), Error> {
    let fail = |errno: rustix::io::Errno| Error::Capabilities(errno.into());
    let bits = CapabilitiesSecureBits::NO_ROOT | CapabilitiesSecureBits::NO_ROOT_LOCKED;
    rustix::thread::set_capabilities_secure_bits(bits).map_err(fail)?;
    for number in 0..64 {
        let one = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::remove_capability_from_bounding_set(one) {
            // The first number that the kernel does not know.
            Err(rustix::io::Errno::INVAL) => break,
            other => other.map_err(fail)?,
        }
    }
    Ok(())
}
