//! Where the kernel keeps the limits: finds the hierarchies of this machine and the folder of a process in each.

use std::fs;
use std::path::PathBuf;

/// How cgroups are laid out here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// cgroup2 alone on `/sys/fs/cgroup`.
    Unified,
    /// v1 hierarchies, with or without a cgroup2 beside them.
    Legacy,
}

/// The layout of this machine.
pub fn layout() -> Layout {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("procfs");
    let unified = table.lines().any(|line| line.contains(" /sys/fs/cgroup ") && line.contains(" - cgroup2 "));
    if unified { Layout::Unified } else { Layout::Legacy }
}

/// Mount points of every hierarchy.
pub fn mount_points() -> Vec<PathBuf> {
    hierarchies().into_iter().map(|hierarchy| hierarchy.mount_point).collect()
}

/// The folder of process `pid` in the v1 hierarchy of `controller`, or in cgroup2 where none has it (`""`: in cgroup2).
pub fn folder(pid: u32, controller: &str) -> Option<PathBuf> {
    let paths = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let hierarchies = hierarchies();
    let is_v1 = hierarchies.iter().any(|hierarchy| hierarchy.controllers.iter().any(|name| name == controller));
    let wanted = if is_v1 { controller } else { "" };
    let path = paths.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        controllers.split(',').any(|name| name == wanted).then(|| path.to_owned())
    })?;
    let hierarchy = hierarchies.into_iter().find(|hierarchy| match wanted {
        "" => hierarchy.controllers.is_empty(),
        name => hierarchy.controllers.iter().any(|controller| controller == name),
    })?;
    Some(hierarchy.mount_point.join(path.trim_start_matches('/')))
}

/// A file of the cgroup of process `pid`, trimmed.
pub fn read(pid: u32, controller: &str, file: &str) -> String {
    let folder = folder(pid, controller).unwrap_or_else(|| panic!("{controller} has no hierarchy here"));
    let path = folder.join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.trim().to_owned()
}

/// Whether some hierarchy here has this controller.
pub fn has(controller: &str) -> bool {
    match layout() {
        Layout::Legacy => {
            hierarchies().iter().any(|hierarchy| hierarchy.controllers.iter().any(|name| name == controller))
        }
        Layout::Unified => {
            let list = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
            list.split_whitespace().any(|name| name == controller)
        }
    }
}

struct Hierarchy {
    mount_point: PathBuf,
    /// Empty for cgroup2.
    controllers: Vec<String>,
}

fn hierarchies() -> Vec<Hierarchy> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("procfs");
    let mut found = Vec::new();
    for line in table.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let mount_point = PathBuf::from(left.split(' ').nth(4).unwrap_or_default());
        let mut fields = right.split(' ');
        match fields.next() {
            Some("cgroup2") => found.push(Hierarchy { mount_point, controllers: Vec::new() }),
            Some("cgroup") => {
                let options = fields.nth(1).unwrap_or_default();
                let controllers = options.split(',').skip(1).map(str::to_owned).collect();
                found.push(Hierarchy { mount_point, controllers });
            }
            _ => {}
        }
    }
    found
}
