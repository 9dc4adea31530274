//! A shim of one's own: its folder of sockets, its runtime's state, its events, and the guard that leaves nothing.

use std::future::Future;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use containerd_shim_protos::api::{self, CreateTaskRequest};
use containerd_shim_protos::shim::oci::Options;
use containerd_shim_protos::shim_async::{Client, TaskClient};
use containerd_shim_protos::types::task::Status;
use protobuf::Message;
use protobuf::well_known_types::any::Any;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};
use rustix::process::{Pid, Signal, kill_process};
use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::command::{Invocation, Outcome, patience};
use skiff_integration_tests::leftovers;
use skiff_integration_tests::runtime::{Kind, Runtime};
use tempfile::TempDir;
use ttrpc::r#async::Server;
use ttrpc::context::{Context, with_timeout};

use crate::listener::Listener;

/// containerd's namespace of every test.
pub(crate) const NAMESPACE: &str = "skt";

/// The caller's address; it only tells callers apart.
const CALLER: &str = "/skt.sock";

/// Runs a test's future.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    // A thread beside the test's own takes events while the test waits for a verb: the shim gives up an event after a while.
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap().block_on(test)
}

/// Runs a test over skiff and over runc: the shim must work with either.
pub(crate) fn over_each<F: Future<Output = ()>>(test: impl Fn(Shim) -> F) {
    for runtime in Runtime::wanted() {
        if matches!(runtime.kind, Kind::Skiff | Kind::Runc) {
            println!("over {}", runtime.kind);
            run(async { test(Shim::new(runtime).await).await });
        }
    }
}

/// How long one call may take.
pub(crate) fn limit() -> Context {
    with_timeout(i64::try_from(patience().as_nanos()).unwrap())
}

/// The code of an error.
pub(crate) fn code<T: std::fmt::Debug>(result: ttrpc::Result<T>) -> ttrpc::Code {
    match result {
        Err(ttrpc::Error::RpcStatus(status)) => status.code(),
        other => panic!("should have been refused: {other:?}"),
    }
}

/// The code and the words of an error.
pub(crate) fn refusal<T: std::fmt::Debug>(result: ttrpc::Result<T>) -> (ttrpc::Code, String) {
    match result {
        Err(ttrpc::Error::RpcStatus(status)) => (status.code(), status.message().to_owned()),
        other => panic!("should have been refused: {other:?}"),
    }
}

/// The shim program: the one that `SKIFF_SHIM_BIN` names, or the one beside this test's own.
pub(crate) fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("SKIFF_SHIM_BIN") {
        return path.into();
    }
    let own = std::env::current_exe().unwrap();
    let path = own.parent().and_then(Path::parent).unwrap().join("containerd-shim-skiff-v1");
    assert!(path.exists(), "the shim is not built: cargo build -p skiff-shim");
    path
}

/// Everything around the shims of one test.
pub(crate) struct Shim {
    pub(crate) runtime: Runtime,
    pub(crate) folder: TempDir,
    pub(crate) listener: Listener,
    events: Option<Server>,
    bundles: std::cell::RefCell<Vec<(String, PathBuf)>>,
}

impl Shim {
    async fn new(runtime: Runtime) -> Self {
        let folder = tempfile::Builder::new().prefix("sks-").tempdir().unwrap();
        let listener = Listener::default();
        let events = Some(listener.serve(&folder.path().join("events.sock")).await);
        Self { runtime, folder, listener, events, bundles: Vec::new().into() }
    }

