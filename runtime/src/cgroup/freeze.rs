//! Stops all processes of a container and lets them go on: the v1 `freezer` if there is one, else v2 (Linux 5.2).

use std::{
    fs, io,
    time::{Duration, Instant},
};

use super::{Dir, Error, Kind, Location, apply::write_file, error::chain, host::read, kill::is_gone};

/// How long a process in the kernel may take to reach a point where it can stop.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the state may lag behind a thaw, which waits for nobody.
const SHORT_PATIENCE: Duration = Duration::from_millis(200);

/// Stops every process; returns once all have stopped. Whatever goes wrong once one may have stopped, they are let go
/// again, and the error says so.
pub fn freeze(location: &Location) -> Result<(), Error> {
    let dir = freezer(location)?;
    write(dir, true)?;
    let Err(failure) = wait_until_frozen(dir) else { return Ok(()) };
    // Without a look at the state first: what cannot be read can often be written all the same.
    match write(dir, false) {
        Ok(()) => Err(Error::LetGo { source: Box::new(failure) }),
        Err(undo) => {
            Err(Error::HalfFrozen { path: dir.path.clone(), failure: chain(&failure), source: Box::new(undo) })
        }
    }
}

fn wait_until_frozen(dir: &Dir) -> Result<(), Error> {
    let start = Instant::now();
    while !reached(dir)? {
        if start.elapsed() > PATIENCE {
            let (path, seconds) = (dir.path.clone(), PATIENCE.as_secs());
            return Err(Error::FreezeTimeout { path, state: "frozen", seconds });
        }
        crate::patience::pause(Duration::from_millis(1));
        if dir.kind != Kind::V2 {
            // A v1 freezer can hang in FREEZING while processes fork; writing again makes it look again.
            write(dir, true)?;
        }
    }
    Ok(())
}

/// Lets every process go on. It takes effect at once, unless a cgroup above is frozen too, which is an error.
pub fn thaw(location: &Location) -> Result<(), Error> {
    let dir = freezer(location)?;
    write(dir, false)?;
    let start = Instant::now();
    while is_held(dir)? {
        if start.elapsed() > SHORT_PATIENCE {
            return Err(Error::FrozenAbove { path: dir.path.clone() });
        }
        crate::patience::pause(Duration::from_millis(1));
    }
    Ok(())
}

/// Lets killed processes end: one in a frozen cgroup of v1 dies only when it goes on, in v2 (or in no cgroup at all)
/// it dies anyway.
pub fn let_die(location: &Location) -> Result<(), Error> {
    let Some(dir) = location.v1("freezer") else { return Ok(()) };
    dir.check()?;
    thaw_dir(dir)
}

/// Whether the container is frozen, or about to be. Without a cgroup it is not.
pub fn is_frozen(location: &Location) -> Result<bool, Error> {
    freezer(location).map_or(Ok(false), is_dir_frozen)
}

fn freezer(location: &Location) -> Result<&Dir, Error> {
    let dir = location.v1("freezer").or(location.v2()).ok_or(Error::NoFreezer)?;
    dir.check()?;
    Ok(dir)
}

/// The file, its word for frozen and its word for not.
fn words(dir: &Dir) -> Option<(&'static str, &'static str, &'static str)> {
    match dir.kind {
        Kind::V2 => Some(("cgroup.freeze", "1", "0")),
        Kind::V1(_) if dir.kind.has_v1("freezer") => Some(("freezer.state", "FROZEN", "THAWED")),
        Kind::V1(_) => None,
    }
}

fn write(dir: &Dir, frozen: bool) -> Result<(), Error> {
    let (file, yes, no) = words(dir).ok_or(Error::NoFreezer)?;
    let (path, value) = (dir.path.join(file), if frozen { yes } else { no });
    match write_file(&path, value) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && dir.path.exists() => Err(Error::NoFreezer),
        result => result.map_err(|source| Error::Write { path, value: value.into(), source }),
    }
}

/// Whether its processes stand, or are about to, though it is not frozen by itself any more.
fn is_held(dir: &Dir) -> Result<bool, Error> {
    match dir.kind {
        Kind::V2 => reached(dir),
        // FREEZING counts: one above it is being frozen.
        Kind::V1(_) => is_dir_frozen(dir),
    }
}

fn reached(dir: &Dir) -> Result<bool, Error> {
    match dir.kind {
        Kind::V2 => read(dir.path.join("cgroup.events")).map(|events| events.contains("frozen 1")),
        Kind::V1(_) => read(dir.path.join("freezer.state")).map(|state| state.trim() == "FROZEN"),
    }
}

/// Whether this directory is frozen by itself. A hierarchy that cannot freeze is not, nor one that is removed
/// meanwhile.
pub(super) fn is_dir_frozen(dir: &Dir) -> Result<bool, Error> {
    let Some((file, _, thawed)) = words(dir) else { return Ok(false) };
    let path = dir.path.join(file);
    match fs::read_to_string(&path) {
        Ok(state) => Ok(state.trim() != thawed),
        Err(error) if is_gone(&error) => Ok(false),
        Err(source) => Err(Error::Read { path, source }),
    }
}

/// Lets the processes of one directory go on, so that a v1 freezer gives up those that were killed.
pub(super) fn thaw_dir(dir: &Dir) -> Result<(), Error> {
    if !is_dir_frozen(dir)? {
        return Ok(());
    }
    match write(dir, false) {
        // Removed since it was asked: nobody is held.
        Err(Error::Write { source, .. }) if is_gone(&source) && !dir.path.exists() => Ok(()),
        result => result,
    }
}
