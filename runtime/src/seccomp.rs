//! `linux.seccomp`: which system calls the program may make. A profile becomes a program for the kernel's filter machine
//! (seccomp(2), "Filters") in the parent, outside of the container and its memory limit; the child loads it and no more.
//!
//! ```text
//!   LinuxSeccomp ──profile──> Profile: for each architecture, for each number, rules in order
//!                   └─ arch: names to numbers        │
//!                                                    └──program──> Filter: instructions (assembler), flags ──> load
//! ```
//! All but [`load`] is pure. The meaning is that of libseccomp as runc calls it, to which a test holds it, call by call:
//! - a rule without conditions wins over rules with them; of several with conditions that apply, the first;
//! - several conditions on one argument of a rule are alternatives;
//! - names that an architecture does not have are left out there;
//! - where the default is to refuse, calls newer than all that the profile names answer `ENOSYS`, so that a libc that
//!   tries the newest first falls back (libseccomp's callers add this themselves);
//! - calls of an architecture that is not listed kill the thread.
//!
//! Deliberately absent: a cache (ARCHITECTURE.md has the reason).

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use oci_spec::runtime::LinuxSeccomp;
use serde::{Deserialize, Serialize};

pub mod arch;
mod assembler;
mod profile;
mod program;

pub use assembler::Instruction;
pub use profile::{ACTIONS, FLAGS, OPERATORS};

/// A profile in the form that the kernel takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// What seccomp(2) takes as `flags`.
    pub flags: u32,
    /// At least one, and no more than the kernel takes.
    pub instructions: Vec<Instruction>,
}

/// Who decides about calls with `SCMP_ACT_NOTIFY`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// `linux.seccomp.listenerPath`: a stream socket.
    pub path: PathBuf,
    /// `linux.seccomp.listenerMetadata`, which means something to the listener alone.
    pub metadata: String,
}

/// Why a profile is refused, by the member's place in `config.json`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The profile asks for what cannot be.
    #[error("`{property}` {problem}")]
    Invalid {
        /// The JSON property, with its index in an array.
        property: String,
        /// What is wrong with its value.
        problem: String,
    },
    /// The kernel takes programs of a certain length only.
    #[error("`linux.seccomp` needs {length} instructions, and the kernel takes {MOST}; name fewer conditions")]
    TooLong {
        /// How many it would be.
        length: usize,
    },
    /// What was stored beside the container is no filter.
    #[error("the stored system call filter is damaged: {0}; create the container again")]
    Stored(&'static str),
    /// seccomp(2) failed.
    #[error("cannot load `linux.seccomp`{hint}")]
    Load {
        /// A way out, or nothing.
        hint: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// `BPF_MAXINSNS` (linux/bpf_common.h).
const MOST: usize = 4096;

/// Compiles a profile for the architectures that programs of this machine can have.
///
/// # Errors
/// The member that asks for what cannot be enforced.
pub fn plan(seccomp: &LinuxSeccomp) -> Result<Filter, Error> {
    plan_for(seccomp, arch::OURS)
}

fn plan_for(seccomp: &LinuxSeccomp, possible: &[arch::Arch]) -> Result<Filter, Error> {
    let profile = profile::read(seccomp, possible)?;
    let instructions = program::assemble(&profile);
    match instructions.len() {
        length if length > MOST => Err(Error::TooLong { length }),
        _ => Ok(Filter { flags: profile.flags, instructions }),
    }
}

/// Who decides, for a profile that leaves calls to somebody.
#[must_use]
pub fn listener(seccomp: &LinuxSeccomp, filter: &Filter) -> Option<Listener> {
    let path = seccomp.listener_path().clone().filter(|_| filter.listens())?;
    Some(Listener { path, metadata: seccomp.listener_metadata().clone().unwrap_or_default() })
}

/// Binds this process, and whatever it executes or makes, to the filter. It is allowed with `no_new_privs` or with
/// `CAP_SYS_ADMIN` (seccomp(2)). A filter that [listens](Filter::listens) comes with a descriptor, which is close-on-exec:
/// from now on calls of this process may wait for whoever has it.
///
/// # Errors
/// The kernel's refusal, with what would be needed.
pub fn load(filter: &Filter) -> Result<Option<OwnedFd>, Error> {
    crate::sys::seccomp::set_filter(filter.flags, &filter.instructions).map_err(|source| {
        let hint = match source.raw_os_error() {
            Some(libc::EACCES) => ": it takes `process.noNewPrivileges`, or a runtime with CAP_SYS_ADMIN",
            Some(libc::EINVAL) if filter.flags != 0 => " (does this kernel know each of `linux.seccomp.flags`?)",
            Some(libc::EINVAL | libc::ENOSYS) => " (was this kernel built with CONFIG_SECCOMP_FILTER?)",
            _ => "",
        };
        Error::Load { hint, source }
    })
}

/// Whether this kernel takes a flag of seccomp(2).
#[must_use]
pub fn kernel_knows(flag: u32) -> bool {
    // It is a flag of listeners, and refused without one.
    let listener = if flag == profile::FLAG_WAIT_KILLABLE { profile::FLAG_NEW_LISTENER } else { 0 };
    crate::sys::seccomp::knows(flag | listener)
}

impl Filter {
    /// Whether it leaves calls to somebody (`SCMP_ACT_NOTIFY`).
    #[must_use]
    pub const fn listens(&self) -> bool {
        self.flags & profile::FLAG_NEW_LISTENER != 0
    }

    /// For a file beside the container, for processes that enter it later.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.flags.to_ne_bytes().to_vec();
        for it in &self.instructions {
            bytes.extend(it.code.to_ne_bytes());
            bytes.extend([it.yes, it.no]);
            bytes.extend(it.k.to_ne_bytes());
        }
        bytes
    }

    /// The inverse of [`Self::to_bytes`].
    ///
    /// # Errors
    /// [`Error::Stored`] for what that never wrote. Whether the program makes sense is the kernel's to judge.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let (flags, rest) = bytes.split_first_chunk().ok_or(Error::Stored("it has no flags"))?;
        let chunks = rest.chunks_exact(8);
        if rest.is_empty() || !chunks.remainder().is_empty() || rest.len() / 8 > MOST {
            return Err(Error::Stored("its length is wrong"));
        }
        let instruction = |it: &[u8]| Instruction {
            code: u16::from_ne_bytes([it[0], it[1]]),
            yes: it[2],
            no: it[3],
            k: u32::from_ne_bytes([it[4], it[5], it[6], it[7]]),
        };
        Ok(Self { flags: u32::from_ne_bytes(*flags), instructions: chunks.map(instruction).collect() })
    }
}

#[cfg(test)]
mod tests;