    pub(crate) fn sockets(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    /// The caller stops taking events.
    pub(crate) async fn deaf(&mut self) {
        if let Some(mut events) = self.events.take() {
            events.shutdown().await.unwrap();
            std::fs::remove_file(self.folder.path().join("events.sock")).unwrap();
        }
    }

    /// The caller takes events again.
    pub(crate) async fn listening(&mut self) {
        self.events = Some(self.listener.serve(&self.folder.path().join("events.sock")).await);
    }

    /// A verb of the shim, as a caller executes it.
    pub(crate) fn verb(&self, bundle: &Bundle, id: &str, verb: &str) -> Invocation {
        let binary = binary();
        let address = format!("unix://{}", self.folder.path().join("events.sock").display());
        Invocation::new(&binary, &["-namespace", NAMESPACE, "-address", CALLER, "-id", id, "-debug", verb])
            .cwd(bundle.path())
            .env("SKIFF_SHIM_SOCKET_DIR", &self.sockets().to_string_lossy())
            .env("TTRPC_ADDRESS", address.strip_prefix("unix://").unwrap())
            .env("SKIFF_SHIM_LOG", &self.folder.path().join("log").to_string_lossy())
            .env("SKIFF_TEST_ID", &bundle.id)
    }

    /// Writes the bundle, and watches over what may come of it from now on.
    pub(crate) fn begin(&self, bundle: &Bundle, id: &str) {
        self.runtime.write(bundle);
        self.bundles.borrow_mut().push((id.to_owned(), bundle.path().to_owned()));
    }

    /// `start`: the answer, which is an address.
    pub(crate) fn start(&self, bundle: &Bundle, id: &str) -> Outcome {
        self.begin(bundle, id);
        self.verb(bundle, id, "start").run()
    }

    /// `start`, and a client of the shim.
    pub(crate) async fn client(&self, bundle: &Bundle, id: &str) -> Task {
        let outcome = self.start(bundle, id);
        assert!(outcome.stderr.is_empty(), "a caller reads it as the address: {outcome}");
        let address = outcome.ok();
        Task { client: connect(&address).await, id: id.to_owned(), address }
    }

    /// The request that creates `id`.
    pub(crate) fn request(&self, bundle: &Bundle, id: &str) -> CreateTaskRequest {
        let mut request = CreateTaskRequest::new();
        request.id = id.to_owned();
        request.bundle = bundle.path().to_string_lossy().into_owned();
        let mut options = Options::new();
        options.binary_name = self.runtime.binary.to_string_lossy().into_owned();
        options.root = self.runtime.root().to_string_lossy().into_owned();
        let value = options.write_to_bytes().unwrap();
        request.set_options(Any { type_url: "containerd.runc.v1.Options".into(), value, ..Any::default() });
        request
    }

    /// A shim of its own with one container that is created.
    pub(crate) async fn created(&self, bundle: &Bundle) -> Task {
        self.created_with(bundle, |_| {}).await
    }

    /// The same with another request.
    pub(crate) async fn created_with(&self, bundle: &Bundle, change: impl FnOnce(&mut CreateTaskRequest)) -> Task {
        let task = self.client(bundle, &bundle.id).await;
        let mut request = self.request(bundle, &bundle.id);
        change(&mut request);
        task.client.create(limit(), &request).await.unwrap();
        task
    }

    /// The same, started.
    pub(crate) async fn started(&self, bundle: &Bundle) -> Task {
        let task = self.created(bundle).await;
        task.start("").await.unwrap();
        task
    }

    /// A fifo in the test's folder.
    pub(crate) fn fifo(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        mknodat(CWD, &path, FileType::Fifo, 0o600.into(), 0).unwrap();
        path
    }

    /// The process of the only shim of this test, by its environment.
    pub(crate) fn pid(&self, bundle: &Bundle) -> u32 {
        let all = leftovers::processes(&bundle.id, bundle.path());
        let shims = all.iter().filter(|(_, line)| line.starts_with(&*binary().to_string_lossy()));
        let pids: Vec<u32> = shims.map(|(pid, _)| u32::try_from(*pid).unwrap()).collect();
        // A child that is about to become the runtime still has its parent's name.
        let mut own = pids.iter().filter(|pid| parent(**pid).is_none_or(|parent| !pids.contains(&parent)));
        let pid = *own.next().expect("a shim runs");
        assert!(own.next().is_none(), "one shim is enough: {all:?}");
        pid
    }

    /// Kills the only shim of this test, and waits until it is dead.
    pub(crate) async fn kill(&self, bundle: &Bundle) {
        let pid = self.pid(bundle);
        signal(pid, Signal::KILL);
        eventually("the shim is dead", || async { (!alive(pid)).then_some(()) }).await;
    }

    /// The shim's own log.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Everything that is left of a container and its shim.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let mut left = Vec::new();
        for (id, bundle) in self.bundles.borrow().iter() {
            left.extend(leftovers::of(id, bundle, &self.runtime.root().join(NAMESPACE)));
        }
        let sockets = std::fs::read_dir(self.sockets()).into_iter().flatten().flatten();
        left.extend(sockets.map(|entry| format!("socket {}", entry.path().display())));
        left
    }

