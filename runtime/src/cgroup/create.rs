//! Makes the directories of a container, hands down the controllers its plan needs, and opens the unified one. What was
//! made is removed again if any of it fails.

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags};

use super::{Dir, Error, Kind, Location, Plan, apply::write_file, freeze, host::read, kill, remove};

/// The existing cgroups of a container.
#[derive(Debug)]
pub struct Cgroup {
    pub(super) location: Location,
    v2: Option<OwnedFd>,
    /// Directories that this process made, parents first.
    made: Vec<PathBuf>,
}

impl Cgroup {
    /// The directory in the unified hierarchy (O_PATH), for `CLONE_INTO_CGROUP` and bpf(2).
    pub fn v2_dir(&self) -> Option<BorrowedFd<'_>> {
        self.v2.as_ref().map(AsFd::as_fd)
    }

    /// Where it is.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Undoes [`create`]: removes what it made, parents included, as far as nobody else has moved in since. For a
    /// failure before the container exists; later [`remove`](super::remove()) is right.
    pub fn discard(self) {
        for dir in self.location.dirs.iter().filter(|dir| self.made.contains(&dir.path)) {
            // This is the way out of another error, which is the one to be told.
            let _told_already = remove::remove_dir(dir);
        }
        for path in self.made.iter().rev() {
            // Fails, as it should, for a leaf that is gone and for a parent that others use by now.
            let _used_by_others = fs::remove_dir(path);
        }
    }
}

/// Refuses a location where others live. To be asked *before* the location is written to the state file: what is in
/// the state file may be killed and removed by `delete --force` at any time.
pub fn vacant(location: &Location) -> Result<(), Error> {
    location.dirs.iter().try_for_each(|dir| {
        dir.check()?;
        refuse_in_use(dir)
    })
}

/// Makes the cgroups. An empty cgroup of that name is taken over; one with processes, or a frozen one, is refused.
pub fn create(location: &Location, plan: &Plan) -> Result<Cgroup, Error> {
    with_each(location, |cgroup, dir| fill(cgroup, dir, plan))
}

/// Opens the cgroups that systemd has made for a container and put its first process into, hands down what systemd does
/// not know of, and makes those in hierarchies of v1 that it does not use.
pub fn adopt(location: &Location, plan: &Plan) -> Result<Cgroup, Error> {
    with_each(location, |cgroup, dir| adopt_dir(cgroup, dir, plan))
}

/// Takes `step` for each directory; what was made is removed again if one fails.
fn with_each(
    location: &Location,
    mut step: impl FnMut(&mut Cgroup, &Dir) -> Result<(), Error>,
) -> Result<Cgroup, Error> {
    let mut cgroup = Cgroup { location: location.clone(), v2: None, made: Vec::new() };
    match location.dirs.iter().try_for_each(|dir| step(&mut cgroup, dir)) {
        Ok(()) => Ok(cgroup),
        Err(error) => {
            cgroup.discard();
            Err(error)
        }
    }
}

fn adopt_dir(cgroup: &mut Cgroup, dir: &Dir, plan: &Plan) -> Result<(), Error> {
    dir.check()?;
    match dir.kind {
        Kind::V2 => {
            cgroup.v2 = Some(open_dir(&dir.path)?);
            hand_down(dir, plan)
        }
        Kind::V1(_) => make_v1(dir, &mut cgroup.made),
    }
}

/// A user who is not root (`rootless`) has usually no part of the cgroup tree to call their own. Without limits to enforce that is
/// no obstacle: the container stays in the cgroup of its maker, as with runc.
pub fn create_or_stay(location: &Location, plan: &Plan, rootless: bool) -> Result<Cgroup, Error> {
    match create(location, plan) {
        Err(error) if rootless && error.is_denied() && plan.is_empty() => create(&Location::default(), plan),
        created => created,
    }
}

/// Opens the cgroups of an existing container, for a further process.
pub fn open(location: &Location) -> Result<Cgroup, Error> {
    location.dirs.iter().try_for_each(Dir::check)?;
    let v2 = location.v2().map(|dir| open_dir(&dir.path)).transpose()?;
    Ok(Cgroup { location: location.clone(), v2, made: Vec::new() })
}

fn fill(cgroup: &mut Cgroup, dir: &Dir, plan: &Plan) -> Result<(), Error> {
    dir.check()?;
    if !make(&dir.mount, &dir.path, &mut cgroup.made)? {
        refuse_in_use(dir)?;
    }
    if dir.kind == Kind::V2 {
        hand_down(dir, plan)?;
        cgroup.v2 = Some(open_dir(&dir.path)?);
    }
    if dir.kind.has_v1("cpuset") {
        inherit_cpuset(&dir.mount, &dir.path)?;
    }
    Ok(())
}

