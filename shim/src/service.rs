//! containerd's task service, under both of its names. A call is turned into one of a task's and its answer back into a
//! message; a call that changes something is carried out by a task of the scheduler of its own, because ttrpc drops what
//! it waits for when the caller goes away, and half a Create helps nobody.

mod error;

use crate::lifetime::Lifetime;
use crate::stdio::Wanted;
use crate::task::{Error, State, Task, Which, World};
use async_trait::async_trait;
use containerd_shim_protos::api;
use containerd_shim_protos::shim::oci::ProcessDetails;
use containerd_shim_protos::shim_async::{Task as TaskService, create_task};
use containerd_shim_protos::types::task::Status;
use protobuf::Message;
use protobuf::well_known_types::any::Any;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::Notify;
use tokio::time::Instant;
use ttrpc::r#async::TtrpcContext;

/// The name that the protocol's crate gives the service, and the one of the same service in containerd 1.
const NAMES: [&str; 2] = ["containerd.task.v3.Task", "containerd.task.v2.Task"];

/// All tasks of this process.
#[derive(Debug)]
pub(crate) struct Service {
    world: Arc<World>,
    tasks: Mutex<HashMap<String, Arc<Task>>>,
    lifetime: Mutex<Lifetime>,
    /// Told whenever the lifetime may have another verdict.
    changed: Notify,
    /// This service again, for calls that outlive their caller.
    own: Weak<Self>,
}

type Answer<T> = ttrpc::Result<T>;

impl Service {
    pub(crate) fn new(world: World, lifetime: Lifetime) -> Arc<Self> {
        Arc::new_cyclic(|own| Self {
            world: Arc::new(world),
            tasks: Mutex::default(),
            lifetime: Mutex::new(lifetime),
            changed: Notify::new(),
            own: own.clone(),
        })
    }