    /// Asserts that nothing is left.
    #[track_caller]
    pub(crate) fn assert_gone(&self) {
        let left = leftovers::until_none(|| self.leftovers());
        assert!(left.is_empty(), "left behind: {left:#?}\n{}", self.log());
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("the shim's log:\n{}", self.log());
        }
        for (id, bundle) in self.bundles.take() {
            for (pid, _) in leftovers::processes(&id, &bundle) {
                let _may_be_gone = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
            }
            let root = self.runtime.root().join(NAMESPACE);
            let state =
                Invocation::new(&self.runtime.binary, &["--root", &root.to_string_lossy(), "delete", "--force", &id]);
            let _sweep_follows = state.run();
            leftovers::sweep(&id, &bundle);
        }
    }
}

pub(crate) fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
}

/// Whether a process runs; a zombie does not.
pub(crate) fn alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// Puts a bundle into a group of containers that share one shim.
pub(crate) fn grouped(bundle: Bundle, group: &str) -> Bundle {
    let group = group.to_owned();
    bundle.edit(|config| config["annotations"] = serde_json::json!({"io.containerd.runc.v2.group": group}))
}

/// The path as requests have it.
pub(crate) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Opens a fifo for reading without waiting for its writer.
pub(crate) fn open_to_read(path: &Path) -> std::fs::File {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    open(path, flags, Mode::empty()).unwrap().into()
}

/// Reads a fifo to its end in a thread of its own; it is open when this returns.
pub(crate) fn reader(path: &Path) -> impl Future<Output = String> + use<> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let fifo = open_to_read(path);
    std::thread::spawn(move || {
        // Nobody waits any more when the test has failed.
        let _failed_test = sender.send(to_end(fifo));
    });
    async move {
        let read = tokio::time::timeout(patience(), receiver).await.expect("the fifo has an end");
        String::from_utf8_lossy(&read.unwrap()).into_owned()
    }
}

/// As long as no writer has come, poll(2) waits for one, where read(2) would say that this is the end.
fn to_end(mut fifo: std::fs::File) -> Vec<u8> {
    let (mut read, mut chunk) = (Vec::new(), [0; 65536]);
    let limit = rustix::event::Timespec::try_from(patience()).unwrap();
    loop {
        if poll(&mut [PollFd::new(&fifo, PollFlags::IN)], Some(&limit)).unwrap() == 0 {
            return read;
        }
        match fifo.read(&mut chunk) {
            Ok(0) => return read,
            Ok(count) => read.extend_from_slice(&chunk[..count]),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
        }
    }
}

/// A client of the shim behind an address.
pub(crate) async fn connect(address: &str) -> TaskClient {
    TaskClient::new(Client::connect(address).await.unwrap())
}

/// A connection to a shim, and the container that it is about.
pub(crate) struct Task {
    pub(crate) client: TaskClient,
    pub(crate) id: String,
    pub(crate) address: String,
}

impl Task {
    pub(crate) async fn start(&self, exec_id: &str) -> ttrpc::Result<u32> {
        let request = api::StartRequest { id: self.id.clone(), exec_id: exec_id.into(), ..Default::default() };
        self.client.start(limit(), &request).await.map(|response| response.pid)
    }

    pub(crate) async fn state(&self, exec_id: &str) -> ttrpc::Result<api::StateResponse> {
        let request = api::StateRequest { id: self.id.clone(), exec_id: exec_id.into(), ..Default::default() };
        self.client.state(limit(), &request).await
    }

    pub(crate) async fn status(&self, exec_id: &str) -> Status {
        self.state(exec_id).await.unwrap().status.enum_value().unwrap()
    }

    pub(crate) async fn wait(&self, exec_id: &str) -> ttrpc::Result<u32> {
        let request = api::WaitRequest { id: self.id.clone(), exec_id: exec_id.into(), ..Default::default() };
        self.client.wait(limit(), &request).await.map(|response| response.exit_status)
    }

    pub(crate) async fn kill(&self, exec_id: &str, signal: u32) -> ttrpc::Result<()> {
        let request = api::KillRequest { id: self.id.clone(), exec_id: exec_id.into(), signal, ..Default::default() };
        self.client.kill(limit(), &request).await.map(drop)
    }

