//! The process of a container: `oci_spec::runtime::Process` becomes a validated [`Plan`] without a system call, and the
//! child applies it in steps that make no choices.
//!
//! Order in the child, each with its reason:
//! 1. [`before_root`] while the host's /proc is there: OOM score and session keyring;
//! 2. [`apparmor::apply`], after the hooks of the runtime's namespaces; then the root changes;
//! 3. [`environment::complete`], inside the root but before the user's limits and rights can hide `/etc/passwd`;
//! 4. [`enter`]: limits, scheduling, memory policy, working directory, user, capabilities, `no_new_privs`;
//! 5. [`program::find`], with the eyes of the user;
//! 6. [`program::exec_alone`], which loads the system call filter just before the exec, so that a filter needs to allow little
//!    on our account; or, where somebody could reach for the process meanwhile, [`confine`] earlier.
//!
//! In a new user namespace the child has lost the rights for raising limits and lowering the OOM score: there the
//! parent calls [`from_outside`], and [`Plan::in_user_namespace`] makes the child leave both alone.

use oci_spec::runtime::{LinuxMemoryPolicy, LinuxPersonality, Process};
use rustix::process::Pid;

use std::os::fd::OwnedFd;

use crate::seccomp::{self, Filter};
use crate::sys::{prctl, sched};

pub mod affinity;
pub mod apparmor;
pub mod capabilities;
pub mod credentials;
pub mod cwd;
pub mod descriptors;
pub mod environment;
mod error;
pub mod keyring;
pub mod limits;
pub mod list;
pub mod memory_policy;
pub mod program;
pub mod scheduling;

pub use credentials::UserNamespace;
pub use environment::Listen;
pub use error::Error;

/// What the plan depends on beside the process itself.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Whose ids `process.user` speaks of.
    pub user_namespace: UserNamespace<'a>,
    /// What the process will hold ([`capabilities::Held::observe`]).
    pub held: capabilities::Held,
    /// The id that names the session keyring; `None` for `--no-new-keyring`.
    pub keyring_of: Option<&'a str>,
    /// Descriptors of socket activation to announce.
    pub listen: Option<&'a Listen>,
    /// `linux.personality`.
    pub personality: Option<&'a LinuxPersonality>,
    /// `linux.memoryPolicy`.
    pub memory_policy: Option<&'a LinuxMemoryPolicy>,
    /// Whether AppArmor confines anybody here ([`apparmor::observe`]).
    pub apparmor: bool,
}

/// Everything about the process, checked, in the form the kernel takes it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// `process.oomScoreAdj`, if set.
    pub oom_score: Option<i32>,
    /// `process.rlimits`.
    pub limits: Vec<limits::Limit>,
    /// `process.scheduler`.
    pub scheduler: Option<sched::Attributes>,
    /// `process.ioPriority`, as `ioprio_set(2)` takes it.
    pub io_priority: Option<i32>,
    /// `linux.personality`, as `personality(2)` takes it.
    pub personality: Option<libc::c_ulong>,
    /// `linux.memoryPolicy`, as `set_mempolicy(2)` takes it.
    pub memory_policy: Option<memory_policy::Policy>,
    /// `process.execCPUAffinity`, which is for `exec` alone.
    pub affinity: affinity::Affinity,
    /// `process.apparmorProfile`.
    pub apparmor: Option<String>,
    /// The session keyring to join, unless it stays.
    pub keyring: Option<keyring::Keyring>,
    /// `process.cwd`.
    pub cwd: std::path::PathBuf,
    /// `process.user`.
    pub identity: credentials::Identity,
    /// `process.capabilities`.
    pub capabilities: capabilities::Sets,
    /// `process.noNewPrivileges`.
    pub no_new_privileges: bool,
    /// `process.env` but for `HOME`.
    pub environment: environment::Environment,
    /// `process.args`.
    pub program: program::Program,
    /// `linux.seccomp`, which is set by whoever knows it: it is of the container and not of one process.
    pub seccomp: Option<Filter>,
    /// Whoever takes the filter's descriptor can take it only from a process that does not hide, and no container can name
    /// this one.
    pub shows: bool,
}

impl Plan {
    /// Whether the filter takes a right to load, which the process then keeps until it is loaded (seccomp(2), `EACCES`).
    #[must_use]
    pub const fn filter_takes_a_right(&self) -> bool {
        self.seccomp.is_some() && !self.no_new_privileges
    }

    /// Whether the parent sets limits and OOM score ([`from_outside`]) rather than the child.
    #[must_use]
    pub const fn in_user_namespace(&self) -> bool {
        self.identity.in_user_namespace
    }
}

