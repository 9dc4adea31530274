//! `delete`: removes a container whose shim is gone, or does not answer, or has done it already. Called in the bundle;
//! the answer says how the container ended.

use super::Flags;
use crate::bootstrap::claim::Claim;
use crate::bootstrap::socket;
use crate::events::timestamp;
use crate::exits::{Exit, Reaper};
use crate::mounts;
use crate::options::Options;
use crate::runtime::{Runtime, Streams, Verb};
use crate::task::{default_runtime, last_exit, recorded_runtime};
use anyhow::Context;
use containerd_shim_protos::api::{self, DeleteResponse};
use containerd_shim_protos::shim_async::{Client, TaskClient};
use protobuf::Message;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// 128 and SIGKILL: what was not seen to end has been killed here.
const KILLED: u32 = 137;

/// containerd gives the whole verb five seconds.
const LIVE: Duration = Duration::from_secs(3);

/// How long a `create` that was left under way may take to be done or undone.
const MAKING: Duration = Duration::from_secs(3);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

pub(super) fn delete(flags: &Flags) -> anyhow::Result<()> {
    let bundle = match &flags.bundle {
        Some(bundle) => bundle.clone(),
        None => std::env::current_dir().context("the bundle is the working directory, which is gone")?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let before = last_exit(&bundle);
    runtime.block_on(remove(flags, &bundle))?;
    let exit = last_exit(&bundle).or(before).unwrap_or(Exit { status: KILLED, at: SystemTime::now() });
    let mut response = DeleteResponse::new();
    let pid = std::fs::read_to_string(bundle.join("init.pid")).unwrap_or_default();
    (response.pid, response.exit_status) = (pid.trim().parse().unwrap_or(0), exit.status);
    response.set_exited_at(timestamp(exit.at));
    let bytes = response.write_to_bytes().expect("a message in memory is written to memory");
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&bytes).and_then(|()| stdout.flush()).context("the answer is not taken")
}

async fn remove(flags: &Flags, bundle: &Path) -> anyhow::Result<()> {
    let address = std::fs::read_to_string(bundle.join("address")).unwrap_or_default();
    let path = socket::of_address(&address);
    if let Some(path) = path {
        // One that lives and holds this container must forget it too, or it would wait for its caller for ever.
        let asked = tokio::time::timeout(LIVE, ask_live(path, &flags.id)).await;
        let _gone_or_silent_otherwise = asked;
    }
    let runtime = match recorded_runtime(bundle) {
        Some(runtime) => runtime,
        None => default_runtime(&Options::default(), &flags.containerd_namespace)?,
    };
    remove_container(&runtime, flags, bundle).await?;
    mounts::unmount_all(&bundle.join("rootfs"))?;
    if let Some((path, folder)) = path.and_then(|path| Some((path, path.parent()?))) {
        if folder.exists() {
            Claim::take(folder)?.remove_stale(path)?;
        }
    }
    Ok(())
}

/// A shim that was killed may have left a `create` of the runtime under way, whose container is not there yet: deleting
/// is repeated until nobody makes one, and once after that.
async fn remove_container(runtime: &Runtime, flags: &Flags, bundle: &Path) -> anyhow::Result<()> {
    let reaper = Arc::new(Reaper::default());
    reaper.begin()?;
    let (log, verb) = (bundle.join("log.json"), Verb::Delete { force: true });
    let deadline = Instant::now() + MAKING;
    loop {
        let was_made = is_being_made(&flags.id, bundle);
        runtime.call(&reaper, &log, &flags.id, &verb, Streams::Captured).await?;
        if !was_made && !is_being_made(&flags.id, bundle) {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < deadline, "the runtime still makes container `{}`; delete it again", flags.id);
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Whether a runtime is at work, or left its copy as the container's first process, by its command line.
fn is_being_made(id: &str, bundle: &Path) -> bool {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let lines = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.into_iter().any(|line| is_create(&line, id, bundle))
}

fn is_create(line: &[u8], id: &str, bundle: &Path) -> bool {
    let words: Vec<&[u8]> = line.strip_suffix(b"\0").unwrap_or(line).split(|byte| *byte == 0).collect();
    let wanted: [&[u8]; 3] = [b"create", b"--bundle", bundle.as_os_str().as_bytes()];
    words.last() == Some(&id.as_bytes()) && words.windows(3).any(|three| three == wanted)
}

async fn ask_live(path: &Path, id: &str) -> ttrpc::Result<()> {
    let client = TaskClient::new(Client::connect(&socket::address(path)).await?);
    let limit = || ttrpc::context::with_timeout(i64::try_from(LIVE.as_nanos()).expect("seconds fit"));
    let id = || id.to_owned();
    client.state(limit(), &api::StateRequest { id: id(), ..Default::default() }).await?;
    let kill = api::KillRequest { id: id(), signal: 9, all: true, ..Default::default() };
    // One that has ended is deleted all the same.
    let _ended_already = client.kill(limit(), &kill).await;
    client.wait(limit(), &api::WaitRequest { id: id(), ..Default::default() }).await?;
    client.delete(limit(), &api::DeleteRequest { id: id(), ..Default::default() }).await?;
    client.shutdown(limit(), &api::ShutdownRequest { id: id(), ..Default::default() }).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_create_is_told_by_its_words() {
        let is = |line: &str| is_create(line.replace(' ', "\0").as_bytes(), "web", Path::new("/b"));
        assert!(is("skiff --root /r create --bundle /b --pid-file /b/init.pid web "));
        assert!(is("runc create --bundle /b web"));
        for line in ["", "skiff create --bundle /b web-1", "skiff create --bundle /c web", "skiff delete --force web"] {
            assert!(!is(line), "{line}");
        }
    }
}
