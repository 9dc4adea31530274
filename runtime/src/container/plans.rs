//! Everything about a container that can be decided before anything is made: each room's plan, in one place. What is
//! refused here leaves nothing behind.

use crate::cgroup::{self, Location};
use crate::config::{Bundle, Loaded};
use crate::namespaces::{self, Kind};
use crate::{hooks, process, rootfs, terminal};
use oci_spec::runtime::{Hook, Hooks, Spec};
use skiff_contract::id::ContainerId;
use std::path::PathBuf;

/// What `create` and `run` are asked for.
pub struct Request {
    /// The new container's id.
    pub id: ContainerId,
    /// The opened bundle.
    pub bundle: Bundle,
    /// `--pid-file`
    pub pid_file: Option<PathBuf>,
    /// `--console-socket`
    pub console_socket: Option<PathBuf>,
    /// `--pidfd-socket`
    pub pidfd_socket: Option<PathBuf>,
    /// `--no-pivot`
    pub no_pivot: bool,
    /// `--no-new-keyring`
    pub no_new_keyring: bool,
    /// `--preserve-fds`
    pub preserve_fds: u32,
    /// No cgroup at all (`--cgroup-manager=disabled`).
    pub no_cgroup: bool,
    /// Who starts the program.
    pub begin: Begin,
}

/// Who starts the program, and who holds its terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// A later `start`.
    OnKnock,
    /// This command, which then returns.
    Detached,
    /// This command, which then waits for it.
    Foreground,
}

/// The decisions.
pub struct Plans {
    /// Which namespaces, how.
    pub namespaces: namespaces::Plan,
    /// Where the cgroup is and what is written to it.
    pub cgroup: Option<(Location, cgroup::Plan)>,
    /// Mounts, devices, masks.
    pub rootfs: rootfs::Plan,
    /// User, capabilities, limits, program.
    pub process: process::Plan,
    /// `hostname`
    pub hostname: Option<String>,
    /// `domainname`
    pub domainname: Option<String>,
    /// `process.terminal` and who gets its master end.
    pub terminal: Option<terminal::Plan>,
    /// prestart and createRuntime, in this order.
    pub runtime_hooks: Vec<(hooks::Kind, Vec<Hook>)>,
    /// createContainer
    pub create_container: Vec<Hook>,
    /// startContainer
    pub start_container: Vec<Hook>,
    /// poststart
    pub poststart: Vec<Hook>,
    /// poststop
    pub poststop: Vec<Hook>,
    /// How many descriptors after standard error reach the program.
    pub preserve: u32,
    /// `--no-pivot`
    pub no_pivot: bool,
    /// Who starts the program.
    pub begin: Begin,
}

impl Plans {
    /// Whether init stops once its root stands, for hooks or to learn its pid.
    #[must_use]
    pub fn stops_for_hooks(&self) -> bool {
        !self.runtime_hooks.is_empty() || !self.create_container.is_empty() || !self.start_container.is_empty()
    }
}
