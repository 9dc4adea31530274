//! A further process in a container that exists: the parent's side of the conversation with [`init::setns`]. Nothing of the
//! container is changed and its lock is not taken: probes run beside each other and beside every other command.

mod command;

pub use command::{Command, UnknownCapability};

use super::kill::{Handle, handle, is_child, reap};
use super::notifier::{self, Notifier};
use super::observe::{Seen, look};
use super::pid_file;
use super::start::{Executed, exec_outcome};
use crate::cgroup::{self, Below, Cgroup, Location};
use crate::init::setns::{self, Kit};
use crate::namespaces::{self, Kind};
use crate::seccomp::Filter;
use crate::state::{self, Entry, Identity, Interior, Record};
use crate::sync::{self, Channel, Message};
use crate::sys::clone::{self as sys_clone, Side};
use crate::sys::self_exe::{self, Shield};
use crate::systemd::{self, Manager};
use crate::{config, foreground, log, process, sys, terminal};
use oci_spec::runtime::Process;
use rustix::process::Pid;
use skiff_contract::status::Status;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// What `exec` is asked for.
pub struct Request {
    /// The process.
    pub what: What,
    /// `--tty`
    pub tty: bool,
    /// `--detach`
    pub detach: bool,
    /// `--pid-file`
    pub pid_file: Option<PathBuf>,
    /// `--console-socket`
    pub console_socket: Option<PathBuf>,
    /// `--pidfd-socket`
    pub pidfd_socket: Option<PathBuf>,
    /// `--preserve-fds`
    pub preserve_fds: u32,
    /// `--ignore-paused`
    pub ignore_paused: bool,
    /// `--cgroup`
    pub cgroups: Vec<Below>,
}

/// How the process is described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// By the file of `--process`.
    File(PathBuf),
    /// By a command, beside the container's own process.
    Command(Command),
}

