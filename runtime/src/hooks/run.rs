//! One hook from its start to its end: the state in a memory file (a hook that never reads cannot block or break a
//! pipe), its output in one pipe, its end awaited on a pidfd, or by looking now and then before Linux 5.3.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout};
use oci_spec::runtime::Hook;
use rustix::fs::{MemfdFlags, OFlags};
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, PidfdFlags};

use super::Surroundings;
use crate::sys::prctl;

/// How much of a hook's output an error shows: its end.
const OUTPUT_LIMIT: usize = 4096;
/// How many chunks of that size are read before the clock is looked at: a pipe's usual capacity.
const CHUNKS_AT_ONCE: usize = 16;
/// How often the end is looked for without a pidfd.
const INTERVAL: Duration = Duration::from_millis(5);

/// How a hook ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With this status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
    /// By us, past its timeout.
    TimedOut,
}

/// A hook's end, and the last of what it wrote.
#[derive(Debug)]
pub(super) struct Outcome {
    /// How.
    pub(super) end: End,
    /// Standard output and error, as written, at most [`OUTPUT_LIMIT`] bytes.
    pub(super) output: Vec<u8>,
}

/// Starts the hook and waits for its end, or kills it past `timeout`.
pub(super) fn to_end(hook: &Hook, timeout: Option<Duration>, surroundings: &Surroundings<'_>) -> io::Result<Outcome> {
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    rustix::fs::fcntl_setfl(&reader, OFlags::NONBLOCK)?;
    let mut child = command(hook, surroundings, writer)?.spawn()?;
    let mut reader = File::from(reader);
    let mut output = Vec::new();
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let status = match wait(&mut child, &mut reader, &mut output, deadline) {
        Ok(status) => status,
        Err(error) => {
            // Whatever went wrong with waiting, no hook may outlive us.
            let _already_dead = child.kill();
            let _reaped = child.wait();
            return Err(error);
        }
    };
    drain(&mut reader, &mut output)?;
    let end = match status {
        None => End::TimedOut,
        Some(status) => status.code().map_or_else(|| End::Killed(status.signal().unwrap_or_default()), End::Exited),
    };
    Ok(Outcome { end, output })
}

/// The command: exactly the arguments and environment of the configuration. It owns the write end of the output pipe
/// and is dropped with it as soon as the child runs, so that the pipe ends with the hook.
fn command(hook: &Hook, surroundings: &Surroundings<'_>, output: OwnedFd) -> io::Result<Command> {
    let mut command = Command::new(hook.path());
    if let Some((first, rest)) = hook.args().as_deref().and_then(<[String]>::split_first) {
        command.arg0(first).args(rest);
    }
    command.env_clear();
    match hook.env() {
        Some(entries) => command.envs(entries.iter().filter_map(|entry| entry.split_once('='))),
        None => command.envs(surroundings.environment.iter().filter_map(|entry| pair(entry.to_bytes()))),
    };
    command.stdin(state_file(surroundings.state)?).stderr(Stdio::from(output.try_clone()?)).stdout(Stdio::from(output));
    let directory = surroundings.directory.map(|directory| directory.try_clone_to_owned()).transpose()?;
    prctl::prepare_child(&mut command, directory);
    Ok(command)
}

fn pair(entry: &[u8]) -> Option<(&OsStr, &OsStr)> {
    let at = entry.iter().position(|byte| *byte == b'=')?;
    Some((OsStr::from_bytes(&entry[..at]), OsStr::from_bytes(&entry[at + 1..])))
}

fn state_file(state: &[u8]) -> io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create("state", MemfdFlags::CLOEXEC)?);
    file.write_all(state)?;
    file.rewind()?;
    Ok(file)
}

/// Collects output until the hook ends; `None` means that it was killed at the deadline.
fn wait(
    child: &mut Child,
    reader: &mut File,
    output: &mut Vec<u8>,
    deadline: Option<Instant>,
) -> io::Result<Option<ExitStatus>> {
    let pidfd = match i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        Some(pid) => rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok(),
        None => None,
    };
    let mut open = true;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            child.kill()?;
            let _killed_by_us = child.wait()?;
            return Ok(None);
        }
        let pause = if pidfd.is_some() { left } else { Some(left.map_or(INTERVAL, |left| left.min(INTERVAL))) };
        poll(pidfd.as_ref().map(AsFd::as_fd), open.then(|| reader.as_fd()), pause)?;
        // A closed pipe would wake us for ever.
        open = open && drain(reader, output)?;
    }
}

fn poll(pidfd: Option<BorrowedFd<'_>>, reader: Option<BorrowedFd<'_>>, pause: Option<Duration>) -> io::Result<()> {
    let watched = [pidfd, reader].into_iter().flatten();
    let mut watched: Vec<PollFd<'_>> = watched.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
    // Rounded up, so that the last fraction of a millisecond does not spin; a wait too long for poll(2) is cut, and
    // the caller comes back.
    let milliseconds = pause.map(|pause| i32::try_from(pause.as_millis()).unwrap_or(i32::MAX - 1) + 1);
    let timeout =
        milliseconds.map_or(PollTimeout::NONE, |count| PollTimeout::try_from(count).unwrap_or(PollTimeout::MAX));
    match nix::poll::poll(&mut watched, timeout) {
        // After a signal the caller looks again anyway.
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Takes what is in the pipe without waiting for more; `false` at its end. Not for ever: who writes faster than we
/// read must not keep us from looking at the clock.
fn drain(reader: &mut File, output: &mut Vec<u8>) -> io::Result<bool> {
    let mut chunk = [0; OUTPUT_LIMIT];
    for _chunk in 0..CHUNKS_AT_ONCE {
        match reader.read(&mut chunk) {
            Ok(0) => return Ok(false),
            Ok(length) => output.extend_from_slice(&chunk[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        let surplus = output.len().saturating_sub(OUTPUT_LIMIT);
        output.drain(..surplus);
    }
    Ok(true)
}
