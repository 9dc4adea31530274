//! The process that holds the containers of one service: found, started, connected to, and cleaned up after.
//!
//! A shim has a folder of its own, `<run>/shims/<service>`, in which it works: it outlives any single instance. There lies
//! the answer of its `start`, so that it is found again without asking PID 1 or starting anything.

use super::error::Error;
use super::record::publish;
use super::task::{CallError, Task, Version};
use super::{Settings, oci, systemd};
use serde::Deserialize;
use skiff_planner::name::{InstanceId, ServiceName};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

/// The namespace of skiffd's containers, in containerd's sense.
pub(super) const CONTAINERD_NAMESPACE: &str = "skiff";

/// How long a program of the shim, the runtime or systemd may take.
const PROGRAM: Duration = Duration::from_secs(30);

/// How long connecting may take: the kernel does it, so that only a full queue can delay it.
const CONNECT: Duration = Duration::from_secs(1);

/// How long a shim may take to end once it was asked to.
const FAREWELL: Duration = Duration::from_secs(2);

/// A command line as data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) program: PathBuf,
    pub(super) words: Vec<OsString>,
    /// Beside PATH, which is skiffd's.
    pub(super) environment: Vec<(&'static str, OsString)>,
    pub(super) folder: PathBuf,
}

/// Where a shim listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) path: PathBuf,
    pub(super) version: Version,
}

/// The folder of a service's shim.
pub(super) fn home(run: &Path, service: &ServiceName) -> PathBuf {
    run.join("shims").join(service.as_str())
}

/// The words that start the shim of an instance's service, or find the one that is there. The shim holds on for the
/// instance that is named, so it has to be one that is about to be created.
pub(super) fn start_words(settings: &Settings, instance: &InstanceId) -> Words {
    words(settings, &instance.to_string(), &home(&settings.run, &instance.service), "start")
}

/// The words that kill and clean what is left of an instance whose shim is gone.
pub(super) fn delete_words(settings: &Settings, instance: &InstanceId, bundle: &Path) -> Words {
    words(settings, &instance.to_string(), bundle, "delete")
}

/// The words that do the same by the runtime alone, for a shim that has not come as far as noting what it needs for it.
pub(super) fn runtime_words(settings: &Settings, instance: &InstanceId) -> Words {
    let root = settings.runtime_root.join(CONTAINERD_NAMESPACE);
    let words = ["--root".into(), root.into(), "delete".into(), "--force".into(), instance.to_string().into()];
    Words { program: settings.runtime.clone(), words: words.into(), environment: Vec::new(), folder: "/".into() }
}

fn words(settings: &Settings, id: &str, folder: &Path, verb: &str) -> Words {
    // The address is what tells the shims of two callers apart; nobody connects to it but for events.
    let caller = settings.run.join("events.sock");
    let words = [
        "-namespace".into(),
        CONTAINERD_NAMESPACE.into(),
        "-address".into(),
        caller.clone().into_os_string(),
        "-id".into(),
        id.into(),
        "-bundle".into(),
        folder.as_os_str().into(),
        verb.into(),
    ];
    let environment =
        vec![("TTRPC_ADDRESS", caller.into()), ("SKIFF_SHIM_SOCKET_DIR", settings.run.join("s").into_os_string())];
    Words { program: settings.shim.clone(), words: words.into(), environment, folder: folder.to_owned() }
}

/// Reads the answer of a `start`: a plain address, or JSON with a version.
///
/// # Errors
/// [`Error::Answer`]
pub(super) fn parse(answer: &str) -> Result<Address, Error> {
    #[derive(Deserialize)]
    struct Json {
        version: u32,
        address: String,
        protocol: String,
    }
    let bad = || Error::Answer(answer.chars().take(200).collect());
    let text = answer.trim();
    let json = serde_json::from_str::<Json>(text).ok();
    let version = match &json {
        None => Version::Two,
        Some(json) if json.protocol != "ttrpc" => return Err(bad()),
        Some(json) if json.version == 2 => Version::Two,
        Some(json) if json.version == 3 => Version::Three,
        Some(_) => return Err(bad()),
    };
    let address = json.as_ref().map_or(text, |json| &json.address);
    let path = address.strip_prefix("unix://").filter(|path| path.starts_with('/') && !path.contains('\0'));
    Ok(Address { path: path.ok_or_else(bad)?.into(), version })
}

/// The address of the shim that was started last for a service; none if none ever was, or if the answer is not whole.
pub(super) fn known(run: &Path, service: &ServiceName) -> Option<Address> {
    let home = home(run, service);
    // A shim of containerd writes `address` itself, and earlier than its answer can be read.
    ["answer", "address"].iter().find_map(|name| parse(&fs::read_to_string(home.join(name)).ok()?).ok())
}

/// Connects to a shim.
///
/// # Errors
/// [`Error::Connect`]
pub(super) async fn connect(address: &Address) -> Result<Task, Error> {
    Ok(Task::new(stream(&address.path).await?, address.version))
}

async fn stream(path: &Path) -> Result<UnixStream, Error> {
    let failed = |source| Error::Connect { path: path.to_owned(), source };
    let late = |_elapsed| failed(ErrorKind::TimedOut.into());
    tokio::time::timeout(CONNECT, UnixStream::connect(path)).await.map_err(late)?.map_err(failed)
}