/// Why a process cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The container's state cannot be read.
    #[error(transparent)]
    State(#[from] state::Error),
    /// See [`config::Error`].
    #[error(transparent)]
    Config(#[from] config::Error),
    /// See [`UnknownCapability`].
    #[error(transparent)]
    Capability(#[from] UnknownCapability),
    /// See [`process::Error`].
    #[error(transparent)]
    Process(#[from] process::Error),
    /// See [`terminal::Error`].
    #[error(transparent)]
    Terminal(#[from] terminal::Error),
    /// See [`notifier::Error`].
    #[error(transparent)]
    Notifier(#[from] notifier::Error),
    /// See [`cgroup::Error`].
    #[error(transparent)]
    Cgroup(#[from] cgroup::Error),
    /// See [`systemd::Error`].
    #[error(transparent)]
    Systemd(#[from] systemd::Error),
    /// See [`self_exe::Error`].
    #[error(transparent)]
    SelfExe(#[from] self_exe::Error),
    /// See [`foreground::Error`].
    #[error(transparent)]
    Foreground(#[from] foreground::Error),
    /// Its program has ended, or has not been made.
    #[error("cannot exec in a {status} container (`{id}`); only a created or running one takes a process")]
    NotRunning {
        /// The container.
        id: String,
        /// What it is instead.
        status: Status,
    },
    /// It would not begin before the container goes on.
    #[error(
        "cannot exec in a paused container (`{0}`); resume it, or let the process wait for that with --ignore-paused"
    )]
    Paused(String),
    /// The record does not say what the container is like inside.
    #[error("container `{0}` was made by a version of skiff that had no exec; create it again")]
    TooOld(String),
    /// Something small that the kernel refused.
    #[error("cannot {operation}")]
    Step {
        /// What was being done.
        operation: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// See [`pid_file::Error`].
    #[error(transparent)]
    PidFile(#[from] pid_file::Error),
    /// The process cannot be talked to.
    #[error("the process to be does not answer as it should")]
    Talk(#[source] sync::Error),
    /// It said what went wrong.
    #[error("{text}")]
    Refused {
        /// The chain of causes.
        text: String,
        /// What a foreground `exec` exits with.
        exit_code: u8,
    },
    /// It died before it could say anything.
    #[error("the process was killed before its program began{hint}")]
    Died {
        /// The memory limit, if that may have been it.
        hint: &'static str,
    },
}

impl Error {
    /// What a foreground `exec` exits with: 126 and 127 for a program that cannot be executed, else 1, as `run` does.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Refused { exit_code, .. } => *exit_code,
            _ => 1,
        }
    }
}

/// A process in the container that waits for the word.
pub struct Waiting<'a> {
    channel: Channel,
    request: &'a Request,
    record: Record,
    status: Status,
    notifier: Option<Notifier>,
    /// The process that enters the container, until it has ended.
    entrant: Option<i32>,
    /// The process itself, a child of ours.
    process: Option<i32>,
    /// The pid file is there.
    published: bool,
    /// The terminal's master end, for the foreground.
    pub master: Option<OwnedFd>,
    /// Kept until the program runs: closing the mount behind it waits for the kernel.
    _shield: Shield,
}

/// The decisions.
struct Plans {
    /// The container's first process, which is known to live.
    init: i32,
    process: process::Plan,
    /// Set by us on the process itself: the entrant could not hand a deadline or a reset on fork down to it.
    scheduler: Option<sys::sched::Attributes>,
    console: terminal::Console,
    console_size: Option<terminal::Size>,
    namespaces: namespaces::Plan,
    /// Nobody in the container can name the entrant.
    unseen: bool,
}

/// Makes a process in a container; it waits for [`Waiting::go`].
///
/// # Errors
/// See [`Error`]; nothing is left behind.
pub fn prepare<'a>(entry: &Entry, request: &'a Request) -> Result<Waiting<'a>, Error> {
    // First of all, because it may execute us anew.
    let shield = self_exe::protect()?;
    let Seen { record, status } = look(entry)?;
    let (init, interior) = joinable(&record, status, request.ignore_paused)?;
    let mut plans = decide(&record.id, init, interior, request)?;
    if interior.seccomp {
        plans.process.seccomp = Some(Filter::from_bytes(&entry.filter()?).map_err(process::Error::from)?);
        plans.process.shows = plans.unseen && notifier::needs_to_see();
    }
    let (channel, inner) = Channel::pair().map_err(Error::Talk)?;
    let console_socket = match &plans.console {
        terminal::Console::Socket(path) => Some(terminal::connect(path)?),
        terminal::Console::None | terminal::Console::Proxy => None,
    };
    let pidfd_socket = request.pidfd_socket.as_deref().map(terminal::connect).transpose()?;
    let notifier = interior.listener.as_ref().map(Notifier::connect).transpose()?;
    let cgroup = open_cgroup(&record.cgroup, &request.cgroups)?;
    let gone = || Error::NotRunning { id: record.id.clone(), status: Status::Stopped };
    let pidfd = match handle(init).map_err(step("open the container's first process"))? {
        Handle::Pidfd(pidfd) => Some(pidfd),
        Handle::Number => None,
        Handle::Gone => return Err(gone()),
    };
    // After the descriptor was opened, which is thereby known to be of this process and no later one.
    if !init.is_alive() {
        return Err(gone());
    }
    let mut kit = Kit {
        process: &plans.process,
        console: &plans.console,
        console_size: plans.console_size,
        console_socket,
        channel: inner,
        init,
        pidfd,
        namespaces: &plans.namespaces,
        wait_first: plans.process.in_user_namespace() || cgroup.location().dirs.iter().any(is_v1),
        preserve: request.preserve_fds,
    };
    // Of ourselves, so that no work for the process is done elsewhere. We stay there: all that is left is to wait for it.
    process::affinity::begin(&plans.process.affinity)?;
    let side = sys_clone::clone(sys_clone::Request { flags: 0, cgroup: cgroup.v2_dir(), sibling: false });
    let must_be_moved = |in_cgroup: bool| !in_cgroup && cgroup.v2_dir().is_some();
    let (entrant, in_cgroup) = match side.map_err(step("make a process (clone)"))? {
        Side::Child { in_cgroup } => {
            kit.wait_first |= must_be_moved(in_cgroup);
            // Or the end of our parent could not be seen.
            drop((channel, pidfd_socket, notifier, shield));
            setns::run(kit)
        }
        Side::Parent { pid, in_cgroup } => (pid, in_cgroup),
    };
    let wait_first = kit.wait_first || must_be_moved(in_cgroup);
    drop(kit);
    log::debug(|| format!("process {entrant} enters container `{}`; born in its cgroup: {in_cgroup}", record.id));
    let mut waiting = Waiting {
        channel,
        request,
        entrant: Some(entrant),
        process: None,
        published: false,
        master: None,
        _shield: shield,
        record: record.clone(),
        status,
        notifier,
    };
    match waiting.accompany(&plans, &cgroup, (in_cgroup, wait_first), pidfd_socket) {
        Ok(()) => Ok(waiting),
        Err(error) => {
            let error = waiting.explain(error);
            waiting.abandon();
            Err(error)
        }
    }
}

impl Waiting<'_> {
    /// Gives the word, waits until the program runs, and returns its process, a child of ours.
    ///
    /// # Errors
    /// [`Error::Refused`] when the program cannot be executed, and those of a process that is gone; nothing is left then.
    pub fn go(self) -> Result<i32, Error> {
        let told = self.channel.send(&Message::Go).and_then(|()| exec_outcome(&self.channel));
        let error = match (told, self.process) {
            (Ok(Executed::Yes), Some(pid)) => return Ok(pid),
            (Ok(Executed::Yes), None) => Error::Talk(sync::Error::Closed),
            (Ok(Executed::No { exit_code, text }), _) => Error::Refused { text, exit_code },
            (Err(source), _) => self.explain(Error::Talk(source)),
        };
        self.abandon();
        Err(error)
    }

    /// Ends it instead.
    pub fn abandon(self) {
        for pid in self.entrant.into_iter().chain(self.process) {
            // A child that nobody has reaped, so the number is still its own.
            let _already_dead = sys::kill::by_pid(pid, libc::SIGKILL);
            reap(pid);
        }
        if let (Some(path), true) = (&self.request.pid_file, self.published) {
            let _already_removed = std::fs::remove_file(path);
        }
    }

    /// Our part until it is ready, and what its caller waits for.
    fn accompany(
        &mut self,
        plans: &Plans,
        cgroup: &Cgroup,
        (in_cgroup, wait_first): (bool, bool),
        pidfd_socket: Option<OwnedFd>,
    ) -> Result<(), Error> {
        let entrant = self.entrant.unwrap_or_default();
        let joined = if self.request.cgroups.is_empty() {
            cgroup.join_beside(entrant, !in_cgroup, plans.init)
        } else {
            cgroup.join(entrant, !in_cgroup)
        };
        match (joined, &self.record.unit) {
            // A user may not take a process out of where they are. systemd may, if both ends are theirs.
            (Err(cgroup::Error::Join { source, .. }), Some(unit))
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                let below = self.below(cgroup).or_else(|| cgroup.below(plans.init)).unwrap_or_default();
                Manager::of(unit)?.attach(unit, &below, entrant)?;
            }
            (joined, _) => joined?,
        }
        if let (true, Some(pid)) = (plans.process.in_user_namespace(), Pid::from_raw(entrant)) {
            process::from_outside(&plans.process, pid)?;
        }
        if wait_first {
            self.channel.send(&Message::Proceed(entrant)).map_err(Error::Talk)?;
        }
        let pid = self.listen_until_ready(plans.console == terminal::Console::Proxy, plans.unseen)?;
        if let (Some(attributes), Some(pid)) = (&plans.scheduler, Pid::from_raw(pid)) {
            process::scheduling::apply(attributes, Some(pid))?;
        }
        if let Some(notifier) = self.notifier.take() {
            notifier.hand_over(pid, &self.record.document(self.status))?;
        }
        if let Some(path) = &self.request.pid_file {
            pid_file::write(path, pid)?;
            self.published = true;
        }
        if let Some(socket) = pidfd_socket {
            let pidfd = foreground::pidfd::open(pid)?;
            foreground::pidfd::send_to_socket(&socket, pidfd.as_fd(), foreground::pidfd::SETNS)?;
        }
        Ok(())
    }

    /// Where below the container's own cgroup the process was asked to be, as `/a/b`.
    fn below(&self, cgroup: &Cgroup) -> Option<String> {
        let (own, asked) = (self.record.cgroup.v2()?, cgroup.location().v2()?);
        let relative = asked.path.strip_prefix(&own.path).ok()?;
        (!relative.as_os_str().is_empty()).then(|| format!("/{}", relative.display()))
    }

    /// The process may be faster than the entrant, which tells its number. It is in the container already, which may
    /// speak for it (ptrace(2)): its terminal is not what it says, and its number is no stranger's.
    fn listen_until_ready(&mut self, proxied: bool, unseen: bool) -> Result<i32, Error> {
        let mut ready = false;
        loop {
            if let (true, Some(pid)) = (ready, self.process) {
                return Ok(pid);
            }
            match self.hear()? {
                // The entrant hands it over before there is a process.
                (Message::Master, master) if proxied && self.master.is_none() => self.master = master,
                (Message::Pid(pid), _) => self.made(pid)?,
                (Message::Ready, _) => ready = true,
                (Message::Listener(number), _) => {
                    let entrant = self.entrant.unwrap_or_default();
                    let taken = match &mut self.notifier {
                        Some(notifier) => notifier.take(entrant, number, unseen, &self.channel)?,
                        None => true,
                    };
                    // Else it has failed, and says why.
                    if taken {
                        self.channel.send(&Message::Proceed(entrant)).map_err(Error::Talk)?;
                    }
                }
                (Message::Failed { exit_code, text }, _) => {
                    self.learn_the_rest();
                    return Err(Error::Refused { text, exit_code });
                }
                _ => return Err(Error::Talk(sync::Error::Garbled(1))),
            }
        }
    }

    fn hear(&self) -> Result<(Message, Option<OwnedFd>), Error> {
        if let Some(notifier) = &self.notifier {
            notifier.attend(&self.channel)?;
        }
        self.channel.recv().map_err(Error::Talk)
    }

    /// A number that cannot be the process's is passed over: its real one is still to come, or known.
    fn made(&mut self, pid: i32) -> Result<(), Error> {
        if self.process.is_some() || self.entrant == Some(pid) || !is_child(pid) {
            return Ok(());
        }
        self.process = Some(pid);
        // Having said this, it ends, for which it may need our help: exit(2) is a call, too.
        if let (Some(notifier), Some(entrant)) = (&self.notifier, self.entrant) {
            notifier.attend(&foreground::pidfd::open(entrant)?)?;
        }
        // Its number is free for others now.
        if let Some(notifier) = &mut self.notifier {
            notifier.trust_nobody();
        }
        self.entrant.take().into_iter().for_each(reap);
        Ok(())
    }

    /// Either of the two has failed. If it was the process, the entrant still says its number, or it could not be reaped.
    fn learn_the_rest(&mut self) {
        while self.process.is_none() {
            match self.hear() {
                // What failed first is what is told.
                Ok((Message::Pid(pid), _)) => drop(self.made(pid)),
                Ok(_) => {}
                Err(_nobody_is_left) => return,
            }
        }
    }

    /// A process that went without a word was killed; perhaps by the container's memory limit.
    fn explain(&self, error: Error) -> Error {
        if !matches!(error, Error::Talk(sync::Error::Closed)) {
            return error;
        }
        let short = cgroup::oom_kills(&self.record.cgroup).is_ok_and(|kills| kills > 0);
        let hint =
            if short { "; the container has run out of memory before (linux.resources.memory.limit)" } else { "" };
        Error::Died { hint }
    }
}

/// What of the container is joined, if it may be.
fn joinable(record: &Record, status: Status, ignore_paused: bool) -> Result<(&Identity, &Interior), Error> {
    let id = || record.id.clone();
    let init = match (status, &record.init) {
        (Status::Created | Status::Running, Some(init)) => init,
        (Status::Paused, Some(init)) if ignore_paused => init,
        (Status::Paused, _) => return Err(Error::Paused(id())),
        _ => return Err(Error::NotRunning { id: id(), status }),
    };
    Ok((init, record.interior.as_ref().ok_or_else(|| Error::TooOld(id()))?))
}

fn decide(id: &str, init: &Identity, interior: &Interior, request: &Request) -> Result<Plans, Error> {
    let (process, mut warnings) = describe(interior, request)?;
    let in_user_namespace = interior.namespaces.contains(&Kind::User);
    let held = process::capabilities::Held::observe(process.capabilities().as_ref(), in_user_namespace)
        .map_err(step("read the capabilities of this process"))?;
    let facts = process::Facts {
        // Its maps are the kernel's to know: they need not be those of the configuration any more.
        user_namespace: if in_user_namespace { process::UserNamespace::Joined } else { process::UserNamespace::Caller },
        held,
        keyring_of: Some(id).filter(|_| interior.keyring),
        listen: None,
        personality: interior.personality.as_ref(),
        memory_policy: interior.memory_policy.as_ref(),
        apparmor: process::apparmor::observe(&process),
    };
    let (mut plan, more) = process::plan(&process, &facts)?;
    warnings.extend(more);
    warnings.iter().for_each(|warning| log::warn(warning));
    let terminal = process.terminal().unwrap_or(false);
    Ok(Plans {
        init: init.pid,
        scheduler: plan.scheduler.take(),
        process: plan,
        console: terminal::plan(terminal, request.console_socket.as_deref(), request.detach)?,
        console_size: terminal::size(&process)?,
        namespaces: namespaces::of_process(init.pid, &interior.namespaces),
        unseen: has_other_pids(init.pid),
    })
}

/// Whether a process is in a pid namespace below ours, from where ours cannot be seen. It has to be known.
fn has_other_pids(pid: i32) -> bool {
    let namespace = |of: &str| std::fs::read_link(format!("/proc/{of}/ns/pid")).ok();
    let (own, other) = (namespace("self"), namespace(&pid.to_string()));
    own.is_some() && other.is_some() && own != other
}

fn describe(interior: &Interior, request: &Request) -> Result<(Process, Vec<String>), Error> {
    match &request.what {
        What::File(path) => {
            let (process, warnings) = config::load_process(path)?;
            let mut process = command::complete(process, &interior.process);
            if request.tty {
                process.set_terminal(Some(true));
            }
            Ok((process, warnings))
        }
        What::Command(command) => {
            let mut process = command::process(&interior.process, command)?;
            process.set_terminal(Some(request.tty));
            Ok((process, Vec::new()))
        }
    }
}

/// The container's cgroups, or those below that were asked for. For a user who is not root only those that could be made: the
/// container may have stayed in the cgroup of its maker.
fn open_cgroup(location: &Location, below: &[Below]) -> Result<Cgroup, Error> {
    let exists = |dir: &&cgroup::Dir| Path::new(&dir.path).is_dir();
    let own = if rustix::process::geteuid().is_root() {
        location.clone()
    } else {
        Location { dirs: location.dirs.iter().filter(exists).cloned().collect() }
    };
    Ok(cgroup::open(&Below::of(below, &own)?)?)
}

fn is_v1(dir: &cgroup::Dir) -> bool {
    dir.kind != cgroup::Kind::V2
}

fn step(operation: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::Step { operation, source }
}
