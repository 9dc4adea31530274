//! The container's first process, from its birth to the exec: a list of steps in a fixed order, each explained by its
//! place. It runs on a copy of the runtime's memory; whatever goes wrong is told to the parent, once, as text. A further
//! process of the container takes another way there ([`setns`]).

mod hop;
pub mod setns;
mod step;

use crate::config::Bundle;
use crate::container::plans::{Begin, Plans};
use crate::namespaces::Kind;
use crate::rootfs::{self, Prepared};
use crate::seccomp::Filter;
use crate::sync::{Channel, Message};
use crate::sys::self_exe::Shield;
use crate::{hooks, process, sys, terminal};
use skiff_contract::document::StateDocument;
use skiff_contract::status::Status;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

/// What the parent hands over. All descriptors are close-on-exec.
pub struct Kit<'a> {
    /// The decisions.
    pub plans: &'a Plans,
    /// To the parent.
    pub channel: Channel,
    /// Root and bind sources, opened by the parent; by us where the parent has no right to.
    pub prepared: Option<Prepared>,
    /// What a `cgroup` mount shows.
    pub cgroup_view: rootfs::CgroupView,
    /// The namespaces to join, in the plan's order.
    pub namespaces: Vec<OwnedFd>,
    /// The parent has maps to write or cgroups to fill before anything else may happen.
    pub wait_first: bool,
    /// The socket of `--console-socket`.
    pub console: Option<OwnedFd>,
    /// Where `start` knocks.
    pub listener: Option<OwnedFd>,
    /// What keeps the binary from the container.
    pub shield: Option<Shield>,
    /// What hooks read, but for the pid.
    pub document: StateDocument,
    /// The bundle, for [`rootfs::prepare`] and as the hooks' working directory.
    pub bundle: &'a Bundle,
}

