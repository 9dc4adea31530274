//! Finds and signals every process in a container's cgroups, sub-cgroups included.

use std::{
    fs,
    io::{self, Read as _},
    os::fd::OwnedFd,
    path::Path,
    time::{Duration, Instant},
};

use rustix::{
    fs::{CWD, Dir as Listing, FileType, Mode, OFlags, openat},
    process::{Pid, Signal, kill_process},
};

use super::{Dir, Error, Kind, Location, apply::write_file, freeze};

/// How long killed processes are waited for. One that is stuck in the kernel lasts longer, and nothing helps it.
const PATIENCE: Duration = Duration::from_secs(10);

/// The processes in any of the container's cgroups, ascending; without those of which another PID namespace hides the
/// number. No cgroup, no process.
pub fn procs(location: &Location) -> Result<Vec<i32>, Error> {
    let mut pids = Vec::new();
    for dir in &location.dirs {
        dir.check()?;
        pids.extend(tree_pids(&dir.path)?);
    }
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

/// Sends `signal` to every process. SIGKILL goes by cgroup.kill (Linux 5.14), which no fork escapes; where that is
/// lacking, and in v1, what is found is killed until nothing is left. A frozen v1 cgroup is thawed for it.
pub fn kill(location: &Location, signal: i32) -> Result<(), Error> {
    if signal != libc::SIGKILL {
        return signal_all(&procs(location)?, signal);
    }
    let mut by_hand = Location::default();
    for dir in &location.dirs {
        dir.check()?;
        if !kill_at_once(dir)? {
            by_hand.dirs.push(dir.clone());
        }
    }
    kill_until_empty(&by_hand)
}

/// False if the kernel has no cgroup.kill here.
fn kill_at_once(dir: &Dir) -> Result<bool, Error> {
    if dir.kind != Kind::V2 {
        return Ok(false);
    }
    let path = dir.path.join("cgroup.kill");
    match write_file(&path, "1") {
        Ok(()) => Ok(true),
        // Without the directory there is nobody to kill; without the file, or in a threaded cgroup, it is done by hand.
        Err(error) if is_gone(&error) => Ok(!dir.path.exists()),
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(false),
        Err(source) => Err(Error::Write { path, value: "1".into(), source }),
    }
}

fn kill_until_empty(location: &Location) -> Result<(), Error> {
    let (start, mut pause) = (Instant::now(), Duration::from_micros(200));
    loop {
        let pids = procs(location)?;
        if pids.is_empty() {
            return Ok(());
        }
        signal_all(&pids, libc::SIGKILL)?;
        // A process in a frozen v1 cgroup dies only when it goes on.
        if let Some(freezer) = location.v1("freezer") {
            freeze::thaw_dir(freezer)?;
        }
        if start.elapsed() > PATIENCE {
            return Err(Error::Unkillable { count: pids.len(), seconds: PATIENCE.as_secs() });
        }
        crate::patience::pause(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

fn signal_all(pids: &[i32], signal: i32) -> Result<(), Error> {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    // Whoever asks to kill a container does not mean itself, however it got into the cgroup.
    for &number in pids.iter().filter(|pid| **pid != own) {
        let Some(pid) = Pid::from_raw(number) else { continue };
        match send(pid, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(errno) => return Err(Error::Signal { pid: number, signal, source: errno.into() }),
        }
    }
    Ok(())
}

/// Realtime signals have no name and are refused (EINVAL); nobody sends them to a whole container.
fn send(pid: Pid, signal: i32) -> rustix::io::Result<()> {
    match Signal::from_named_raw(signal) {
        Some(signal) => kill_process(pid, signal),
        None => Err(rustix::io::Errno::INVAL),
    }
}

/// The processes of a directory and of all below it. Sub-cgroups are reached by descriptor, as a container with a
/// writable cgroup can nest them deeper than a path may be long. A directory that is gone has none.
pub(super) fn tree_pids(path: &Path) -> Result<Vec<i32>, Error> {
    let mut pids = Vec::new();
    let walked = open_dir(CWD, path).and_then(|top| walk(&top, u32::MAX, &mut |dir| collect(dir, &mut pids)));
    match walked {
        Ok(()) => Ok(pids),
        Err(error) if is_gone(&error) => Ok(pids),
        Err(source) => Err(Error::Read { path: path.into(), source }),
    }
}

fn collect(dir: &OwnedFd, pids: &mut Vec<i32>) -> io::Result<()> {
    let mut text = String::new();
    match open_file(dir, "cgroup.procs")?.read_to_string(&mut text) {
        // A threaded cgroup of v2 has no list of processes; its processes are in the list of the one above it.
        Ok(_) => {}
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
        Err(error) => return Err(error),
    }
    // A zero is a process that this PID namespace cannot see, and would mean ourselves to kill(2).
    pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
    Ok(())
}

/// Looks at a cgroup and at those below it, by descriptor, as many levels down as `deeper` says; those that go meanwhile are
/// passed over.
pub(super) fn walk(dir: &OwnedFd, deeper: u32, look: &mut dyn FnMut(&OwnedFd) -> io::Result<()>) -> io::Result<()> {
    look(dir)?;
    let Some(deeper) = deeper.checked_sub(1) else { return Ok(()) };
    for entry in Listing::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type() != FileType::Directory || matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        match open_dir(dir, name).and_then(|sub| walk(&sub, deeper, look)) {
            Err(error) if !is_gone(&error) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// A file of a cgroup, to be read.
pub(super) fn open_file(dir: &OwnedFd, name: &str) -> io::Result<fs::File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(openat(dir, name, flags, Mode::empty())?.into())
}

pub(super) fn open_dir(at: impl std::os::fd::AsFd, path: impl rustix::path::Arg) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(at, path, flags, Mode::empty())?)
}

/// A cgroup that is removed while it is read answers ENOENT or ENODEV.
pub(super) fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV))
}