/// Makes a directory of version 1 that may be there already, ready to take processes.
pub(super) fn make_v1(dir: &Dir, made: &mut Vec<PathBuf>) -> Result<(), Error> {
    make(&dir.mount, &dir.path, made)?;
    if dir.kind.has_v1("cpuset") { inherit_cpuset(&dir.mount, &dir.path) } else { Ok(()) }
}

fn open_dir(path: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
        .map_err(|errno| Error::Open { path: path.into(), source: errno.into() })
}

/// Makes `path` and, only if it must, its parents below `mount`. False if `path` was there. A parent can vanish while
/// it is used, if another runtime cleans up, so a few attempts are made.
fn make(mount: &Path, path: &Path, made: &mut Vec<PathBuf>) -> Result<bool, Error> {
    let failed = |source| Error::Make { path: path.into(), source };
    for _attempt in 0..4 {
        match fs::create_dir(path) {
            Ok(()) => {
                made.push(path.into());
                return Ok(true);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        match path.parent().filter(|parent| *parent != mount && parent.starts_with(mount)) {
            Some(parent) => make(mount, parent, made)?,
            None => break,
        };
    }
    Err(failed(io::ErrorKind::NotFound.into()))
}

fn refuse_in_use(dir: &Dir) -> Result<(), Error> {
    let path = || dir.path.clone();
    let populated = match dir.kind {
        Kind::V2 => match fs::read_to_string(dir.path.join("cgroup.events")) {
            Ok(events) => events.contains("populated 1"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(Error::Read { path: dir.path.join("cgroup.events"), source }),
        },
        Kind::V1(_) => !kill::tree_pids(&dir.path)?.is_empty(),
    };
    if populated {
        return Err(Error::Populated { path: path() });
    }
    if freeze::is_dir_frozen(dir)? { Err(Error::Frozen { path: path() }) } else { Ok(()) }
}

/// Enables what the plan needs in every level from the mount point to the parent of the container's cgroup. Usually
/// that is done already, which one look at the parent tells; else one write a level.
pub(super) fn hand_down(dir: &Dir, plan: &Plan) -> Result<(), Error> {
    if plan.enable.is_empty() && plan.wish.is_empty() {
        return Ok(());
    }
    let Some(parent) = dir.path.parent() else { return Ok(()) };
    let wanted: Vec<&str> = plan.enable.iter().chain(&plan.wish).map(String::as_str).collect();
    if missing(parent, &wanted)?.is_empty() {
        return Ok(());
    }
    let mut levels: Vec<&Path> = parent.ancestors().take_while(|level| level.starts_with(&dir.mount)).collect();
    levels.reverse();
    for level in levels {
        let all = missing(level, &wanted)?;
        if all.is_empty() || enable(level, &all).is_ok() {
            continue;
        }
        // A wish alone is not worth an error. One write takes all or nothing, so what is needed is written again.
        let needed: Vec<&str> = all.into_iter().filter(|word| plan.enable.iter().any(|need| need == word)).collect();
        if !needed.is_empty() {
            enable(level, &needed)?;
        }
    }
    Ok(())
}

fn missing<'a>(level: &Path, wanted: &[&'a str]) -> Result<Vec<&'a str>, Error> {
    let have = read(level.join("cgroup.subtree_control"))?;
    Ok(wanted.iter().filter(|word| !have.split_whitespace().any(|enabled| enabled == **word)).copied().collect())
}

fn enable(level: &Path, controllers: &[&str]) -> Result<(), Error> {
    let path = level.join("cgroup.subtree_control");
    let line = controllers.iter().map(|word| format!("+{word}")).collect::<Vec<_>>().join(" ");
    write_file(&path, &line).map_err(|source| {
        let hint = match source.raw_os_error() {
            Some(libc::EBUSY) => {
                "; this cgroup has processes of its own, and cgroup v2 then hands nothing down: choose a \
                 `linux.cgroupsPath` below a cgroup without processes"
            }
            Some(libc::ENOENT) => "; the cgroup above it does not hand them down",
            Some(libc::EOPNOTSUPP) => "; a threaded cgroup cannot hand them down",
            _ => "",
        };
        Error::Enable { controllers: line, path, hint, source }
    })
}

/// A new cpuset of v1 is empty and takes no process (ENOSPC) until it has CPUs and memory nodes: each level takes its
/// parent's.
fn inherit_cpuset(mount: &Path, path: &Path) -> Result<(), Error> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        inherit(mount, path, file)?;
    }
    Ok(())
}

fn inherit(mount: &Path, path: &Path, file: &str) -> Result<String, Error> {
    let mine = read(path.join(file))?.trim().to_owned();
    if !mine.is_empty() || path == mount {
        return Ok(mine);
    }
    let parent = path.parent().expect("a path below the mount point has a parent");
    let value = inherit(mount, parent, file)?;
    let target = path.join(file);
    write_file(&target, &value).map_err(|source| Error::Write { path: target, value: value.clone(), source })?;
    Ok(value)
}