/// Starts a shim for an instance that is about to be created, or finds its service's, and connects to it. Its service must
/// be locked.
///
/// # Errors
/// [`Error::File`], [`Error::Run`], [`Error::Failed`], [`Error::Late`], [`Error::Answer`], [`Error::Connect`],
/// [`Error::Silent`]
pub(super) async fn ensure(settings: &Settings, instance: &InstanceId) -> Result<Task, Error> {
    let service = &instance.service;
    if let Some(address) = known(&settings.run, service) {
        match connect(&address).await {
            Ok(task) => match task.connect(&instance.to_string()).await {
                // It died meanwhile.
                Err(CallError::HungUp { .. }) => {}
                Err(CallError::Late { .. }) => return Err(Error::Silent(service.to_string())),
                // Whatever it says, it is there, and it stays until its last container is gone.
                Ok(_) | Err(_) => return Ok(task),
            },
            Err(error) if error.is_gone() => {}
            Err(error) => return Err(error),
        }
    }
    start(settings, instance).await
}

async fn start(settings: &Settings, instance: &InstanceId) -> Result<Task, Error> {
    let service = &instance.service;
    let home = home(&settings.run, service);
    make_home(&home, service)?;
    let (answer, notes) = (home.join("answer"), home.join("notes"));
    let shim = start_words(settings, instance);
    if settings.systemd {
        systemd::clear_away(service, &notes).await;
        execute(&systemd::start(service, &shim, &answer), &notes, &notes).await?;
    } else {
        execute(&shim, &answer, &notes).await?;
    }
    let text = fs::read_to_string(&answer).map_err(Error::file("read", &answer))?;
    let task = connect(&parse(&text)?).await?;
    if settings.systemd {
        systemd::settle(service, task.connect(&instance.to_string()).await?.shim_pid)?;
    }
    Ok(task)
}

fn make_home(home: &Path, service: &ServiceName) -> Result<(), Error> {
    match fs::DirBuilder::new().mode(0o700).create(home) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(Error::File { operation: "make the folder", path: home.to_owned(), source: error });
        }
        Ok(()) | Err(_) => {}
    }
    for name in ["answer", "address"] {
        match fs::remove_file(home.join(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Error::File { operation: "remove", path: home.join(name), source: error });
            }
            Ok(()) | Err(_) => {}
        }
    }
    // A shim writes its own log into `log`, which containerd makes a fifo of. A file needs no reader.
    let log = home.join("log");
    create(&log)?;
    publish(home, "config.json", oci::group_document(service).to_string().as_bytes())
}

fn create(path: &Path) -> Result<File, Error> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path).map_err(Error::file("write", path))
}

/// Runs a program to its end, with its output in files: a shim that stays behind may keep them open, and nobody waits for
/// that.
///
/// # Errors
/// [`Error::File`], [`Error::Run`], [`Error::Late`], [`Error::Failed`] with what it said
pub(super) async fn execute(words: &Words, output: &Path, errors: &Path) -> Result<(), Error> {
    let to_errors = create(errors)?;
    let to_output =
        if output == errors { to_errors.try_clone().map_err(Error::file("write", errors))? } else { create(output)? };
    let run = |source| Error::Run { program: words.program.clone(), source };
    let mut command = tokio::process::Command::new(&words.program);
    command.args(&words.words).current_dir(&words.folder).env_clear().kill_on_drop(true);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into()));
    command.envs(words.environment.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(to_output).stderr(to_errors);
    let mut child = command.spawn().map_err(run)?;
    let late = |_elapsed| Error::Late { what: words.program.clone(), limit: PROGRAM };
    let status = tokio::time::timeout(PROGRAM, child.wait()).await.map_err(late)?.map_err(run)?;
    if status.success() {
        return Ok(());
    }
    let text =
        [errors, output].map(|path| fs::read(path).unwrap_or_default()).into_iter().find(|text| !text.is_empty());
    let said = text.map_or_else(|| status.to_string(), |text| last_words(&text));
    Err(Error::Failed { program: words.program.clone(), said })
}

/// The end of what a program said, which is where the reason is.
fn last_words(text: &[u8]) -> String {
    const LONGEST: usize = 400;
    let text = String::from_utf8_lossy(text);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let from = text.char_indices().rev().nth(LONGEST - 1).map_or(0, |(at, _)| at);
    text[from..].to_owned()
}

/// Asks a shim without containers to end, and waits until it has: a `start` that comes next must not find it dying. Its
/// service must be locked. Whether it has.
pub(super) async fn dismiss(task: &Task, address: &Address, id: &str) -> bool {
    // A second connection, on which nothing is ever said, ends when the process does.
    let Ok(mut line) = stream(&address.path).await else { return true };
    let _hangs_up_while_answering = task.shutdown(id).await;
    let mut byte = [0; 1];
    tokio::time::timeout(FAREWELL, line.read(&mut byte)).await.is_ok()
}

/// Takes away what a shim that is gone left behind: its folder and its socket.
pub(super) fn clear_home(run: &Path, service: &ServiceName) {
    if let Some(address) = known(run, service) {
        let _its_shim_removed_it = fs::remove_file(address.path);
    }
    let _nothing_was_there = fs::remove_dir_all(home(run, service));
}

#[cfg(test)]
mod tests;
