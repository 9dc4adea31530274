//! Create: from a request to a container that waits for its start. Whatever fails, nothing is left.

use super::process::Process;
use super::record::{read_pid, record_runtime};
use super::state::{Event, State};
use super::{Error, Facts, Task, Which, World};
use crate::bootstrap::group::Config;
use crate::cgroup::{self, Cgroups};
use crate::chain::chain;
use crate::events;
use crate::mounts;
use crate::oom::Watch;
use crate::options::{self, Options};
use crate::runtime::{Runtime, Streams, Verb, locate};
use crate::stdio::{self, ConsoleSocket, Io, Wanted};
use containerd_shim_protos::api::{CreateTaskRequest, Mount};
use skiff_contract::id::ContainerId;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Where runtimes keep their state when the caller names no place.
const ROOT: &str = "/run/skiff/shim";

/// What Create needs beside the task itself.
#[derive(Debug)]
pub(crate) struct Create {
    rootfs: Vec<Mount>,
    options: Options,
}

/// The runtime that `options` ask for.
pub(crate) fn runtime(options: &Options, containerd_namespace: &str) -> Result<Runtime, Error> {
    let root = if options.root.is_empty() { Path::new(ROOT) } else { Path::new(&options.root) };
    Ok(Runtime {
        binary: locate(&options.binary_name)?,
        root: root.join(containerd_namespace),
        systemd_cgroup: options.systemd_cgroup,
    })
}

impl Task {
    /// Checks a request. Nothing is made yet but the task that stands for it.
    ///
    /// # Errors
    /// Whatever is wrong with the request.
    pub(crate) fn new(world: &Arc<World>, request: CreateTaskRequest) -> Result<(Arc<Self>, Create), Error> {
        request.id.parse::<ContainerId>().map_err(Error::Id)?;
        let bundle = PathBuf::from(&request.bundle);
        if !bundle.is_absolute() || !bundle.is_dir() {
            return Err(Error::Bundle { path: bundle });
        }
        if !request.checkpoint.is_empty() || !request.parent_checkpoint.is_empty() {
            return Err(Error::NotBuilt("creating from a checkpoint"));
        }
        let options = options::read(request.options.as_ref())?;
        let runtime = runtime(&options, &world.containerd_namespace)?;
        let dies_with_init = Config::read(&bundle)?.dies_with_init();
        let wanted =
            Wanted { stdin: request.stdin, stdout: request.stdout, stderr: request.stderr, terminal: request.terminal };
        let init = Process::new(State::Creating, wanted);
        let facts = Mutex::new(Facts { init, execs: BTreeMap::new(), cgroups: None, oom: None });
        let world = Arc::clone(world);
        let task = Self { id: request.id, bundle, runtime, world, dies_with_init, facts };
        Ok((Arc::new(task), Create { rootfs: request.rootfs, options }))
    }

    /// Makes the container and gives its process id. On failure nothing of it is left.
    ///
    /// # Errors
    /// Whatever the runtime or the kernel says.
    pub(crate) async fn create(self: Arc<Self>, create: Create) -> Result<u32, Error> {
        if !create.options.shim_cgroup.is_empty() {
            cgroup::enter(&create.options.shim_cgroup)?;
        }
        record_runtime(&self.bundle, &self.runtime)?;
        let rootfs = self.bundle.join("rootfs");
        mounts::mount_all(&create.rootfs, &rootfs)?;
        match self.make(&create).await {
            Ok(pid) => Ok(pid),
            Err(error) => {
                self.undo(&create.rootfs, &rootfs).await;
                Err(error)
            }
        }
    }

    async fn make(self: &Arc<Self>, create: &Create) -> Result<u32, Error> {
        let wanted = self.with(&Which::Init, |init| init.wanted.clone())?;
        let prepared = stdio::prepare(&wanted, &self.world.logs)?;
        let pid_file = self.bundle.join("init.pid");
        let console = if wanted.terminal { Some(self.console("init")?) } else { None };
        let verb = Verb::Create {
            bundle: self.bundle.clone(),
            pid_file: pid_file.clone(),
            console: console.as_ref().map(ConsoleSocket::path),
            no_pivot: create.options.no_pivot_root,
            no_new_keyring: create.options.no_new_keyring,
        };
        // Its init may be dead before we know its id.
        let expecting = self.world.reaper.expect();
        let io = match console {
            None => {
                let (ends, io) = prepared.connect(create.options.io_owner)?;
                self.call(&verb, ends.into()).await?;
                io
            }
            Some(console) => {
                self.call(&verb, stdio::no_ends()?.into()).await?;
                self.receive(console, prepared, &Which::Init).await?
            }
        };
        let pid = read_pid(&pid_file)?;
        let exit = expecting.claim(i32::try_from(pid).unwrap_or(0));
        self.made(pid, io, &create.rootfs);
        self.await_exit(Which::Init, exit);
        Ok(pid)
    }

    /// Takes a terminal from the runtime and connects it.
    pub(super) async fn receive(
        &self,
        console: ConsoleSocket,
        prepared: stdio::Prepared,
        which: &Which,
    ) -> Result<Io, Error> {
        let name = self.name(which);
        let terminal = console.receive().await.map_err(|source| Error::Console { name, source })?;
        Ok(prepared.connect_console(terminal)?)
    }

    pub(super) fn console(&self, process: &str) -> Result<ConsoleSocket, Error> {
        ConsoleSocket::listen(&self.bundle, process)
            .map_err(|source| Error::File { path: self.bundle.join("console"), source })
    }

    fn made(self: &Arc<Self>, pid: u32, io: Io, rootfs: &[Mount]) {
        // Now or never: the process waits for its start, and a dead one has no cgroups.
        let cgroups = Cgroups::of(pid);
        let oom = cgroups.as_ref().and_then(|cgroups| Watch::begin(self, cgroups));
        let mut facts = self.facts();
        (facts.cgroups, facts.oom) = (cgroups, oom);
        let init = &mut facts.init;
        (init.pid, init.io) = (pid, Some(io));
        let event = events::Event::Create {
            id: self.id.clone(),
            bundle: self.bundle.display().to_string(),
            rootfs: rootfs.to_vec(),
            io: init.wanted.clone(),
            pid,
        };
        let _a_task_is_made_once = init.enter(Event::Made);
        self.world.events.publish(&event);
    }

    async fn undo(&self, mounted: &[Mount], rootfs: &Path) {
        // The runtime undoes what it failed to create by itself; this is for what failed afterwards.
        if let Err(error) = self.call(&Verb::Delete { force: true }, Streams::Captured).await {
            tracing::debug!(id = self.id, error = chain(&error), "nothing was left to delete");
        }
        if mounted.is_empty() {
            return;
        }
        if let Err(error) = mounts::unmount_all_aside(rootfs.to_owned()).await {
            tracing::warn!(id = self.id, error = chain(&error), "root is still mounted");
        }
    }

    /// Its name for people.
    pub(super) fn name(&self, which: &Which) -> String {
        match which {
            Which::Init => self.id.clone(),
            Which::Exec(exec_id) => format!("{}/{exec_id}", self.id),
        }
    }
}

impl From<stdio::Ends> for Streams {
    fn from(ends: stdio::Ends) -> Self {
        Self::Container { stdin: ends.stdin, stdout: ends.stdout, stderr: ends.stderr }
    }
}
