//! Takes one measurement at a time, the contenders in turn.
//!
//! CPU time is what `RUSAGE_CHILDREN` gained: the runtime, its helpers and the container. This program is a child
//! subreaper, so a detached container becomes its child and is counted too, and its end is waited for exactly. Work
//! that the kernel does later on its own threads (taking namespaces down) is in no figure.

use crate::bundle::TRUE;
use crate::contender::Contender;
use crate::settings::Settings;
use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// One measurement.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) wall: Duration,
    /// User and system time of the whole process tree.
    pub(crate) cpu: Duration,
}

/// All samples of one contender.
pub(crate) struct Series {
    pub(crate) contender: Contender,
    pub(crate) samples: Vec<Sample>,
}

pub(crate) fn become_subreaper() -> Result<()> {
    nix::sys::prctl::set_child_subreaper(true).context("prctl PR_SET_CHILD_SUBREAPER")
}

/// Measures `count` rounds of `what` after the warm-up. Each round begins with another contender, so that none always
/// comes after the same neighbour.
pub(crate) fn rounds(
    contenders: &[Contender],
    count: usize,
    settings: &Settings,
    what: fn(&Contender, &Path) -> Result<()>,
) -> Result<Vec<Series>> {
    let mut all: Vec<Series> =
        contenders.iter().map(|contender| Series { contender: contender.clone(), samples: Vec::new() }).collect();
    for round in 0..settings.warm_up + count {
        for turn in 0..all.len() {
            let index = (round + turn) % all.len();
            std::thread::sleep(settings.pause);
            let sample = sample(&all[index].contender, &settings.work, what)
                .with_context(|| format!("`{}` in round {round}", all[index].contender.name))?;
            if round >= settings.warm_up {
                all[index].samples.push(sample);
            }
        }
    }
    Ok(all)
}

fn sample(contender: &Contender, work: &Path, what: fn(&Contender, &Path) -> Result<()>) -> Result<Sample> {
    let cpu = children_cpu()?;
    let clock = Instant::now();
    what(contender, work)?;
    let wall = clock.elapsed();
    Ok(Sample { wall, cpu: children_cpu()?.saturating_sub(cpu) })
}

/// `run` of `/bin/true` in the foreground.
pub(crate) fn run(contender: &Contender, work: &Path) -> Result<()> {
    call(contender, work, &contender.run(work, TRUE, &["/bin/true"]))
}

/// `create`, `start`, wait for the end of the container, `delete`.
pub(crate) fn cycle(contender: &Contender, work: &Path) -> Result<()> {
    let pid_file = work.join("pid");
    call(contender, work, &contender.create(work, TRUE, &pid_file))?;
    let outcome = start_and_wait(contender, work, &pid_file);
    if outcome.is_err() {
        // The first failure is the one to report; this only clears the container away.
        let _already_failing = call(contender, work, &contender.delete_by_force(work));
        return outcome;
    }
    call(contender, work, &contender.delete(work))
}

fn start_and_wait(contender: &Contender, work: &Path, pid_file: &Path) -> Result<()> {
    let pid = fs::read_to_string(pid_file).context("read the pid file")?;
    let pid = Pid::from_raw(pid.trim().parse().with_context(|| format!("pid file says `{pid}`"))?);
    call(contender, work, &contender.start(work))?;
    match waitpid(pid, None).with_context(|| format!("wait for the container, pid {pid}"))? {
        WaitStatus::Exited(_, 0) => Ok(()),
        other => bail!("the container ended with {other:?}"),
    }
}

/// `--version`; for the empty program only its start.
pub(crate) fn version(contender: &Contender, work: &Path) -> Result<()> {
    call(contender, work, &["--version".to_owned()])
}

fn call(contender: &Contender, work: &Path, arguments: &[String]) -> Result<()> {
    let errors = work.join("stderr");
    let file = File::create(&errors).context("create the file for stderr")?;
    let mut command = Command::new(&contender.binary);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
    let status = command.status().with_context(|| format!("start `{}`", contender.binary.display()))?;
    if status.success() {
        return Ok(());
    }
    let said = fs::read_to_string(&errors).unwrap_or_default();
    bail!("`{} {}`: {status}: {}", contender.name, arguments.join(" "), said.trim())
}

/// User and system time of all children that were waited for, after taking in those that nobody waits for.
fn children_cpu() -> Result<Duration> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => break,
            Ok(_an_orphan) => {}
            Err(errno) => return Err(errno).context("wait for orphans"),
        }
    }
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("getrusage")?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(micros.unsigned_abs()))
}
