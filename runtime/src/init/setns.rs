//! A further process of a container that exists, from its birth to the exec (`exec`).
//!
//! ```text
//!   parent ── clone3 ──> entrant: into every namespace (setns(2)), user, capabilities, descriptors
//!                           └── clone3(CLONE_PARENT) ──> the process: session, program, exec
//! ```
//! A pid namespace takes in the *children* of the process that joins it, so there are two steps in any case; what is done
//! in which is a matter of safety. The container sees the second process from its first moment, and with `CAP_SYS_PTRACE`
//! it may stop it, look into it and write to it, whatever its dumpable flag says (ptrace(2), "access mode checking"). So
//! all that takes a right, or a descriptor of the host, is done by the entrant, which is in no pid namespace but ours and
//! cannot be named from inside. The process that the container sees is born with the container's root and working
//! directory, the user and capabilities of its program, and no descriptor but those that the program gets and the socket
//! to its parent: there is nothing to be won by tricking it. Without `CAP_SYS_PTRACE` it cannot be reached at all, being
//! born not dumpable.

use super::step::{self, failed};
use super::{Error, Ready, become_program, expect_go, expect_proceed, give_up};
use crate::namespaces::Plan;
use crate::state::Identity;
use crate::sync::{Channel, Message};
use crate::sys::clone::{Request, Side, clone};
use crate::{process, sys, terminal};
use rustix::fs::{CWD, Mode, OFlags};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// What the parent hands over. All descriptors are close-on-exec.
pub struct Kit<'a> {
    /// The decisions about the process, without those that the parent sees to once it is there.
    pub process: &'a process::Plan,
    /// `process.terminal`, and who gets its master end.
    pub console: &'a terminal::Console,
    /// `process.consoleSize`
    pub console_size: Option<terminal::Size>,
    /// The socket of `--console-socket`.
    pub console_socket: Option<OwnedFd>,
    /// To the parent.
    pub channel: Channel,
    /// The container's first process, whose namespaces are joined.
    pub init: &'a Identity,
    /// The same, where the kernel has pidfds.
    pub pidfd: Option<OwnedFd>,
    /// The namespaces to join.
    pub namespaces: &'a Plan,
    /// The parent has limits to set or cgroups to fill before anything else may happen.
    pub wait_first: bool,
    /// How many descriptors after standard error reach the program.
    pub preserve: u32,
}

/// Enters the container and leaves a process in it that becomes the program. Never returns.
pub fn run(mut kit: Kit<'_>) -> ! {
    match enter(&mut kit) {
        Ok(environment) => multiply(kit, environment),
        Err(error) => give_up(&kit.channel, error),
    }
}

fn enter(kit: &mut Kit<'_>) -> Result<Vec<CString>, Error> {
    let plan = kit.process;
    // A killed parent must not leave this half-way; the socket tells too, but only when we next look.
    step::die_with_parent()?;
    if kit.wait_first {
        expect_proceed(&kit.channel)?;
    }
    // In the cgroup by now.
    process::affinity::settle(&plan.affinity)?;
    // For a container that shares the pid namespace of its host. Not earlier: the OOM score of a process that hides can
    // be written by root only.
    step::hide()?;
    // Not the container's /proc, and what the process inherits from us is all that is needed: we execute nothing.
    if let Some(profile) = &plan.apparmor {
        process::apparmor::apply(profile)?;
    }
    if plan.in_user_namespace() {
        join(kit)?;
        step::become_root_if_mapped()?;
        // Both change credentials, which may have brought the flag back (sysctl fs.suid_dumpable).
        step::hide()?;
        process::before_root(plan)?;
    } else {
        // While the host's /proc is still to be seen.
        process::before_root(plan)?;
        join(kit)?;
    }
    set_up_terminal(kit)?;
    // Before the limits of the program, which could keep us from reading the container's passwd.
    let environment = process::environment::complete(&plan.environment, plan.identity.uid);
    process::enter(plan)?;
    // Once more, for changing ids again; and what comes next is seen by the container.
    step::hide()?;
    // Here, where nobody in the container can reach for a process without filter, or for the right to load one.
    step::confine(plan, &kit.channel)?;
    Ok(environment)
}

/// Joins all namespaces at once, which also checks the rights over each before any is joined (Linux 5.8); else, and where
/// that is refused, one after the other, so that the refusal can be told by its kind.
fn join(kit: &mut Kit<'_>) -> Result<(), Error> {
    let all = kit.namespaces.join.iter().fold(0, |bits, (kind, _)| bits | kind.flag());
    match kit.pidfd.take().map(|pidfd| step::join_all(&pidfd, all)) {
        Some(Ok(())) => Ok(()),
        Some(Err(error)) if sys::kill::is_gone(&error) => Err(ended(kit.init)),
        Some(Err(_)) | None => join_each(kit),
    }
}

