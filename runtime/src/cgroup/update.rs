//! Changes the limits of a living container by the same plan that set them when it was made. What hangs together with a
//! value that is not named is taken from the kernel's files; each write is noted, and undone if a later one fails.

mod observed;
mod undo;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxResources;

use super::{
    Cgroup, DeviceControl, Dir, Error, Host, Location, Plan, Write,
    apply::{may_lack, set_failed, write_file},
    create::{hand_down, open},
    error::chain,
    plan,
};
use observed::Observed;

/// Who else keeps the limits, and is told of them once the kernel has taken them.
pub type Keeper<'a> = &'a mut dyn FnMut(&Plan) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Changes the limits that `resources` names, and no others. Its device rules are not looked at. After an error all is
/// as it was before, unless it is [`Error::NotSetBack`]. `delegated` is the cgroup from which on a user has a say.
pub fn update(
    location: &Location,
    resources: &LinuxResources,
    delegated: Option<&Path>,
    keeper: Option<Keeper<'_>>,
) -> Result<(), Error> {
    let cgroup = open(location)?;
    let mut host = Host::of(location, Some(resources))?;
    if let Some(below) = delegated {
        host = host.delegated(below)?;
    }
    let observed = Observed::read(location);
    let plan = decide(resources, &observed, &host)?;
    if let Some(dir) = location.v2() {
        // A controller that is enabled for a file that will not be there would be a change, too.
        plan.writes.iter().try_for_each(|write| knows_pages(dir, write))?;
        hand_down(dir, &plan)?;
    }
    cgroup.check_memory(&plan)?;
    // The kernel does not let a cpuset become empty again, so nothing that can fail comes after.
    let (last, first): (Vec<&Write>, Vec<&Write>) = plan.writes.iter().partition(|write| write.controller == "cpuset");
    let writes = first.into_iter().chain(&plan.memory).chain(last);
    let steps = writes.filter_map(|write| step(&cgroup, write).transpose());
    let notes = perform(&steps.collect::<Result<Vec<_>, Error>>()?)?;
    match keeper.map_or(Ok(()), |keep| keep(&plan)) {
        Ok(()) => Ok(()),
        Err(source) => Err(set_back(&notes, Error::NotKept(source))),
    }
}

/// What is to be written, in an order that the kernel accepts.
fn decide(resources: &LinuxResources, observed: &Observed, host: &Host) -> Result<Plan, Error> {
    let complete = observed::complete(resources, observed)?;
    let mut plan = plan(Some(&complete), host, DeviceControl::Skip)?;
    observed::order(&mut plan, observed);
    // Statistics that nobody asked for at its creation are no business of an update.
    plan.wish.clear();
    Ok(plan)
}

/// Refuses a limit on pages of a size that this kernel has not (Documentation/admin-guide/mm/hugetlbpage.rst).
fn knows_pages(dir: &Dir, write: &Write) -> Result<(), Error> {
    let Some((file, value)) = write.tries.first().filter(|_| write.controller == "hugetlb") else { return Ok(()) };
    let Ok(entries) = fs::read_dir("/sys/kernel/mm/hugepages") else { return Ok(()) };
    let size = |name: &str| name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok();
    let mut sizes = entries.flatten().filter_map(|entry| size(&entry.file_name().to_string_lossy()));
    if may_lack(write) || sizes.any(|size| file.starts_with(&format!("hugetlb.{}.", page_size(size)))) {
        return Ok(());
    }
    Err(set_failed(write, dir.path.join(file.as_ref()), value, io::Error::from_raw_os_error(libc::ENOENT)))
}

/// What the files of the controller call a size in KiB (`mem_fmt` in mm/hugetlb_cgroup.c).
fn page_size(kib: u64) -> String {
    match kib {
        _ if kib >= 1 << 20 => format!("{}GB", kib >> 20),
        _ if kib >= 1 << 10 => format!("{}MB", kib >> 10),
        _ => format!("{kib}KB"),
    }
}

/// A write with its file chosen.
struct Step<'a> {
    write: &'a Write,
    path: PathBuf,
    file: &'a str,
    value: &'a str,
}

/// Chooses the first file that exists. None is needed for a value that the kernel keeps to anyway.
fn step<'a>(cgroup: &Cgroup, write: &'a Write) -> Result<Option<Step<'a>>, Error> {
    let dir = cgroup.dir(write)?;
    let mut last = None;
    for (file, value) in &write.tries {
        let path = dir.path.join(file.as_ref());
        if path.exists() {
            return Ok(Some(Step { write, path, file, value }));
        }
        last = Some((path, value));
    }
    let absent = || io::Error::from_raw_os_error(libc::ENOENT);
    if !dir.path.exists() {
        return Err(Error::Open { path: dir.path.clone(), source: absent() });
    }
    match last {
        Some((path, value)) if !may_lack(write) => Err(set_failed(write, path, value, absent())),
        _ => Ok(None),
    }
}

/// What is needed to set one file back.
struct Note {
    path: PathBuf,
    /// `None` if it cannot be told from what the file said.
    lines: Option<Vec<String>>,
    /// What comes to the same if the kernel does not take those.
    instead: Option<String>,
}

impl Note {
    fn set_back(&self) -> io::Result<()> {
        let Some(lines) = &self.lines else {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "the file does not tell what it said before"));
        };
        let written = lines.iter().try_for_each(|line| write_file(&self.path, line));
        match (written, &self.instead) {
            (Err(_), Some(line)) => write_file(&self.path, line),
            (written, _) => written,
        }
    }
}

/// What an empty cpuset of v2 is in effect: all that the cgroup above has. One with processes does not become empty
/// again (ENOSPC).
fn effective(step: &Step<'_>) -> Option<String> {
    let path = step.path.with_file_name(format!("{}.effective", step.file));
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// Gives what it takes to undo it all.
fn perform(steps: &[Step<'_>]) -> Result<Vec<Note>, Error> {
    let mut notes = Vec::new();
    for step in steps {
        let before = fs::read_to_string(&step.path).ok();
        if before.as_deref().is_some_and(|before| before.trim() == step.value) {
            continue;
        }
        let instead = before.as_deref().filter(|before| before.trim().is_empty()).and_then(|_| effective(step));
        let mut lines = step.value.lines();
        let mut written = lines.next().map_or(Ok(()), |line| write_file(&step.path, line));
        if written.is_ok() {
            let lines = before.as_deref().and_then(|before| undo::lines(step.file, step.value, before));
            notes.push(Note { path: step.path.clone(), lines, instead });
            written = lines_after_first(step);
        }
        if let Err(source) = written {
            let failure = set_failed(step.write, step.path.clone(), step.value, source);
            return Err(set_back(&notes, failure));
        }
    }
    Ok(notes)
}

/// Most files take one line a write, and raw keys may have several.
fn lines_after_first(step: &Step<'_>) -> io::Result<()> {
    step.value.lines().skip(1).try_for_each(|line| write_file(&step.path, line))
}

/// Undoes in the opposite order, so that each state on the way back is one that the kernel accepted on the way there.
/// All is tried before the first thing that fails is told.
fn set_back(notes: &[Note], failure: Error) -> Error {
    let mut first = None;
    for note in notes.iter().rev() {
        let value = || note.lines.as_deref().unwrap_or_default().join("; ").trim().to_owned();
        if let Err(source) = note.set_back() {
            first.get_or_insert_with(|| (note.path.clone(), value(), source));
        }
    }
    match first {
        None => failure,
        Some((path, value, source)) => Error::NotSetBack { path, value, failure: chain(&failure), source },
    }
}

#[cfg(test)]
mod tests;
