//! Where the kernel keeps the controllers of a process: the hierarchies that are mounted, and the process's place in
//! each. On a hybrid host some controllers are on version 1 and others on version 2; each is looked for where it is.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Why a cgroup cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// There is none, or none that could be found.
    #[error("task `{0}` has no cgroup that could be found, so there are no figures")]
    None(String),
    /// This process cannot be moved.
    #[error("the shim cannot enter cgroup `{path}`")]
    Enter { path: PathBuf, source: io::Error },
    /// A path that leads out.
    #[error("cgroup `{0}` is not an absolute path without `..`")]
    Path(String),
}

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hierarchy {
    /// Its controllers on version 1; nothing on version 2.
    controllers: Vec<String>,
    /// Which part of it is mounted.
    root: PathBuf,
    place: PathBuf,
}

/// The folders of one process's controllers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cgroups {
    /// Version 1, by controller.
    v1: BTreeMap<String, PathBuf>,
    /// Version 2.
    unified: Option<PathBuf>,
}

impl Cgroups {
    /// Those of a live process.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let places = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let found = find(&mounts, &places);
        (!found.v1.is_empty() || found.unified.is_some()).then_some(found)
    }

    /// The folder of a version 1 controller.
    pub(crate) fn v1(&self, controller: &str) -> Option<&Path> {
        self.v1.get(controller).map(PathBuf::as_path)
    }

    /// The folder on version 2.
    pub(crate) fn unified(&self) -> Option<&Path> {
        self.unified.as_deref()
    }

    /// Whether any of the controllers that matter is on version 1.
    pub(crate) fn is_v1(&self) -> bool {
        ["memory", "cpuacct", "cpu", "pids"].iter().any(|controller| self.v1.contains_key(*controller))
    }
}

/// Puts this process into a cgroup of its own name in every hierarchy; the folders are made where they are missing.
///
/// # Errors
/// [`Error::Path`] and [`Error::Enter`].
pub(crate) fn enter(path: &str) -> Result<(), Error> {
    let relative = path.strip_prefix('/').filter(|rest| !rest.split('/').any(|part| part == ".."));
    let relative = relative.ok_or_else(|| Error::Path(path.to_owned()))?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    for hierarchy in hierarchies(&mounts) {
        let folder = hierarchy.place.join(relative);
        let failed = |source| Error::Enter { path: folder.clone(), source };
        make(&hierarchy.place, relative).map_err(failed)?;
        let entered = fs::write(folder.join("cgroup.procs"), std::process::id().to_string());
        match entered {
            // A cpuset without processors takes nobody; it limits nothing either.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NOSPC.raw_os_error()) => {}
            other => other.map_err(failed)?,
        }
    }
    Ok(())
}

fn make(place: &Path, relative: &str) -> io::Result<()> {
    let mut folder = place.to_path_buf();
    for part in relative.split('/').filter(|part| !part.is_empty()) {
        folder.push(part);
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Joins the places of a process (`/proc/PID/cgroup`) to where the hierarchies are mounted.
fn find(mounts: &str, places: &str) -> Cgroups {
    let hierarchies = hierarchies(mounts);
    let mut found = Cgroups::default();
    for line in places.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(place)) = (fields.next(), fields.next(), fields.next()) else { continue };
        let controllers: Vec<&str> = controllers.split(',').filter(|name| !name.is_empty()).collect();
        let same = |hierarchy: &&Hierarchy| match controllers.first() {
            Some(first) => hierarchy.controllers.iter().any(|name| name == first),
            None => hierarchy.controllers.is_empty(),
        };
        let Some(folder) = hierarchies.iter().find(same).and_then(|hierarchy| hierarchy.folder(place)) else {
            continue;
        };
        if controllers.is_empty() {
            found.unified = Some(folder);
        } else {
            found.v1.extend(controllers.into_iter().map(|name| (name.to_owned(), folder.clone())));
        }
    }
    found
}

impl Hierarchy {
    /// Where `place` is seen; nowhere if another part of the hierarchy is mounted.
    fn folder(&self, place: &str) -> Option<PathBuf> {
        Some(self.place.join(Path::new(place).strip_prefix(&self.root).ok()?))
    }
}

/// The hierarchies in a `mountinfo` (proc(5)): `36 35 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory`.
fn hierarchies(mounts: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mounts.lines() {
        let Some((before, after)) = line.split_once(" - ") else { continue };
        let mut before = before.split(' ').skip(3);
        let (Some(root), Some(place)) = (before.next(), before.next()) else { continue };
        let mut after = after.split(' ');
        let controllers: Vec<String> = match after.next() {
            Some("cgroup2") => Vec::new(),
            Some("cgroup") => {
                let options = after.nth(1).unwrap_or_default();
                let own = |word: &&str| !matches!(*word, "rw" | "ro" | "xattr" | "noprefix" | "clone_children");
                options.split(',').filter(own).map(str::to_owned).collect()
            }
            Some(_) | None => continue,
        };
        // The same hierarchy may be mounted twice; the first one is where everybody looks.
        if !found.iter().any(|other| other.controllers == controllers) {
            found.push(Hierarchy { controllers, root: unescape(root).into(), place: unescape(place).into() });
        }
    }
    found
}

/// A space in a path is written `\040`.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
24 1 0:22 / /sys rw - sysfs sysfs rw
29 28 0:24 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
30 28 0:25 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct
31 28 0:26 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory
32 28 0:27 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
33 28 0:26 / /mnt/again rw - cgroup cgroup rw,memory
34 28 0:28 /docker/x /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
";

    #[test]
    fn controllers_are_found_where_they_are() {
        let places =
            "5:pids:/docker/x/skiff/web\n4:memory:/skiff/web\n3:cpu,cpuacct:/skiff/web\n1:name=systemd:/\n0::/a\n";
        let found = find(HYBRID, places);
        assert_eq!(found.v1("memory"), Some(Path::new("/sys/fs/cgroup/memory/skiff/web")));
        assert_eq!(found.v1("cpu"), Some(Path::new("/sys/fs/cgroup/cpu,cpuacct/skiff/web")));
        assert_eq!(found.v1("cpuacct"), found.v1("cpu"));
        assert_eq!(found.v1("pids"), Some(Path::new("/sys/fs/cgroup/pids/skiff/web")));
        assert_eq!(found.v1("blkio"), None);
        assert_eq!(found.unified(), Some(Path::new("/sys/fs/cgroup/unified/a")));
        assert!(found.is_v1());
    }

    #[test]
    fn a_part_that_is_not_mounted_is_not_guessed() {
        assert_eq!(find(HYBRID, "5:pids:/elsewhere\n"), Cgroups::default());
    }

    #[test]
    fn version_two_alone() {
        let mounts = "29 28 0:24 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let found = find(mounts, "0::/skiff/web\n");
        assert_eq!(found.unified(), Some(Path::new("/sys/fs/cgroup/skiff/web")));
        assert!(!found.is_v1());
    }

    #[test]
    fn this_process_has_a_place() {
        assert!(Cgroups::of(std::process::id()).is_some());
        assert_eq!(Cgroups::of(u32::MAX), None);
    }

    #[test]
    fn paths_that_lead_out_are_refused() {
        for path in ["", "relative", "/a/../b"] {
            assert!(matches!(enter(path), Err(Error::Path(_))), "{path}");
        }
    }
}