fn join_each(kit: &Kit<'_>) -> Result<(), Error> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let open = |(kind, path): &(_, std::path::PathBuf)| {
        let kind: &crate::namespaces::Kind = kind;
        rustix::fs::openat(CWD, path, flags, Mode::empty())
            .map_err(|errno| failed(format!("open the {} namespace `{}`", kind.word(), path.display()))(errno.into()))
    };
    let opened = kit.namespaces.join.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    // If the process is the same now, the number meant it while the files were opened.
    if !kit.init.is_alive() {
        return Err(ended(kit.init));
    }
    step::join(kit.namespaces, &opened, &kit.namespaces.init_join)
}

fn ended(init: &Identity) -> Error {
    let operation = format!("join the container: its first process {} has ended", init.pid);
    failed(operation)(io::Error::from_raw_os_error(libc::ESRCH))
}

fn set_up_terminal(kit: &mut Kit<'_>) -> Result<(), Error> {
    if *kit.console == terminal::Console::None {
        return Ok(());
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, "/", flags, Mode::empty())
        .map_err(|errno| failed("open the root of the container")(errno.into()))?;
    let pty = terminal::allocate(root.as_fd())?;
    if let Some(size) = kit.console_size {
        pty.set_size(size)?;
    }
    pty.give_to(kit.process.identity.uid)?;
    match kit.console_socket.take() {
        Some(socket) => terminal::send_descriptor(socket.as_fd(), pty.master.as_fd(), terminal::MASTER_NAME)?,
        None => kit.channel.send_with(&Message::Master, pty.master.as_fd())?,
    }
    // The master is somebody else's now.
    drop(pty.make_streams()?);
    Ok(())
}

/// Makes the process that the container will see, tells its number and ends.
fn multiply(kit: Kit<'_>, environment: Vec<CString>) -> ! {
    let Kit { channel, process, preserve, console, .. } = kit;
    let channel = match leave_host(channel, preserve) {
        Ok(channel) => channel,
        Err((channel, error)) => give_up(&channel, error),
    };
    match clone(Request { flags: 0, cgroup: None, sibling: true }) {
        Ok(Side::Child { .. }) => begin(channel, process, environment, (preserve, console)),
        Ok(Side::Parent { pid, .. }) => {
            // A parent that is gone cannot be told: the process finds out by itself.
            let _nobody_listens = channel.send(&Message::Pid(pid));
            step::exit(0)
        }
        Err(source) => {
            // ENOMEM is the kernel's word for a pid namespace whose first process has ended (clone(2)).
            let operation = "make the process inside the container (clone; has the container ended?)";
            give_up(&channel, failed(operation)(source))
        }
    }
}

/// Closes everything but what the program may keep and, just behind that, the channel. Whatever owned the rest is not used
/// again: the caller never returns.
fn leave_host(channel: Channel, preserve: u32) -> Result<Channel, (Channel, Error)> {
    let first = 3 + preserve;
    let channel = match sys::prctl::move_descriptor(channel.into(), first) {
        Ok(moved) => Channel::from(moved),
        Err((channel, source)) => {
            return Err((channel.into(), failed(format!("move the channel to descriptor {first}"))(source)));
        }
    };
    match process::descriptors::close_from(first + 1) {
        Ok(()) => Ok(channel),
        Err(error) => Err((channel, error.into())),
    }
}

/// The process that the container sees. Its parent hears that it is ready and sets what can only be set on it.
fn begin(
    channel: Channel,
    plan: &process::Plan,
    environment: Vec<CString>,
    (preserve, console): (u32, &terminal::Console),
) -> ! {
    let found = find(plan, console).and_then(|file| {
        channel.send(&Message::Ready)?;
        expect_go(&channel)?;
        Ok(file)
    });
    match found {
        // What its hooks would be told is of no use here: there are none for a further process.
        Ok(file) => become_program(channel, &plan.program.args, &Ready { file, environment, pid: 0 }, (preserve, None)),
        Err(error) => give_up(&channel, error),
    }
}

/// Here rather than in the entrant, for which the container's `/proc/self` leads nowhere.
fn find(plan: &process::Plan, console: &terminal::Console) -> Result<CString, Error> {
    step::own_session()?;
    if *console != terminal::Console::None {
        terminal::take_control()?;
    }
    Ok(process::program::find(&plan.program.args[0], plan.environment.path.as_deref())?)
}