    /// The service under both names.
    pub(crate) fn registrations(self: &Arc<Self>) -> HashMap<String, ttrpc::r#async::Service> {
        let both = NAMES.iter().flat_map(|name| {
            let one = create_task(Arc::clone(self) as Arc<dyn TaskService + Send + Sync>);
            one.into_values().map(|service| ((*name).to_owned(), service))
        });
        both.collect()
    }

    /// Looks at, or changes, the need for this process.
    pub(crate) fn lifetime<T>(&self, with: impl FnOnce(&mut Lifetime) -> T) -> T {
        with(&mut self.lifetime.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until the need for this process may have changed.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn tasks<T>(&self, with: impl FnOnce(&mut HashMap<String, Arc<Task>>) -> T) -> T {
        with(&mut self.tasks.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn task(&self, id: &str) -> Result<Arc<Task>, Error> {
        self.called();
        self.tasks(|tasks| tasks.get(id).cloned()).ok_or_else(|| Error::NoTask(id.to_owned()))
    }

    fn own(&self) -> Arc<Self> {
        self.own.upgrade().expect("a service that is called exists")
    }

    fn called(&self) {
        self.lifetime(|lifetime| lifetime.call(Instant::now()));
        self.changed.notify_one();
    }

    fn insert(&self, id: &str, task: &Arc<Task>) -> Result<(), Error> {
        self.tasks(|tasks| match tasks.entry(id.to_owned()) {
            Entry::Occupied(_) => Err(Error::Exists(id.to_owned())),
            Entry::Vacant(place) => {
                place.insert(Arc::clone(task));
                Ok(())
            }
        })?;
        self.lifetime(|lifetime| lifetime.create(id));
        Ok(())
    }

    fn remove(&self, id: &str) {
        self.tasks(|tasks| tasks.remove(id));
        self.lifetime(Lifetime::remove);
        self.called();
    }

    async fn create_one(self: Arc<Self>, request: api::CreateTaskRequest) -> Result<u32, Error> {
        let id = request.id.clone();
        if self.tasks(|tasks| tasks.contains_key(&id)) {
            return Err(Error::Exists(id));
        }
        let (task, create) = Task::new(&self.world, request)?;
        self.insert(&id, &task)?;
        let made = task.create(create).await;
        if made.is_err() {
            self.remove(&id);
        }
        made
    }
}

/// Carries a call out to its end, whoever still waits for it.
async fn whole<T: Send + 'static>(call: impl Future<Output = Result<T, Error>> + Send + 'static) -> Answer<T> {
    match tokio::spawn(call).await {
        Ok(result) => result.map_err(|error| error::status(&error)),
        Err(error) => Err(ttrpc::Error::Others(error.to_string())),
    }
}

fn answer<T>(result: Result<T, Error>) -> Answer<T> {
    result.map_err(|error| error::status(&error))
}

fn status(state: State) -> Status {
    match state {
        State::Creating => Status::UNKNOWN,
        State::Created | State::Starting => Status::CREATED,
        // Its exit has not been told, so for a caller it runs.
        State::Running | State::Exiting => Status::RUNNING,
        State::Pausing => Status::PAUSING,
        State::Paused | State::Resuming => Status::PAUSED,
        State::Stopped | State::Deleting => Status::STOPPED,
    }
}

#[async_trait]
impl TaskService for Service {
    async fn state(&self, _: &TtrpcContext, request: api::StateRequest) -> Answer<api::StateResponse> {
        let task = answer(self.task(&request.id))?;
        let view = answer(task.view(&Which::of(&request.exec_id)))?;
        let mut response = api::StateResponse::new();
        (response.id, response.exec_id) = (request.id, request.exec_id);
        (response.bundle, response.pid) = (view.bundle, view.pid);
        response.status = status(view.state).into();
        let Wanted { stdin, stdout, stderr, terminal } = view.wanted;
        (response.stdin, response.stdout, response.stderr, response.terminal) = (stdin, stdout, stderr, terminal);
        if let Some(exit) = view.exit {
            response.exit_status = exit.status;
            response.set_exited_at(crate::events::timestamp(exit.at));
        }
        Ok(response)
    }

    async fn create(&self, _: &TtrpcContext, request: api::CreateTaskRequest) -> Answer<api::CreateTaskResponse> {
        self.called();
        let service = self.own();
        let pid = whole(service.create_one(request)).await?;
        Ok(api::CreateTaskResponse { pid, ..Default::default() })
    }

    async fn start(&self, _: &TtrpcContext, request: api::StartRequest) -> Answer<api::StartResponse> {
        let task = answer(self.task(&request.id))?;
        let pid = whole(task.start(Which::of(&request.exec_id))).await?;
        Ok(api::StartResponse { pid, ..Default::default() })
    }

    async fn delete(&self, _: &TtrpcContext, request: api::DeleteRequest) -> Answer<api::DeleteResponse> {
        let task = answer(self.task(&request.id))?;
        let which = Which::of(&request.exec_id);
        let service = self.own();
        let deleted = whole(async move {
            let own = which == Which::Init;
            let deleted = task.delete(which).await?;
            if own {
                service.remove(&request.id);
            }
            Ok(deleted)
        })
        .await?;
        let mut response = api::DeleteResponse::new();
        (response.pid, response.exit_status) = (deleted.pid, deleted.exit.status);
        response.set_exited_at(crate::events::timestamp(deleted.exit.at));
        Ok(response)
    }

    async fn pids(&self, _: &TtrpcContext, request: api::PidsRequest) -> Answer<api::PidsResponse> {
        let task = answer(self.task(&request.id))?;
        let pids = whole(task.pids()).await?;
        let mut response = api::PidsResponse::new();
        response.processes = pids.into_iter().map(|(pid, exec_id)| process_info(pid, exec_id)).collect();
        Ok(response)
    }

    async fn pause(&self, _: &TtrpcContext, request: api::PauseRequest) -> Answer<api::Empty> {
        let task = answer(self.task(&request.id))?;
        whole(task.pause()).await.map(|()| api::Empty::new())
    }

    async fn resume(&self, _: &TtrpcContext, request: api::ResumeRequest) -> Answer<api::Empty> {
        let task = answer(self.task(&request.id))?;
        whole(task.resume()).await.map(|()| api::Empty::new())
    }

    async fn checkpoint(&self, _: &TtrpcContext, request: api::CheckpointTaskRequest) -> Answer<api::Empty> {
        answer(self.task(&request.id))?;
        answer(Err(Error::NotBuilt("checkpoint")))
    }

    async fn kill(&self, _: &TtrpcContext, request: api::KillRequest) -> Answer<api::Empty> {
        let task = answer(self.task(&request.id))?;
        let which = Which::of(&request.exec_id);
        whole(task.kill(which, request.signal, request.all)).await.map(|()| api::Empty::new())
    }

    async fn exec(&self, _: &TtrpcContext, request: api::ExecProcessRequest) -> Answer<api::Empty> {
        let task = answer(self.task(&request.id))?;
        answer(task.exec(request)).map(|()| api::Empty::new())
    }

    async fn resize_pty(&self, _: &TtrpcContext, request: api::ResizePtyRequest) -> Answer<api::Empty> {
        let task = answer(self.task(&request.id))?;
        let resized = task.resize(&Which::of(&request.exec_id), request.width, request.height);
        answer(resized).map(|()| api::Empty::new())
    }

    async fn close_io(&self, _: &TtrpcContext, request: api::CloseIORequest) -> Answer<api::Empty> {
        let task = answer(self.task(&request.id))?;
        if request.stdin {
            answer(task.close_stdin(&Which::of(&request.exec_id)))?;
        }
        Ok(api::Empty::new())
    }

    async fn update(&self, _: &TtrpcContext, request: api::UpdateTaskRequest) -> Answer<api::Empty> {
        let task = answer(self.task(&request.id))?;
        whole(task.update(request.resources.into_option())).await.map(|()| api::Empty::new())
    }

    async fn wait(&self, _: &TtrpcContext, request: api::WaitRequest) -> Answer<api::WaitResponse> {
        let task = answer(self.task(&request.id))?;
        let exit = answer(task.wait(&Which::of(&request.exec_id)).await)?;
        let mut response = api::WaitResponse::new();
        response.exit_status = exit.status;
        response.set_exited_at(crate::events::timestamp(exit.at));
        Ok(response)
    }

    async fn stats(&self, _: &TtrpcContext, request: api::StatsRequest) -> Answer<api::StatsResponse> {
        let task = answer(self.task(&request.id))?;
        let mut response = api::StatsResponse::new();
        response.set_stats(answer(task.stats())?);
        Ok(response)
    }

    async fn connect(&self, _: &TtrpcContext, request: api::ConnectRequest) -> Answer<api::ConnectResponse> {
        let mut response = api::ConnectResponse::new();
        match self.task(&request.id).and_then(|task| task.view(&Which::Init)) {
            Ok(view) => response.task_pid = view.pid,
            // `start` asks this for a container that it has answered our address for: one that is still to come.
            Err(_) => self.lifetime(|lifetime| lifetime.announce(&request.id, Instant::now())),
        }
        response.shim_pid = std::process::id();
        response.version = env!("CARGO_PKG_VERSION").to_owned();
        Ok(response)
    }

    async fn shutdown(&self, _: &TtrpcContext, _: api::ShutdownRequest) -> Answer<api::Empty> {
        self.lifetime(Lifetime::dismiss);
        self.called();
        Ok(api::Empty::new())
    }
}

fn process_info(pid: u32, exec_id: Option<String>) -> api::ProcessInfo {
    let mut info = api::ProcessInfo::new();
    info.pid = pid;
    if let Some(exec_id) = exec_id {
        let details = ProcessDetails { exec_id, ..Default::default() };
        let value = details.write_to_bytes().expect("a message in memory is written to memory");
        info.set_info(Any { type_url: "containerd.runc.v1.ProcessDetails".to_owned(), value, ..Any::default() });
    }
    info
}
