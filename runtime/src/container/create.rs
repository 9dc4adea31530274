//! Making a container: the parent's side of the conversation with `init`. What was made is unmade when it fails.

use super::kill::{is_child, reap};
use super::notifier::{self, Notifier};
use super::plans::{Begin, Driver, Plans, Request, decide};
use super::start::listen;
use super::{maps, pid_file, plans, undo, view};
use crate::cgroup::{self, Cgroup};
use crate::config;
use crate::foreground;
use crate::namespaces::Kind;
use crate::state::{self, Entry, Lock, Phase, Record, Store};
use crate::sync::{self, Channel, Message};
use crate::sys::clone::{self as sys_clone, Side};
use crate::sys::self_exe::Shield;
use crate::systemd::{self, Manager, Scope};
use crate::{hooks, init, log, network, process, readiness, rootfs, sys, terminal};
use oci_spec::runtime::{Process, Spec};
use rustix::fs::{CWD, Mode, OFlags};
use skiff_contract::status::Status;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

/// Why a container cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// See [`config::Error`].
    #[error(transparent)]
    Config(#[from] config::Error),
    /// See [`plans::Error`].
    #[error(transparent)]
    Plans(#[from] plans::Error),
    /// See [`state::Error`].
    #[error(transparent)]
    State(#[from] state::Error),
    /// See [`cgroup::Error`].
    #[error(transparent)]
    Cgroup(#[from] cgroup::Error),
    /// See [`systemd::Error`].
    #[error(transparent)]
    Systemd(#[from] systemd::Error),
    /// See [`network::Error`].
    #[error(transparent)]
    Network(#[from] network::Error),
    /// See [`rootfs::Error`].
    #[error(transparent)]
    Rootfs(#[from] rootfs::Error),
    /// See [`maps::Error`].
    #[error(transparent)]
    Maps(#[from] maps::Error),
    /// See [`hooks::Error`].
    #[error(transparent)]
    Hooks(#[from] hooks::Error),
    /// See [`process::Error`].
    #[error(transparent)]
    Process(#[from] process::Error),
    /// See [`terminal::Error`].
    #[error(transparent)]
    Terminal(#[from] terminal::Error),
    /// See [`notifier::Error`].
    #[error(transparent)]
    Notifier(#[from] notifier::Error),
    /// See [`sys::self_exe::Error`].
    #[error(transparent)]
    SelfExe(#[from] sys::self_exe::Error),
    /// See [`foreground::Error`].
    #[error(transparent)]
    Foreground(#[from] foreground::Error),
    /// A namespace to join is not there.
    #[error("linux.namespaces: the {kind} namespace `{path}` cannot be opened")]
    Namespace {
        /// The kind.
        kind: &'static str,
        /// The path.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The file is something else.
    #[error("linux.namespaces: `{path}` is not a {kind} namespace")]
    NotANamespace {
        /// The kind.
        kind: &'static str,
        /// The path.
        path: PathBuf,
    },
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
    /// The container's first process cannot be talked to.
    #[error("the container's first process does not answer as it should")]
    Talk(#[source] sync::Error),
    /// It said what went wrong.
    #[error("{text}")]
    Init {
        /// The chain of causes.
        text: String,
        /// What a foreground `run` exits with.
        exit_code: u8,
    },
    /// It died before it could say anything.
    #[error("the container's first process was killed while the container was being made{hint}")]
    Died {
        /// The memory limit, if that was it.
        hint: &'static str,
    },
}

impl Error {
    /// What a foreground `run` exits with: 126 and 127 for a program that cannot be executed, else 1.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Init { exit_code, .. } => *exit_code,
            _ => 1,
        }
    }
}

/// A container that is made and waits for the word.
pub struct Made {
    /// Its folder.
    pub entry: Entry,
    /// Its record, already published.
    pub record: Record,
    ours: Ours,
    pid_file: Option<PathBuf>,
    /// Its first process, a child of ours.
    pub pid: i32,
    /// The terminal's master end, for a foreground `run`.
    pub master: Option<OwnedFd>,
    lock: Lock,
}

impl Made {
    /// Gives the word: a created container then waits for `start`, the others begin.
    ///
    /// # Errors
    /// [`Error::Talk`] when it is gone; nothing of it is left then.
    pub fn go(self) -> Result<Self, Error> {
        match self.ours.channel.send(&Message::Go) {
            Ok(()) => Ok(self),
            Err(source) => {
                self.abandon();
                Err(Error::Talk(source))
            }
        }
    }

    /// Unmakes it instead.
    pub fn abandon(mut self) {
        undo::undo(&self.entry, &mut self.record, Some(self.pid), self.pid_file.as_deref());
        self.ours.cgroup.discard();
    }

    /// To its first process.
    #[must_use]
    pub fn channel(&self) -> &Channel {
        &self.ours.channel
    }

    /// Lets other commands at the container.
    #[must_use]
    pub fn unlock(self) -> (Entry, Record) {
        self.ours.interfaces.into_iter().for_each(network::Carried::leave);
        drop(self.lock);
        (self.entry, self.record)
    }
}

/// Makes a container.
///
/// # Errors
/// See [`Error`]; nothing is left behind.
pub fn create(store_root: &std::path::Path, request: &Request) -> Result<Made, Error> {
    // First of all, because it may execute us anew.
    let shield = sys::self_exe::protect()?;
    log::debug(|| format!("binary kept from the container by {:?}", shield.protection()));
    let mut loaded = config::load(&request.bundle)?;
    // What others of the container are like: they are not the service.
    let process = loaded.spec.process().clone().unwrap_or_default();
    if request.notify {
        readiness::provide(&mut loaded.spec, &Entry::notify_path(store_root, &request.id));
    }
    let manager = (request.cgroups == Driver::Systemd).then(Manager::connect).transpose()?;
    let (plans, warnings) = decide(request, &loaded, manager.as_ref())?;
    for warning in warnings {
        log::warn(&warning);
    }
    log::debug(|| format!("bundle `{}`: {:?}", request.bundle.path.display(), plans.namespaces));
    log::debug(|| format!("cgroups: {:?}", plans.cgroup.0.dirs));
    let store = Store::open_or_make(store_root)?;
    // The claim below decides; here it is so that an id that is taken is not told as a cgroup that is.
    store.refuse_taken(&request.id)?;
    // Before anything says that this cgroup is ours: what is in it would be killed with the container.
    cgroup::vacant(&plans.cgroup.0)?;
    let boot_id = state::boot_id().map_err(|source| Error::Step { operation: "read the id of this boot", source })?;
    let (entry, lock) = store.claim(&request.id)?;
    let mut record = first_record(request, (&loaded.spec, process), &plans, boot_id);
    match make(&entry, &lock, &mut record, (request, &plans), (shield, manager)) {
        Ok((ours, pid, master)) => {
            let pid_file = request.pid_file.clone();
            Ok(Made { entry, record, ours, pid_file, pid, master, lock })
        }
        Err(failure) => {
            let Failure { error, child, cgroup } = *failure;
            undo::undo(&entry, &mut record, child, request.pid_file.as_deref());
            // The folders on the way to the container's own, as far as they are ours and nobody has moved in.
            if let Some(cgroup) = cgroup {
                cgroup.discard();
            }
            Err(error)
        }
    }
}

fn first_record(request: &Request, (spec, process): (&Spec, Process), plans: &Plans, boot_id: String) -> Record {
    let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Record {
        oci_version: spec.version().clone(),
        id: request.id.to_string(),
        bundle: request.bundle.path.clone(),
        rootfs: request.bundle.path.join(spec.root().as_ref().map(|root| root.path().clone()).unwrap_or_default()),
        created: log::rfc3339(elapsed.map_or(0, |elapsed| elapsed.as_secs())),
        owner: rustix::process::getuid().as_raw(),
        annotations: spec.annotations().clone().unwrap_or_default().into_iter().collect::<BTreeMap<_, _>>(),
        boot_id,
        phase: Phase::Creating,
        init: None,
        cgroup: plans.cgroup.0.clone(),
        unit: plans.scope.as_ref().map(|scope| scope.unit.clone()),
        interior: Some(interior(request, (spec, process), plans)),
        poststart: plans.poststart.clone(),
        // Kept only once hooks of the creation have run: what was never set up need not be torn down.
        poststop: Vec::new(),
    }
}

fn interior(request: &Request, (spec, process): (&Spec, Process), plans: &Plans) -> state::Interior {
    state::Interior {
        namespaces: plans.namespaces.own().collect(),
        process,
        personality: spec.linux().as_ref().and_then(|linux| linux.personality().clone()),
        memory_policy: spec.linux().as_ref().and_then(|linux| linux.memory_policy().clone()),
        keyring: !request.no_new_keyring,
        seccomp: plans.process.seccomp.is_some(),
        listener: plans.listener.clone(),
    }
}

/// What there is to unmake beside the record's own.
struct Failure {
    error: Error,
    child: Option<i32>,
    cgroup: Option<Cgroup>,
}

impl From<Error> for Box<Failure> {
    fn from(error: Error) -> Self {
        Self::new(Failure { error, child: None, cgroup: None })
    }
}

/// Everything between the claim and the word.
fn make(
    entry: &Entry,
    lock: &Lock,
    record: &mut Record,
    (request, plans): (&Request, &Plans),
    (shield, manager): (Shield, Option<Manager>),
) -> Result<(Ours, i32, Option<OwnedFd>), Box<Failure>> {
    // Written first, so that whatever a killed maker leaves can be found by it.
    entry.save(record).map_err(Error::from)?;
    if let Some(filter) = &plans.process.seccomp {
        entry.keep_filter(&filter.to_bytes()).map_err(Error::from)?;
    }
    if request.notify {
        entry.make_notify().map_err(Error::from)?;
    }
    let (mut kit, ours) = equip(entry, record, (request, plans), (shield, manager))?;
    let flags = if plans.namespaces.hop.is_some() { 0 } else { plans.namespaces.clone_flags };
    let side = sys_clone::clone(sys_clone::Request { flags, cgroup: ours.cgroup.v2_dir(), sibling: false });
    let (pid, in_cgroup) = match side {
        Ok(Side::Child { in_cgroup }) => {
            kit.wait_first |= must_be_moved(in_cgroup, &ours.cgroup);
            kit.shield = Some(ours.leave());
            lock.forget_in_child();
            init::run(kit)
        }
        Ok(Side::Parent { pid, in_cgroup }) => (pid, in_cgroup),
        Err(source) => {
            let error = Error::Step { operation: "make the container's first process (clone)", source };
            return Err(Box::new(Failure { error, child: None, cgroup: Some(ours.cgroup) }));
        }
    };
    let wait_first = kit.wait_first || must_be_moved(in_cgroup, &ours.cgroup);
    drop(kit);
    log::debug(|| format!("process {pid} made; born in its cgroup: {in_cgroup}; waits for us first: {wait_first}"));
    let mut maker = Maker { entry, record, request, plans, ours, child: pid, master: None };
    match maker.accompany(in_cgroup, wait_first) {
        Ok(()) => Ok((maker.ours, maker.child, maker.master)),
        Err(error) => {
            let error = maker.explain(error);
            Err(Box::new(Failure { error, child: Some(maker.child), cgroup: Some(maker.ours.cgroup) }))
        }
    }
}

/// Whether the child, which knows how it was born as well as we do, has to wait until it was moved to its cgroup of
/// version 2: a cgroup namespace is rooted where its maker is, and what the child clones is born where it is.
fn must_be_moved(in_cgroup: bool, cgroup: &Cgroup) -> bool {
    !in_cgroup && cgroup.v2_dir().is_some()
}

/// What the parent keeps and init has no business with.
struct Ours {
    cgroup: Cgroup,
    channel: Channel,
    pidfd_socket: Option<OwnedFd>,
    notifier: Option<Notifier>,
    /// What was moved into the container. They come back with whatever fails.
    interfaces: Option<network::Carried>,
    /// The connection to systemd, if it makes the cgroup.
    manager: Option<Manager>,
    /// Kept until the container is let go: closing the mount behind it waits for the kernel.
    shield: Shield,
}

impl Ours {
    /// In the child: only the shield stays.
    fn leave(self) -> Shield {
        self.shield
    }
}

/// Opens and makes all that init and its parent need, before there is an init.
fn equip<'a>(
    entry: &Entry,
    record: &Record,
    (request, plans): (&'a Request, &'a Plans),
    (shield, manager): (Shield, Option<Manager>),
) -> Result<(init::Kit<'a>, Ours), Error> {
    let (channel, inner) = Channel::pair().map_err(Error::Talk)?;
    let root = rustix::process::geteuid().is_root();
    let prepared = if root { Some(rootfs::prepare(&plans.rootfs, &request.bundle.path)?) } else { None };
    let console = match &plans.console {
        terminal::Console::Socket(path) => Some(terminal::connect(path)?),
        terminal::Console::None | terminal::Console::Proxy => None,
    };
    let pidfd_socket = request.pidfd_socket.as_deref().map(terminal::connect).transpose()?;
    let notifier = plans.listener.as_ref().map(Notifier::connect).transpose()?;
    let listener = if plans.begin == Begin::OnKnock {
        Some(listen(entry).map_err(|source| Error::Step { operation: "make the socket for `start`", source })?)
    } else {
        None
    };
    let namespaces = open_namespaces(plans)?;
    let (location, plan) = &plans.cgroup;
    let cgroup = match manager {
        // It is there once the first process is.
        Some(_) => cgroup::create(&cgroup::Location::default(), plan)?,
        None => cgroup::create_or_stay(location, plan, request.rootless.unwrap_or(!root))?,
    };
    let wait_first = plans.namespaces.makes(Kind::User)
        || plans.process.in_user_namespace()
        || manager.is_some()
        || plans.process.memory_policy.is_some()
        || location.dirs.iter().any(|dir| dir.kind != cgroup::Kind::V2);
    let kit = init::Kit {
        plans,
        channel: inner,
        prepared,
        cgroup_view: view::of(location),
        namespaces,
        wait_first,
        console,
        listener,
        shield: None,
        document: record.document(Status::Creating),
        bundle: &request.bundle,
    };
    Ok((kit, Ours { cgroup, channel, pidfd_socket, notifier, interfaces: None, manager, shield }))
}

fn open_namespaces(plans: &Plans) -> Result<Vec<OwnedFd>, Error> {
    let open = |(kind, path): &(Kind, PathBuf)| {
        let fail = |source| Error::Namespace { kind: kind.word(), path: path.clone(), source };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|errno| fail(errno.into()))?;
        match sys_clone::namespace_type(fd.as_fd()) {
            Ok(flag) if flag == kind.flag() => Ok(fd),
            _ => Err(Error::NotANamespace { kind: kind.word(), path: path.clone() }),
        }
    };
    plans.namespaces.join.iter().map(open).collect()
}

/// The parent while init sets the container up.
struct Maker<'a> {
    entry: &'a Entry,
    record: &'a mut Record,
    request: &'a Request,
    plans: &'a Plans,
    ours: Ours,
    child: i32,
    master: Option<OwnedFd>,
}

impl Maker<'_> {
    fn accompany(&mut self, in_cgroup: bool, wait_first: bool) -> Result<(), Error> {
        match &self.plans.scope {
            Some(scope) => self.enter_scope(scope)?,
            None => self.ours.cgroup.join(self.child, !in_cgroup)?,
        }
        if self.plans.namespaces.hop.is_none() && self.plans.namespaces.makes(Kind::User) {
            maps::write(self.child, &self.plans.namespaces)?;
        }
        if wait_first || !in_cgroup {
            self.set_from_outside()?;
        }
        // A memory policy is held to `cpuset.mems`, which therefore has to be there first.
        let policy = self.plans.process.memory_policy.is_some();
        if wait_first && !policy {
            self.proceed()?;
        }
        // While init mounts. Nothing of the container's runs yet that a limit could be late for.
        self.ours.cgroup.apply(&self.plans.cgroup.1)?;
        if wait_first && policy {
            self.proceed()?;
        }
        if let Some(uid) = self.plans.cgroup_owner {
            self.ours.cgroup.delegate(uid)?;
        }
        self.listen_until_ready()?;
        log::debug(|| format!("process {} is ready", self.child));
        self.finish()
    }

    /// systemd makes the cgroup around the first process. Everything in it is ours from then on.
    fn enter_scope(&mut self, scope: &Scope) -> Result<(), Error> {
        if let Some(manager) = &mut self.ours.manager {
            manager.start(scope, self.child)?;
            log::debug(|| format!("process {} is in unit `{}`", self.child, scope.unit.name));
        }
        let (location, plan) = &self.plans.cgroup;
        self.ours.cgroup = cgroup::adopt(location, plan)?;
        // Into those hierarchies of version 1 that systemd does not use.
        Ok(self.ours.cgroup.join(self.child, false)?)
    }

    fn set_from_outside(&self) -> Result<(), Error> {
        if !self.plans.process.in_user_namespace() {
            return Ok(());
        }
        match rustix::process::Pid::from_raw(self.child) {
            Some(pid) => Ok(process::from_outside(&self.plans.process, pid)?),
            None => Ok(()),
        }
    }

    fn proceed(&self) -> Result<(), Error> {
        self.ours.channel.send(&Message::Proceed(self.child)).map_err(Error::Talk)
    }

    fn listen_until_ready(&mut self) -> Result<(), Error> {
        // Init may be faster than the hop that made it and has yet to say so: what init says waits for its pid.
        let mut unknown = self.plans.namespaces.hop.is_some();
        let mut early = VecDeque::new();
        loop {
            let received = match if unknown { None } else { early.pop_front() } {
                Some(received) => received,
                None => self.hear()?,
            };
            match received {
                (Message::AtHooks | Message::Master | Message::Listener(_) | Message::Ready, _) if unknown => {
                    early.push_back(received)
                }
                (Message::Ready, _) => return Ok(()),
                (Message::Map, _) => {
                    maps::write(self.child, &self.plans.namespaces)?;
                    self.proceed()?;
                }
                (Message::Pid(pid), _) if unknown && pid != self.child && is_child(pid) => {
                    reap(self.child);
                    self.child = pid;
                    unknown = false;
                }
                // Others in a joined pid namespace may speak for init (ptrace(2)), but its number is no stranger's.
                (Message::Pid(_), _) => {}
                (Message::AtHooks, _) => {
                    // First, so that hooks find them there.
                    if !self.plans.devices.is_empty() {
                        self.ours.interfaces = Some(network::carry(&self.plans.devices, self.child)?);
                    }
                    if self.plans.has_hooks() {
                        self.run_hooks()?;
                    }
                    self.proceed()?;
                }
                (Message::Master, master) => self.master = master,
                (Message::Listener(number), _) => {
                    let alone = self.plans.namespaces.makes(Kind::Pid);
                    let taken = match &mut self.ours.notifier {
                        Some(notifier) => notifier.take(self.child, number, alone, &self.ours.channel)?,
                        None => true,
                    };
                    // Else it has failed, and says why.
                    if taken {
                        self.proceed()?;
                    }
                }
                (Message::Failed { exit_code, text }, _) => return Err(Error::Init { text, exit_code }),
                (Message::Proceed(_) | Message::Go, _) => return Err(Error::Talk(sync::Error::Garbled(1))),
            }
        }
    }

    fn hear(&self) -> Result<(Message, Option<OwnedFd>), Error> {
        if let Some(notifier) = &self.ours.notifier {
            notifier.attend(&self.ours.channel)?;
        }
        self.ours.channel.recv().map_err(Error::Talk)
    }

    fn run_hooks(&mut self) -> Result<(), Error> {
        self.record.poststop.clone_from(&self.plans.poststop);
        self.record.init = Some(self.identify()?);
        // Should we be killed among the hooks, `delete --force` runs the poststop hooks for those that were run.
        self.entry.save(self.record)?;
        let state = serde_json::to_vec(&self.record.document(Status::Creating)).unwrap_or_default();
        let directory = Some(self.request.bundle.dir.as_fd());
        for (kind, hooks) in &self.plans.runtime_hooks {
            log::debug(|| format!("{} {kind} hooks", hooks.len()));
            hooks::run(hooks, *kind, &hooks::Surroundings { state: &state, environment: &[], directory })?;
        }
        Ok(())
    }

    fn identify(&self) -> Result<state::Identity, Error> {
        state::observe(self.child)
            .map_err(|source| Error::Step { operation: "look at the container's first process", source })
    }

    /// The last limits, the record, and what callers wait for. The memory limit comes now, so that what init needed
    /// while it mounted is not held against the container.
    fn finish(&mut self) -> Result<(), Error> {
        self.ours.cgroup.apply_devices(&self.plans.cgroup.1)?;
        self.ours.cgroup.apply_memory(&self.plans.cgroup.1)?;
        // Not needed any more after this: a foreground `run` may last.
        if let (Some(mut manager), Some(scope)) = (self.ours.manager.take(), &self.plans.scope) {
            manager.set(&scope.unit, &scope.memory)?;
        }
        self.record.poststop.clone_from(&self.plans.poststop);
        self.record.init = Some(self.identify()?);
        self.record.phase = Phase::Made;
        self.entry.save(self.record)?;
        if let Some(notifier) = self.ours.notifier.take() {
            notifier.hand_over(self.child, &self.record.document(Status::Creating))?;
        }
        if let Some(path) = &self.request.pid_file {
            pid_file::write(path, self.child)?;
        }
        if let Some(socket) = &self.ours.pidfd_socket {
            let pidfd = foreground::pidfd::open(self.child)?;
            foreground::pidfd::send_to_socket(socket, pidfd.as_fd(), foreground::pidfd::STANDARD)?;
        }
        Ok(())
    }

    /// A first process that went without a word was killed; by its memory limit, if the cgroup says so.
    fn explain(&self, error: Error) -> Error {
        let silent = matches!(error, Error::Talk(sync::Error::Closed));
        if !silent {
            return error;
        }
        let killed = cgroup::oom_kills(&self.plans.cgroup.0).is_ok_and(|kills| kills > 0);
        let hint = if killed { ": out of memory; raise `linux.resources.memory.limit`" } else { "" };
        Error::Died { hint }
    }
}
