//! What a container may not leave on the host: mounts, cgroups, state folders, processes. Each is looked for by the
//! unique id of its bundle, so that tests running at the same time do not see each other.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::bundle::marker;
use crate::cgroups;

/// Everything of container `id` of the bundle at `bundle` that is still there, one line each.
pub fn of(id: &str, bundle: &Path, state_root: &Path) -> Vec<String> {
    let mut left = mounts(bundle);
    left.extend(cgroup_folders(id).iter().map(|path| format!("cgroup {}", path.display())));
    left.extend(state_entries(id, state_root));
    left.extend(processes(id, bundle).iter().map(|(pid, line)| format!("process {pid} {line}")));
    left
}

/// Asks `look` until it finds nothing, for two seconds at most (the kernel tears down after the last wait), and
/// returns what it found last.
pub fn until_none(mut look: impl FnMut() -> Vec<String>) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        let left = look();
        if left.is_empty() || Instant::now() > deadline {
            return left;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Removes processes and cgroups that a failed test left.
pub fn sweep(id: &str, bundle: &Path) {
    until_none(|| {
        let left = processes(id, bundle);
        for (pid, _) in &left {
            // It may have ended meanwhile.
            let _may_be_gone = kill_process(Pid::from_raw(*pid).expect("pids are positive"), Signal::KILL);
        }
        left.into_iter().map(|(_, line)| line).collect()
    });
    until_none(|| {
        let folders = cgroup_folders(id);
        for folder in folders.iter().rev() {
            // Busy until the last process is gone; asked again until the deadline.
            let _may_be_busy = fs::remove_dir(folder);
        }
        folders.iter().map(|folder| folder.display().to_string()).collect()
    });
}

fn mounts(bundle: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("procfs");
    let bundle = bundle.to_string_lossy();
    table.lines().filter(|line| line.contains(&*bundle)).map(|line| format!("mount {line}")).collect()
}

fn state_entries(id: &str, root: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(root) else { return Vec::new() };
    let paths = entries.flatten().map(|entry| entry.path());
    paths.filter(|path| path.to_string_lossy().contains(id)).map(|path| format!("state {}", path.display())).collect()
}

/// Folders of every hierarchy whose name has `id` in it, parents first.
pub fn cgroup_folders(id: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = cgroups::mount_points();
    while let Some(folder) = pending.pop() {
        // Folders of other tests come and go while this walks.
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            let path = entry.path();
            if path.to_string_lossy().contains(id) {
                found.push(path.clone());
            }
            pending.push(path);
        }
    }
    found
}

/// Living processes that belong to the container: by cgroup, by the variable `SKIFF_TEST_ID` that runtimes are started
/// with, or because they see the bundle's root file system.
pub fn processes(id: &str, bundle: &Path) -> Vec<(i32, String)> {
    let own = std::process::id();
    let entries = fs::read_dir("/proc").expect("procfs");
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| pid.unsigned_abs() != own && belongs(*pid, id, bundle)).map(|pid| (pid, describe(pid))).collect()
}

fn belongs(pid: i32, id: &str, bundle: &Path) -> bool {
    let read = |name: &str| fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let stat = String::from_utf8_lossy(&read("stat")).into_owned();
    // A zombie holds nothing and waits for its parent, which may be a pid 1 that never reaps.
    let ended = stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']));
    if ended {
        return false;
    }
    let contains = |name: &str| read(name).windows(id.len()).any(|window| window == id.as_bytes());
    let bundle_id = bundle.file_name().and_then(|name| name.to_str()).and_then(|name| name.rsplit_once('-'));
    let marked = bundle_id
        .is_some_and(|(bundle_id, _)| Path::new(&format!("/proc/{pid}/root")).join(marker(bundle_id)).exists());
    marked || contains("cgroup") || contains("environ")
}

fn describe(pid: i32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    format!("{} in {}", String::from_utf8_lossy(&line).replace('\0', " "), cgroup.replace('\n', " "))
}