/// Turns the configuration into a plan, and says what the specification wants warned about.
///
/// # Errors
/// Whatever is refused or cannot be, by the name of its JSON property.
pub fn plan(process: &Process, facts: &Facts<'_>) -> Result<(Plan, Vec<String>), Error> {
    refuse_what_is_not_done(process)?;
    let identity = credentials::plan(process.user(), facts.user_namespace)?;
    let (capabilities, warning) = capabilities::plan(process.capabilities().as_ref(), facts.held);
    let plan = Plan {
        oom_score: process.oom_score_adj().map(limits::oom_score).transpose()?,
        limits: limits::plan(process.rlimits().as_deref().unwrap_or_default())?,
        scheduler: process.scheduler().as_ref().map(scheduling::plan).transpose()?,
        io_priority: process.io_priority().as_ref().map(scheduling::plan_io_priority).transpose()?,
        personality: facts.personality.map(scheduling::plan_personality).transpose()?,
        memory_policy: facts.memory_policy.map(memory_policy::plan).transpose()?,
        affinity: process.exec_cpu_affinity().as_ref().map(affinity::plan).transpose()?.unwrap_or_default(),
        apparmor: apparmor::plan(process, facts.apparmor)?,
        keyring: facts.keyring_of.map(|id| keyring::plan(id, identity.in_user_namespace)).transpose()?,
        cwd: cwd::plan(process.cwd())?,
        capabilities,
        no_new_privileges: process.no_new_privileges().unwrap_or(false),
        environment: environment::plan(process.env().as_deref().unwrap_or_default(), facts.listen)?,
        program: program::plan(process.args().as_deref())?,
        identity,
        seccomp: None,
        shows: false,
    };
    Ok((plan, warning.into_iter().collect()))
}

/// What a parent does to a child in a user namespace, where the child has no right to: OOM score and limits.
///
/// # Errors
/// The first that the kernel refuses.
pub fn from_outside(plan: &Plan, child: Pid) -> Result<(), Error> {
    if let Some(value) = plan.oom_score {
        limits::apply_oom_score(value, Some(child))?;
    }
    limits::apply(&plan.limits, Some(child))
}

/// What the child does while it still sees the host's /proc.
///
/// # Errors
/// The first step that the kernel refuses.
pub fn before_root(plan: &Plan) -> Result<(), Error> {
    if let Some(value) = plan.oom_score.filter(|_| !plan.in_user_namespace()) {
        limits::apply_oom_score(value, None)?;
    }
    plan.keyring.as_ref().map_or(Ok(()), keyring::apply)
}

/// What the child does inside its root, once nothing more is to be set up: it may not be able to afterwards.
///
/// # Errors
/// The first step that the kernel refuses.
pub fn enter(plan: &Plan) -> Result<(), Error> {
    if !plan.in_user_namespace() {
        limits::apply(&plan.limits, None)?;
    }
    if let Some(attributes) = &plan.scheduler {
        scheduling::apply(attributes, None)?;
    }
    if let Some(value) = plan.io_priority {
        scheduling::apply_io_priority(value)?;
    }
    if let Some(persona) = plan.personality {
        prctl::set_personality(persona).map_err(|source| Error::Apply {
            property: "linux.personality",
            hint: "",
            source,
        })?;
    }
    if let Some(policy) = &plan.memory_policy {
        memory_policy::apply(policy)?;
    }
    // First as root, which may enter what the user cannot; then as the user, who may enter what root cannot (NFS).
    let entry = cwd::enter(&plan.cwd)?;
    credentials::apply(&plan.identity, &plan.capabilities)?;
    if entry == cwd::Entry::NeedsUser {
        cwd::enter_as_user(&plan.cwd)?;
    }
    cwd::verify(&plan.cwd)?;
    let besides = if plan.filter_takes_a_right() { capabilities::SYS_ADMIN } else { 0 };
    capabilities::apply(&plan.capabilities, besides)?;
    if plan.no_new_privileges {
        rustix::thread::set_no_new_privs(true).map_err(|errno| Error::Apply {
            property: "process.noNewPrivileges",
            hint: "",
            source: errno.into(),
        })?;
    }
    Ok(())
}

/// Loads the filter, if there is one, at once and lets go of the right that this takes: for a process that somebody may look
/// into while it waits for its exec, with `CAP_SYS_PTRACE` (ptrace(2)). The filter then has to allow what we do until the
/// exec, as those that other runtimes are used with do.
///
/// What comes back is the descriptor of a filter that leaves calls to somebody.
///
/// # Errors
/// The kernel's refusal.
pub fn confine(plan: &Plan) -> Result<Option<OwnedFd>, Error> {
    let Some(filter) = &plan.seccomp else { return Ok(None) };
    let listener = seccomp::load(filter)?;
    capabilities::apply(&plan.capabilities, 0)?;
    Ok(listener)
}

fn refuse_what_is_not_done(process: &Process) -> Result<(), Error> {
    let set = |value: &Option<String>| value.as_ref().is_some_and(|value| !value.is_empty());
    let refusals = [
        (
            set(process.selinux_label()),
            "process.selinuxLabel",
            "SELinux is not built in, so the program would run without the label; remove it",
        ),
        (set(process.command_line()), "process.commandLine", "it is for Windows; use `process.args`"),
    ];
    match refusals.into_iter().find(|(asked, ..)| *asked) {
        Some((_, property, reason)) => Err(Error::Unsupported { property, reason }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