    pub(crate) async fn delete(&self, exec_id: &str) -> ttrpc::Result<u32> {
        let request = api::DeleteRequest { id: self.id.clone(), exec_id: exec_id.into(), ..Default::default() };
        self.client.delete(limit(), &request).await.map(|response| response.exit_status)
    }

    pub(crate) async fn pause(&self) -> ttrpc::Result<()> {
        let request = api::PauseRequest { id: self.id.clone(), ..Default::default() };
        self.client.pause(limit(), &request).await.map(drop)
    }

    pub(crate) async fn resume(&self) -> ttrpc::Result<()> {
        let request = api::ResumeRequest { id: self.id.clone(), ..Default::default() };
        self.client.resume(limit(), &request).await.map(drop)
    }

    pub(crate) async fn connect(&self) -> ttrpc::Result<api::ConnectResponse> {
        let request = api::ConnectRequest { id: self.id.clone(), ..Default::default() };
        self.client.connect(limit(), &request).await
    }

    pub(crate) async fn stats(&self) -> ttrpc::Result<Any> {
        let request = api::StatsRequest { id: self.id.clone(), ..Default::default() };
        self.client.stats(limit(), &request).await.map(|response| response.stats.unwrap())
    }

    pub(crate) async fn update(&self, resources: &str) -> ttrpc::Result<()> {
        let mut request = api::UpdateTaskRequest { id: self.id.clone(), ..Default::default() };
        request.set_resources(json("LinuxResources", resources));
        self.client.update(limit(), &request).await.map(drop)
    }

    pub(crate) async fn pids(&self) -> ttrpc::Result<api::PidsResponse> {
        let request = api::PidsRequest { id: self.id.clone(), ..Default::default() };
        self.client.pids(limit(), &request).await
    }

    pub(crate) async fn shutdown(&self) {
        let request = api::ShutdownRequest { id: self.id.clone(), ..Default::default() };
        self.client.shutdown(limit(), &request).await.unwrap();
    }

    /// The request for an exec of a shell script.
    pub(crate) fn exec_request(&self, exec_id: &str, script: &str) -> api::ExecProcessRequest {
        let mut request =
            api::ExecProcessRequest { id: self.id.clone(), exec_id: exec_id.into(), ..Default::default() };
        let document = serde_json::json!({
            "args": ["/bin/sh", "-c", script], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0},
        });
        request.set_spec(json("Process", &document.to_string()));
        request
    }

    /// Asks for an exec and starts it.
    pub(crate) async fn exec_started(&self, exec_id: &str, script: &str) -> u32 {
        self.exec(exec_id, script).await.unwrap();
        self.start(exec_id).await.unwrap()
    }

    pub(crate) async fn close_stdin(&self, exec_id: &str) -> ttrpc::Result<()> {
        let mut request = api::CloseIORequest { id: self.id.clone(), exec_id: exec_id.into(), ..Default::default() };
        request.stdin = true;
        self.client.close_io(limit(), &request).await.map(drop)
    }

    pub(crate) async fn resize(&self, exec_id: &str, width: u32, height: u32) -> ttrpc::Result<()> {
        let request =
            api::ResizePtyRequest { id: self.id.clone(), exec_id: exec_id.into(), width, height, ..Default::default() };
        self.client.resize_pty(limit(), &request).await.map(drop)
    }

    pub(crate) async fn exec(&self, exec_id: &str, script: &str) -> ttrpc::Result<()> {
        self.client.exec(limit(), &self.exec_request(exec_id, script)).await.map(drop)
    }

    /// Kills what still runs, deletes it and dismisses the shim.
    pub(crate) async fn end(&self) -> u32 {
        // It may have ended by itself.
        let _ended = self.kill("", 9).await;
        self.wait("").await.unwrap();
        let status = self.delete("").await.unwrap();
        self.shutdown().await;
        status
    }
}

pub(crate) fn json(kind: &str, text: &str) -> Any {
    let type_url = format!("types.containerd.io/opencontainers/runtime-spec/1/{kind}");
    Any { type_url, value: text.as_bytes().to_vec(), ..Any::default() }
}

/// Asks `question` until it answers.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, question: impl Fn() -> F) -> T {
    let asked = async {
        loop {
            if let Some(answer) = question().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(patience(), asked).await.unwrap_or_else(|_| panic!("never came true: {what}"))
}
