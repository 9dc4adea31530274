//! Where a container's cgroups are: one directory a hierarchy, worked out from `linux.cgroupsPath` by runc's rules, and
//! recorded in the state file so that killing and removing need no second look at the host.

use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{
    Error, Host,
    host::{Hierarchy, Kind, read},
};

/// The cgroup directories of one container. Empty if cgroups are disabled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Location {
    /// The unified hierarchy comes first.
    pub dirs: Vec<Dir>,
}

/// The directory of a container in one hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dir {
    /// Version and controllers of the hierarchy.
    pub kind: Kind,
    /// Where the hierarchy is mounted; nothing at or above it is ever changed.
    pub mount: PathBuf,
    /// The container's own directory, strictly below `mount`.
    pub path: PathBuf,
}

/// The cgroups of the runtime itself: /proc/self/cgroup, see cgroups(7).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnCgroups {
    /// Controllers (none for v2, `name=...` for a named hierarchy) and the path.
    entries: Vec<(Vec<String>, String)>,
}

impl Location {
    /// The directory in the unified hierarchy.
    pub fn v2(&self) -> Option<&Dir> {
        self.dirs.iter().find(|dir| dir.kind == Kind::V2)
    }

    /// What systemd calls this place: the path from the root of the hierarchy by which it knows its units.
    pub fn control_group(&self) -> Option<PathBuf> {
        let dir = self.v2().or_else(|| self.v1("name=systemd"))?;
        dir.path.strip_prefix(&dir.mount).ok().map(|path| Path::new("/").join(path))
    }

    /// The directory in the v1 hierarchy of `controller`.
    pub fn v1(&self, controller: &str) -> Option<&Dir> {
        self.dirs.iter().find(|dir| dir.kind.has_v1(controller))
    }
}

/// A cgroup below a container's own, for one process of it (`exec --cgroup`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Below {
    /// In the hierarchies of version 1 of these controllers; in every hierarchy if there are none.
    pub controllers: Vec<String>,
    /// From the container's own.
    pub path: PathBuf,
}

impl Below {
    /// Takes it from a command line, where it reads `[controller[,controller]:]path`, as runc has it.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.split_once(':') {
            Some((controllers, path)) => {
                Self { controllers: controllers.split(',').map(str::to_owned).collect(), path: path.into() }
            }
            None => Self { controllers: Vec::new(), path: text.into() },
        }
    }

    /// Where that is: everything that `own` has and this does not name stays.
    ///
    /// # Errors
    /// [`Error::Below`] for what is not below, for a controller without a hierarchy of version 1, and for a cgroup that is not
    /// there.
    pub fn of(all: &[Self], own: &Location) -> Result<Location, Error> {
        let mut location = own.clone();
        for below in all {
            let refuse = |reason| Error::Below { path: below.path.clone(), reason };
            let parts =
                || below.path.components().filter(|part| !matches!(part, Component::RootDir | Component::CurDir));
            if !parts().all(|part| matches!(part, Component::Normal(_))) {
                return Err(refuse("it has to be below the container's own cgroup".into()));
            }
            let relative: PathBuf = parts().collect();
            let lacks = |name: &&String| own.v1(name).is_none();
            if let Some(name) = below.controllers.iter().find(lacks) {
                return Err(refuse(format!("the container has no cgroup of version 1 with controller `{name}`")));
            }
            let is_meant = |dir: &&mut Dir| {
                below.controllers.is_empty() || below.controllers.iter().any(|name| dir.kind.has_v1(name))
            };
            for dir in location.dirs.iter_mut().filter(is_meant) {
                dir.path.push(&relative);
                if !dir.path.is_dir() {
                    return Err(refuse(format!("`{}` is not there; make it first", dir.path.display())));
                }
            }
        }
        Ok(location)
    }
}

impl Dir {
    /// Refuses a directory that is not strictly below its mount point: it came from a damaged state file.
    pub(super) fn check(&self) -> Result<(), Error> {
        let below = self.path.strip_prefix(&self.mount).is_ok_and(|rest| {
            rest.components().next().is_some() && rest.components().all(|part| matches!(part, Component::Normal(_)))
        });
        if below { Ok(()) } else { Err(Error::Foreign { path: self.path.clone(), mount: self.mount.clone() }) }
    }
}