/// Why the container cannot be made. The parent prints the chain.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A plain system call of this file.
    #[error("cannot {operation}")]
    Step {
        /// What was being done, to what.
        operation: String,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// See [`rootfs::Error`].
    #[error(transparent)]
    Rootfs(#[from] rootfs::Error),
    /// See [`process::Error`].
    #[error(transparent)]
    Process(#[from] process::Error),
    /// See [`hooks::Error`].
    #[error(transparent)]
    Hooks(#[from] hooks::Error),
    /// See [`terminal::Error`].
    #[error(transparent)]
    Terminal(#[from] terminal::Error),
    /// The parent is gone: there is nobody to tell and nothing to go on for.
    #[error(transparent)]
    Parent(#[from] crate::sync::Error),
    /// The parent said something out of order.
    #[error("unexpected message {0:?}")]
    OutOfOrder(Message),
}

/// The program, ready to be executed.
struct Ready {
    file: CString,
    environment: Vec<CString>,
    /// As the parent sees us.
    pid: i32,
}

/// Makes the container around this process and becomes its program. Never returns.
pub fn run(mut kit: Kit<'_>) -> ! {
    let outcome = set_up(&mut kit).and_then(|ready| {
        kit.channel.send(&Message::Ready)?;
        expect_go(&kit.channel)?;
        Ok(ready)
    });
    match outcome {
        Ok(ready) => begin(kit, &ready),
        Err(error) => give_up(&kit.channel, error),
    }
}

fn set_up(kit: &mut Kit<'_>) -> Result<Ready, Error> {
    let plans = kit.plans;
    // A container that is being made must not outlive its maker; the socket tells too, but only when we next look.
    step::die_with_parent()?;
    let mut pid = match (&plans.namespaces.hop, kit.wait_first) {
        (Some(hop), _) => hop::take(kit, hop)?,
        (None, true) => expect_proceed(&kit.channel)?,
        (None, false) => 0,
    };
    if plans.namespaces.hop.is_none() && plans.namespaces.makes(Kind::User) {
        step::become_root_inside(&plans.namespaces)?;
    }
    // Until the exec this process holds descriptors of the host, and may share a pid namespace with other containers.
    step::hide()?;
    step::own_session()?;
    step::join(&plans.namespaces, &kit.namespaces, &plans.namespaces.init_join)?;
    // Only now are all cgroups of this process those that the container is to see as its roots.
    step::unshare_cgroup(&plans.namespaces)?;
    step::set_names(plans)?;
    if plans.namespaces.makes(Kind::Network) {
        // As every runtime does: without a loopback device most programs are at a loss.
        sys::network::raise_loopback().map_err(step::failed("bring the loopback device up"))?;
    }
    // While the host's /proc is still to be seen.
    process::before_root(&plans.process)?;
    let prepared = match kit.prepared.take() {
        Some(prepared) => prepared,
        None => rootfs::prepare(&plans.rootfs, &kit.bundle.path)?,
    };
    let root = rootfs::build(&plans.rootfs, prepared, &kit.cgroup_view)?;
    if plans.stops() {
        kit.channel.send(&Message::AtHooks)?;
        pid = expect_proceed(&kit.channel)?;
        kit.document.pid = pid;
    }
    // Their paths are resolved in the runtime's tree, which is still our root, in the container's mount namespace.
    run_hooks(kit, hooks::Kind::CreateContainer, &[])?;
    set_up_terminal(kit, &root)?;
    // A hook of ours must not be confined by it, and one of the container's shall be.
    if let Some(profile) = &plans.process.apparmor {
        process::apparmor::apply(profile)?;
    }
    match kit.shield.take() {
        // It goes with the old root, whose unmounting waits for the kernel anyway.
        Some(shield) if !plans.no_pivot && plans.namespaces.makes(Kind::Mount) => shield.bury(),
        other => drop(other),
    }
    root.enter(plans.no_pivot)?;
    root.seal()?;
    // Before the limits of the program, which could keep us from reading the container's passwd.
    let environment = process::environment::complete(&plans.process.environment, plans.process.identity.uid);
    process::enter(&plans.process)?;
    // It changes ids, which may have brought the dumpable flag back (sysctl fs.suid_dumpable).
    step::hide()?;
    // Before the maker hears that we are ready, because it may be gone a moment after; from now on we are at most one
    // receive away from seeing the end of its socket.
    step::outlive_parent()?;
    let name = &plans.process.program.args[0];
    let file = process::program::find(name, plans.process.environment.path.as_deref())?;
    if confines_early(plans) {
        step::confine(&plans.process, &kit.channel)?;
    }
    Ok(Ready { file, environment, pid })
}

/// The filter is loaded last where nobody can be in the pid namespace yet. A container that waits for its start may wait for
/// days, with processes that `exec` brought, and hooks are programs of the container: either could, with `CAP_SYS_PTRACE`,
/// reach for a process without filter, and for the right that loading one takes. And whoever decides about calls must have
/// the means to before we can wait for it.
fn confines_early(plans: &Plans) -> bool {
    let alone = plans.namespaces.makes(Kind::Pid) && plans.begin != Begin::OnKnock && plans.start_container.is_empty();
    !alone || plans.process.seccomp.as_ref().is_some_and(Filter::listens)
}

fn set_up_terminal(kit: &mut Kit<'_>, root: &rootfs::Root) -> Result<(), Error> {
    if kit.plans.console == terminal::Console::None {
        return Ok(());
    }
    let pty = terminal::allocate(root.dir())?;
    if let Some(size) = kit.plans.console_size {
        pty.set_size(size)?;
    }
    pty.give_to(kit.plans.process.identity.uid)?;
    root.bind_console(pty.slave.as_fd())?;
    match kit.console.take() {
        Some(socket) => terminal::send_descriptor(socket.as_fd(), pty.master.as_fd(), terminal::MASTER_NAME)?,
        None => kit.channel.send_with(&Message::Master, pty.master.as_fd())?,
    }
    // The master is somebody else's now.
    drop(pty.make_controlling()?);
    Ok(())
}

fn run_hooks(kit: &Kit<'_>, kind: hooks::Kind, environment: &[CString]) -> Result<(), Error> {
    let (which, directory) = match kind {
        hooks::Kind::StartContainer => (&kit.plans.start_container, None),
        _ => (&kit.plans.create_container, Some(kit.bundle.dir.as_fd())),
    };
    if which.is_empty() {
        return Ok(());
    }
    let state = serde_json::to_vec(&kit.document).unwrap_or_default();
    Ok(hooks::run(which, kind, &hooks::Surroundings { state: &state, environment, directory })?)
}

/// From here on nothing of the container changes any more but its status.
fn begin(mut kit: Kit<'_>, ready: &Ready) -> ! {
    // The maker may go now, and a created container waits for whoever starts it.
    let channel = match await_start(&mut kit) {
        Ok(channel) => channel,
        Err(error) => give_up(&kit.channel, error),
    };
    kit.document.status = Status::Created;
    kit.document.pid = ready.pid;
    if let Err(error) = run_hooks(&kit, hooks::Kind::StartContainer, &ready.environment) {
        give_up(&channel, error);
    }
    let filter = kit.plans.process.seccomp.as_ref().filter(|_| !confines_early(kit.plans));
    become_program(channel, &kit.plans.process.program.args, ready, (kit.plans.preserve, filter))
}

/// The exec, after the last word to the parent. `preserve` descriptors after standard error stay.
fn become_program(channel: Channel, args: &[CString], ready: &Ready, (preserve, filter): (u32, Option<&Filter>)) -> ! {
    // So that an end without this word before it is known to be a death and not an exec.
    let _told_by_what_follows = channel.send(&Message::Ready);
    // The channel goes just behind what the program may keep; it is close-on-exec, so its end tells of the exec.
    let first = 3 + preserve;
    let (channel, error) = match sys::prctl::move_descriptor(channel.into(), first) {
        Ok(moved) => {
            let error = process::program::exec_alone(&ready.file, args, &ready.environment, first + 1, filter);
            (moved, error.into())
        }
        Err((channel, source)) => {
            (channel, Error::Step { operation: format!("move the channel to descriptor {first}"), source })
        }
    };
    give_up(&Channel::from(channel), error)
}

/// For `run` the parent has already said Go; a created container waits for a knock that is followed by Go. One that
/// is not (its `start` was killed) ends the container.
fn await_start(kit: &mut Kit<'_>) -> Result<Channel, Error> {
    if kit.plans.begin != Begin::OnKnock {
        return Ok(std::mem::replace(&mut kit.channel, Channel::pair()?.0));
    }
    let Some(listener) = kit.listener.take() else { step::exit(1) };
    // Nothing of the host is held while we wait, perhaps for days: what the caller passes on to the program comes
    // first, then the listener, and all else is closed. Whatever owned it is not used again: this never returns.
    let first = 3 + kit.plans.preserve;
    let listener = sys::prctl::move_descriptor(listener, first)
        .map_err(|(_, source)| step::failed("keep only the socket for `start`")(source))?;
    process::descriptors::close_from(first + 1)?;
    let channel = step::accept(&listener)?;
    drop(listener);
    expect_go(&channel)?;
    Ok(channel)
}

fn expect_go(channel: &Channel) -> Result<(), Error> {
    match channel.recv()?.0 {
        Message::Go => Ok(()),
        other => Err(Error::OutOfOrder(other)),
    }
}

fn expect_proceed(channel: &Channel) -> Result<i32, Error> {
    match channel.recv()?.0 {
        Message::Proceed(pid) => Ok(pid),
        other => Err(Error::OutOfOrder(other)),
    }
}

fn give_up(channel: &Channel, error: Error) -> ! {
    let exit_code = match &error {
        Error::Process(error) => error.exit_code(),
        _ => 1,
    };
    let text = format!("{:#}", anyhow::Error::from(error));
    match channel.send(&Message::Failed { exit_code, text }) {
        Ok(()) => step::exit(1),
        // A parent that is gone cannot be told; its death is why we end, or will be found out by whoever looks. Or the
        // filter keeps us from telling why its program cannot be executed, and the code has to do.
        Err(_nobody_listens) => step::exit(exit_code.into()),
    }
}
