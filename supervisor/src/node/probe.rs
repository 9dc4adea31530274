//! Probes: run at their intervals as long as the instance runs, each outcome told. What follows from them is concluded by
//! the planner.

use super::Seen;
use super::oci::probe_process;
use super::task::{CallError, Task};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use skiff_planner::health::{Outcome, ProbeKind};
use skiff_planner::name::InstanceId;
use skiff_planner::release::{HttpProbe, Probe};
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// The longest head of an answer, in bytes; the body is not read.
const LONGEST_HEAD: usize = 16 * 1024;

/// How long a probe's process may take to go after SIGKILL.
const GOING: Duration = Duration::from_secs(2);

/// Whom probes are run on.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) instance: InstanceId,
    pub(super) task: Task,
    /// Its configuration, for the environment of a program that probes.
    pub(super) config: serde_json::Value,
    pub(super) seen: mpsc::Sender<Seen>,
}

/// Runs all probes of an instance until it is dropped: the startup probe until it succeeds, then the others side by side.
pub(super) async fn run(target: Target, probes: Vec<(ProbeKind, Probe)>) {
    let (first, others): (Vec<_>, Vec<_>) = probes.into_iter().partition(|(kind, _)| *kind == ProbeKind::Startup);
    for (kind, probe) in first {
        tokio::time::sleep(probe.initial_delay.duration()).await;
        while tell(&target, kind, &probe).await != Outcome::Success {
            tokio::time::sleep(probe.interval.duration()).await;
        }
    }
    // What is in a set ends with it.
    let mut running = JoinSet::new();
    for (kind, probe) in others {
        let target = target.clone();
        running.spawn(async move {
            tokio::time::sleep(probe.initial_delay.duration()).await;
            loop {
                tell(&target, kind, &probe).await;
                tokio::time::sleep(probe.interval.duration()).await;
            }
        });
    }
    while running.join_next().await.is_some() {}
}

async fn tell(target: &Target, kind: ProbeKind, probe: &Probe) -> Outcome {
    let outcome = once(target, kind, probe).await.map_or_else(Outcome::Failure, |()| Outcome::Success);
    let seen = Seen::Probed { instance: target.instance.clone(), kind, outcome: outcome.clone() };
    let _loop_is_over = target.seen.send(seen).await;
    outcome
}

/// Runs one probe once.
async fn once(target: &Target, kind: ProbeKind, probe: &Probe) -> Result<(), String> {
    let limit = probe.timeout.duration();
    let late = |_elapsed| format!("no answer within {}", probe.timeout);
    match (&probe.http, probe.tcp, &probe.exec) {
        (Some(http_probe), _, _) => tokio::time::timeout(limit, http(http_probe)).await.map_err(late)?,
        (None, Some(port), _) => tokio::time::timeout(limit, tcp(port)).await.map_err(late)?.map(drop),
        (None, None, Some(arguments)) => exec(target, kind, arguments, limit).await,
        (None, None, None) => Err("it has none of `http`, `tcp` and `exec`".into()),
    }
}

async fn tcp(port: u16) -> Result<TcpStream, String> {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.map_err(|error| format!("port {port}: {error}"))
}

/// A GET that is answered with 200 to 399.
async fn http(probe: &HttpProbe) -> Result<(), String> {
    let failed = |error: hyper::Error| format!("GET {}: {error}", probe.path);
    let stream = TokioIo::new(tcp(probe.port).await?);
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder.max_buf_size(LONGEST_HEAD);
    let (mut sender, connection) = builder.handshake(stream).await.map_err(failed)?;
    let request = Request::get(&probe.path)
        .header(HOST, format!("127.0.0.1:{}", probe.port))
        .header(USER_AGENT, concat!("skiffd/", env!("CARGO_PKG_VERSION")))
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("GET {}: {error}", probe.path))?;
    // The connection does the work of the request, and is dropped with it: the body is nobody's.
    let answer = tokio::select! {
        answer = sender.send_request(request) => answer.map_err(failed)?,
        Err(error) = connection => return Err(failed(error)),
    };
    if (StatusCode::OK.as_u16()..400).contains(&answer.status().as_u16()) {
        Ok(())
    } else {
        Err(format!("GET {}: status {}", probe.path, answer.status().as_u16()))
    }
}

/// A program in the container that exits 0.
async fn exec(target: &Target, kind: ProbeKind, arguments: &[String], limit: Duration) -> Result<(), String> {
    let Target { instance, task, config, .. } = target;
    let id = instance.to_string();
    let exec = match kind {
        ProbeKind::Startup => "probe-startup",
        ProbeKind::Readiness => "probe-readiness",
        ProbeKind::Liveness => "probe-liveness",
    };
    let process = probe_process(config, arguments).ok_or("its configuration has no process")?;
    let said = |error: CallError| error.to_string();
    if let Err(error) = task.exec(&id, exec, &process).await {
        let CallError::Exists { .. } = error else { return Err(said(error)) };
        // An earlier skiffd left it.
        end(task, &id, exec).await;
        task.exec(&id, exec, &process).await.map_err(said)?;
    }
    let outcome = match tokio::time::timeout(limit, run_exec(task, &id, exec)).await {
        Ok(Ok(0)) => Ok(()),
        Ok(Ok(status)) => Err(format!("`{}` exited with {status}", arguments.join(" "))),
        Ok(Err(error)) => Err(said(error)),
        Err(_elapsed) => Err(format!("`{}` took longer than {} ms", arguments.join(" "), limit.as_millis())),
    };
    end(task, &id, exec).await;
    outcome
}

async fn run_exec(task: &Task, id: &str, exec: &str) -> Result<u32, CallError> {
    task.start(id, exec).await?;
    Ok(task.wait(id, exec).await?.exit_status)
}

/// Forgets an exec, and kills it first if it still runs.
async fn end(task: &Task, id: &str, exec: &str) {
    const SIGKILL: u32 = 9;
    if task.delete(id, exec).await.is_ok() {
        return;
    }
    let _ended_already = task.kill(id, exec, SIGKILL).await;
    let _ended_or_stuck = tokio::time::timeout(GOING, task.wait(id, exec)).await;
    // It goes with its container otherwise.
    let _deleted_or_stuck = task.delete(id, exec).await;
}

#[cfg(test)]
mod tests;