impl OwnCgroups {
    /// Reads /proc/self/cgroup.
    pub fn read() -> Result<OwnCgroups, Error> {
        read("/proc/self/cgroup").map(|text| OwnCgroups::parse(&text))
    }

    /// Parses the text of /proc/self/cgroup; lines that are none of the kernel's are skipped.
    pub fn parse(text: &str) -> OwnCgroups {
        let entry = |line: &str| {
            let (_hierarchy, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            let controllers = controllers.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect();
            Some((controllers, path.to_owned()))
        };
        OwnCgroups { entries: text.lines().filter_map(entry).collect() }
    }

    fn path(&self, kind: &Kind) -> Option<&str> {
        let found = self.entries.iter().find(|(controllers, _)| match kind {
            Kind::V2 => controllers.is_empty(),
            Kind::V1(words) => controllers.iter().any(|word| words.contains(word)),
        });
        found.map(|(_, path)| path.as_str())
    }
}

/// [`locate`] on the running host: reads /proc/self/cgroup, but only if the path is not absolute.
pub fn find(host: &Host, cgroups_path: Option<&Path>, id: &str) -> Result<Location, Error> {
    let absolute = cgroups_path.is_some_and(Path::is_absolute);
    let own = if absolute || host.disabled { OwnCgroups::default() } else { OwnCgroups::read()? };
    locate(host, cgroups_path, id, &own)
}

/// Works out the directories of container `id`. An absolute `linux.cgroupsPath` starts at each hierarchy's mount point;
/// a relative one (or, if absent, the id) is put beside the runtime's own cgroup on v2, which has processes and so could
/// not hand controllers down, and below it on v1. Errors name the path.
pub fn locate(host: &Host, cgroups_path: Option<&Path>, id: &str, own: &OwnCgroups) -> Result<Location, Error> {
    let wanted = cgroups_path.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new(id));
    let relative = below(wanted)?;
    if host.disabled {
        return Ok(Location::default());
    }
    if host.hierarchies.is_empty() {
        return Err(Error::NoHierarchy);
    }
    let dir = |hierarchy: &Hierarchy| {
        let start = if wanted.is_absolute() { hierarchy.mount.clone() } else { beside(hierarchy, own)? };
        Ok(Dir { kind: hierarchy.kind.clone(), mount: hierarchy.mount.clone(), path: start.join(&relative) })
    };
    host.hierarchies.iter().map(dir).collect::<Result<_, Error>>().map(|dirs| Location { dirs })
}

/// The path without its leading slash, if it can be trusted to name a place strictly below where it is joined.
fn below(wanted: &Path) -> Result<PathBuf, Error> {
    let refuse = |reason| Err(Error::BadPath { path: wanted.into(), reason });
    let text = wanted.to_string_lossy();
    if !wanted.is_absolute() && text.matches(':').count() == 2 {
        return refuse(
            "this is the form `slice:prefix:name` of the systemd driver; give a path such as `/skiff/name`, or \
                       --systemd-cgroup",
        );
    }
    if text.contains(['\n', '\0']) {
        return refuse("a cgroup's name holds neither newline nor NUL");
    }
    let mut relative = PathBuf::new();
    for part in wanted.components() {
        match part {
            Component::Normal(name) => relative.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return refuse("it may not contain `..`"),
        }
    }
    if relative.as_os_str().is_empty() {
        return refuse("it names the root of the hierarchy; give a path such as `/skiff/name`");
    }
    Ok(relative)
}

/// The directory in which a relative path starts.
fn beside(hierarchy: &Hierarchy, own: &OwnCgroups) -> Result<PathBuf, Error> {
    let path = own.path(&hierarchy.kind).unwrap_or("/");
    let not_visible = || Error::OwnNotVisible { own: path.to_owned(), mount: hierarchy.mount.clone() };
    // `/..` stands in /proc/self/cgroup for a cgroup above the root of the cgroup namespace (cgroup_namespaces(7)).
    let seen = Path::new(path).strip_prefix(&hierarchy.root).map_err(|_| not_visible())?;
    if seen.components().any(|part| part == Component::ParentDir) {
        return Err(not_visible());
    }
    let start = match hierarchy.kind {
        Kind::V2 => seen.parent().unwrap_or(Path::new("")),
        Kind::V1(_) => seen,
    };
    Ok(hierarchy.mount.join(start))
}

#[cfg(test)]
mod tests;
