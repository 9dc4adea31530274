//! How often the kernel killed a process of the container for want of memory, and when it may have.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd};
use rustix::fs::CWD;

use super::{
    Error, Location,
    kill::{is_gone, open_dir, open_file, walk},
};

/// How many levels of cgroups below the container's are looked into.
const DEEPEST: u32 = 32;

/// What the kernel gives notice with when a process may have been killed. It may come a moment before the count moves.
#[derive(Debug)]
pub enum Notice {
    /// `memory.events` of version 2: poll(2) says that it has changed, until it is read.
    File(File),
    /// Version 1 (cgroup-v1/memory.txt, section 9).
    Counter(OwnedFd),
}

impl Notice {
    /// Asks for notices; none without a memory controller.
    ///
    /// # Errors
    /// When the kernel gives none.
    pub fn of(location: &Location) -> Result<Option<Self>, Error> {
        let failed = |path: std::path::PathBuf| move |source| Error::Read { path, source };
        match (location.v1("memory"), location.v2()) {
            (Some(dir), _) => match version_1(&dir.path) {
                Err(error) if is_gone(&error) => Ok(None),
                asked => asked.map(Some).map_err(failed(dir.path.join("memory.oom_control"))),
            },
            (None, Some(dir)) => {
                let path = dir.path.join("memory.events");
                match File::open(&path) {
                    Err(error) if is_gone(&error) => Ok(None),
                    opened => opened.map(|file| Some(Self::File(file))).map_err(failed(path)),
                }
            }
            (None, None) => Ok(None),
        }
    }

    /// What to wait for.
    #[must_use]
    pub fn waits(&self) -> PollFd<'_> {
        match self {
            Self::File(file) => PollFd::new(file, PollFlags::PRI),
            Self::Counter(counter) => PollFd::new(counter, PollFlags::IN),
        }
    }

    /// Takes a notice, so that the next one is another.
    ///
    /// # Errors
    /// The kernel's; `ENODEV` when the cgroup is gone.
    pub fn take(&self) -> io::Result<()> {
        let mut bytes = [0; 512];
        match self {
            Self::File(file) => std::os::unix::fs::FileExt::read_at(file, &mut bytes, 0)?,
            Self::Counter(counter) => rustix::io::read(counter.as_fd(), &mut bytes)?,
        };
        Ok(())
    }
}

fn version_1(folder: &std::path::Path) -> io::Result<Notice> {
    let counter = eventfd(0, EventfdFlags::CLOEXEC)?;
    let control = File::open(folder.join("memory.oom_control"))?;
    let line = format!("{} {}", counter.as_raw_fd(), control.as_raw_fd());
    fs::write(folder.join("cgroup.event_control"), line)?;
    Ok(Notice::Counter(counter))
}

/// The count of OOM kills since the cgroup was made: `memory.events` of v2, `memory.oom_control` of v1 (Linux 4.13).
/// Zero without a memory controller.
pub fn oom_kills(location: &Location) -> Result<u64, Error> {
    let (path, counted) = match (location.v1("memory"), location.v2()) {
        (Some(dir), _) => {
            (dir.path.join("memory.oom_control"), open_dir(CWD, &dir.path).and_then(|top| tree_kills(&top)))
        }
        (None, Some(dir)) => {
            let path = dir.path.join("memory.events");
            let counted = fs::read_to_string(&path).map(|text| count(&text));
            (path, counted)
        }
        (None, None) => return Ok(0),
    };
    match counted {
        Ok(count) => Ok(count),
        Err(error) if is_gone(&error) => Ok(0),
        Err(source) => Err(Error::Read { path, source }),
    }
}

/// In version 1 each cgroup counts what was killed in it alone, so a container's are added up. With one that is removed goes
/// its count.
fn tree_kills(top: &OwnedFd) -> io::Result<u64> {
    let mut sum = 0;
    // A container that makes more levels than anybody needs hides its kills from itself alone.
    walk(top, DEEPEST, &mut |dir| {
        let mut text = String::new();
        open_file(dir, "memory.oom_control")?.read_to_string(&mut text)?;
        sum += count(&text);
        Ok(())
    })?;
    Ok(sum)
}

fn count(text: &str) -> u64 {
    let value = |line: &str| line.strip_prefix("oom_kill ").and_then(|number| number.trim().parse().ok());
    text.lines().find_map(value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn both_versions_spell_it_alike() {
        assert_eq!(count("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n"), 2);
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n"), 7);
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\n"), 0);
    }
}
