//! `start`: finds the group's shim or leaves a new one behind, and answers where it is. Its caller reads standard output
//! and error to their end, so the process that stays has neither.

use super::Flags;
use crate::bootstrap::claim::{Claim, Found};
use crate::bootstrap::dialect::{Dialect, answer, dialect};
use crate::bootstrap::group::Config;
use crate::bootstrap::socket::{self, CONTAINERD_FOLDER, FOLDER_VARIABLE};
use crate::task::publish;
use anyhow::Context;
use containerd_shim_protos::api::ConnectRequest;
use containerd_shim_protos::bootstrap_api::{BootstrapParams, LogLevel};
use containerd_shim_protos::shim_async::{Client, TaskClient};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long a caller may take to say what it has to say; it writes before it waits for us.
const INPUT: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// More than any options or parameters are.
const LONGEST_INPUT: usize = 4 << 20;

/// How long a shim that is there may take to answer.
const ANSWER: Duration = Duration::from_secs(3);

pub(super) fn start(flags: &Flags) -> anyhow::Result<()> {
    let bundle = match &flags.bundle {
        Some(bundle) => bundle.clone(),
        None => std::env::current_dir().context("the bundle is the working directory, which is gone")?,
    };
    let max_version = std::env::var("MAX_SHIM_VERSION").ok();
    let dialect = dialect(&read_input(), &flags.id, &flags.containerd_namespace, max_version.as_deref());
    let params = match &dialect {
        Dialect::Protobuf(params) => Some(&**params),
        Dialect::Plain | Dialect::Json => None,
    };
    let config = Config::read(&bundle)?;
    let folder = socket_folder(params);
    let path = socket::path(&folder, &flags.address, &flags.containerd_namespace, config.group(&flags.id))?;
    let claim = Claim::take(&folder)?;
    match claim.find_or_listen(&path)? {
        Found::Live => announce(&path, &flags.id)?,
        Found::Ours(listener) => {
            if let Err(error) = leave_behind(flags, params, &bundle, &path, listener) {
                claim.remove(&path)?;
                return Err(error);
            }
        }
    }
    let address = socket::address(&path);
    // containerd 1 looks here when it comes back.
    publish(&bundle, "address", address.as_bytes()).context("`address` cannot be written into the bundle")?;
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&answer(&dialect, &address)).and_then(|()| stdout.flush()).context("the answer is not taken")?;
    Ok(())
}

fn socket_folder(params: Option<&BootstrapParams>) -> PathBuf {
    let told = params.and_then(|params| params.socket_dir.clone());
    let from_environment = || std::env::var(FOLDER_VARIABLE).ok();
    let folder = told.into_iter().chain(from_environment()).find(|folder| !folder.is_empty());
    folder.map_or_else(|| CONTAINERD_FOLDER.into(), PathBuf::from)
}

/// Reads what the caller has to say. Somebody who leaves standard input open and silent, as a terminal is, has nothing
/// to say.
fn read_input() -> Vec<u8> {
    let mut input = Vec::new();
    let stdin = std::io::stdin();
    let mut chunk = [0; 4096];
    while input.len() < LONGEST_INPUT {
        let mut descriptors = [PollFd::new(&stdin, PollFlags::IN)];
        if !matches!(poll(&mut descriptors, Some(&INPUT)), Ok(1..)) {
            break;
        }
        match rustix::io::read(&stdin, &mut chunk) {
            Ok(count @ 1..) => input.extend_from_slice(&chunk[..count]),
            Ok(_) | Err(_) => break,
        }
    }
    input
}

/// Tells a shim that is there of the container to come, so that it does not go before.
fn announce(path: &Path, id: &str) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime
        .block_on(async {
            let client = TaskClient::new(Client::connect(&socket::address(path)).await?);
            let request = ConnectRequest { id: id.to_owned(), ..Default::default() };
            let limit = i64::try_from(ANSWER.as_nanos()).expect("seconds fit");
            client.connect(ttrpc::context::with_timeout(limit), &request).await?;
            anyhow::Ok(())
        })
        .with_context(|| format!("the shim of this group, behind `{}`, does not answer", path.display()))
}

/// Starts the process that stays. The socket is its standard input: nothing else has to be inherited.
fn leave_behind(
    flags: &Flags,
    params: Option<&BootstrapParams>,
    bundle: &Path,
    path: &Path,
    listener: UnixListener,
) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("the shim's own program is not found")?;
    let mut command = Command::new(program);
    command.args(["-namespace", &flags.containerd_namespace, "-id", &flags.id, "-address", &flags.address]);
    command.arg("-socket").arg(path);
    if flags.debug || params.is_some_and(|params| params.log_level.value() < LogLevel::LOG_LEVEL_INFO as i32) {
        command.arg("-debug");
    }
    command.arg("serve").current_dir(bundle);
    if let Some(address) = params.map(|params| &params.containerd_ttrpc_address).filter(|address| !address.is_empty()) {
        command.env("TTRPC_ADDRESS", address);
    }
    command.stdin(Stdio::from(OwnedFd::from(listener))).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().context("the process that stays cannot be started")?;
    yield_memory_first(child.id());
    Ok(())
}

/// When memory is short a shim goes before its caller and after the containers, as with containerd's own.
fn yield_memory_first(pid: u32) {
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").ok().and_then(|text| text.trim().parse::<i32>().ok());
    let Some(own) = own else { return };
    let score = (own + 1).min(1000).to_string();
    // A container that forbids it runs the shim as it is.
    let _stays_as_it_is = std::fs::write(format!("/proc/{pid}/oom_score_adj"), score);
}
