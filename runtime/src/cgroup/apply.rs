//! Performs a plan on the cgroups of a container: moves processes in, writes values, attaches the device program.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use super::create::make_v1;
use super::{Absent, Cgroup, DevicePlan, Dir, Error, Kind, Place, Plan, Write, devices, host::read};
use crate::sys::bpf;

impl Cgroup {
    /// Moves process `pid` in: always by file in the v1 hierarchies, in the unified one only with `into_v2`, that is,
    /// if the process was not cloned into it.
    pub fn join(&self, pid: i32, into_v2: bool) -> Result<(), Error> {
        let dirs = self.location.dirs.iter().filter(|dir| into_v2 || dir.kind != Kind::V2);
        for dir in dirs {
            let path = dir.path.join("cgroup.procs");
            let joined = match write_file(&path, &pid.to_string()) {
                // systemd removes what it finds empty below its slices in the hierarchies of version 1 that it makes
                // anew, among them what has just been made and has no process yet.
                Err(error) if error.kind() == io::ErrorKind::NotFound && dir.kind != Kind::V2 => {
                    make_v1(dir, &mut Vec::new())?;
                    write_file(&path, &pid.to_string())
                }
                joined => joined,
            };
            joined.map_err(|source| Error::Join { pid, path, source })?;
        }
        Ok(())
    }

    /// As [`Cgroup::join`], for a container that lives. It may have moved its processes into cgroups of its own below
    /// the unified one, which then takes none itself (EBUSY; cgroup-v2.rst, "No Internal Process Constraint"): the new
    /// one goes where the first process, `init`, is.
    pub fn join_beside(&self, pid: i32, into_v2: bool, init: i32) -> Result<(), Error> {
        match self.join(pid, into_v2) {
            Err(Error::Join { source, path, .. }) if source.raw_os_error() == Some(libc::EBUSY) => {
                let refused = |source, path| Error::Join { pid, path, source };
                let Some(inner) = self.inner(init) else { return Err(refused(source, path)) };
                let path = inner.join("cgroup.procs");
                write_file(&path, &pid.to_string()).map_err(|source| refused(source, path))?;
                // Those of version 1 that came after it.
                self.join(pid, false)
            }
            joined => joined,
        }
    }

    /// Where below the container's own cgroup process `init` is, as `/a/b`, if it is not in that itself.
    pub fn below(&self, init: i32) -> Option<String> {
        let (inner, dir) = (self.inner(init)?, self.location.v2()?);
        Some(format!("/{}", inner.strip_prefix(&dir.path).ok()?.display()))
    }

    /// The cgroup of process `init` in the unified hierarchy, if it is below the container's.
    fn inner(&self, init: i32) -> Option<PathBuf> {
        let dir = self.location.v2()?;
        let text = fs::read_to_string(format!("/proc/{init}/cgroup")).ok()?;
        let place = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
        Some(dir.mount.join(place)).filter(|path| path.starts_with(&dir.path) && *path != dir.path)
    }

    /// Sets every limit but memory and devices.
    pub fn apply(&self, plan: &Plan) -> Result<(), Error> {
        plan.writes.iter().try_for_each(|write| self.perform(write))
    }

    /// Sets the memory limits. The later the better: what the runtime itself used is charged to the container until it
    /// is freed.
    pub fn apply_memory(&self, plan: &Plan) -> Result<(), Error> {
        self.check_memory(plan)?;
        plan.memory.iter().try_for_each(|write| self.perform(write))
    }

    /// Compares the usage with the limit, if that is asked for.
    pub(super) fn check_memory(&self, plan: &Plan) -> Result<(), Error> {
        if let (Some(limit), Some(dir)) = (plan.memory_check, self.location.v2()) {
            let path = dir.path.join("memory.current");
            let usage = read(&path)?.trim().parse().unwrap_or(0);
            if usage > limit {
                return Err(Error::BelowUsage { path, limit, usage });
            }
        }
        Ok(())
    }

    /// Limits the devices.
    pub fn apply_devices(&self, plan: &Plan) -> Result<(), Error> {
        match &plan.devices {
            DevicePlan::Unlimited => Ok(()),
            DevicePlan::V1(lines) => self.list_devices(lines),
            DevicePlan::V2(insns) => {
                let program = bpf::load_device_program(insns).map_err(|source| Error::LoadProgram { source })?;
                let dir = self.v2_dir().ok_or(Error::NoHierarchy)?;
                let path = || self.location.v2().map(|dir| dir.path.clone()).unwrap_or_default();
                bpf::attach_device_program(program.as_fd(), dir)
                    .map_err(|source| Error::AttachProgram { path: path(), source })
            }
        }
    }

    /// Gives the unified directory to user `uid` of the host, so that a container with its own cgroup namespace and a
    /// writable cgroup mount can make cgroups below it (runtime-spec, config-linux, "Cgroup ownership").
    pub fn delegate(&self, uid: u32) -> Result<(), Error> {
        let Some(dir) = self.location.v2() else { return Ok(()) };
        // The kernel lists which files go with a directory (Linux 4.15).
        let files = fs::read_to_string("/sys/kernel/cgroup/delegate")
            .unwrap_or_else(|_| "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n".into());
        for file in std::iter::once("").chain(files.lines()) {
            let path = dir.path.join(file);
            match std::os::unix::fs::lchown(&path, Some(uid), None) {
                // Files of controllers that the parent does not hand down.
                Err(source) if source.kind() == io::ErrorKind::NotFound => {}
                result => result.map_err(|source| Error::Delegate { path, uid, source })?,
            }
        }
        Ok(())
    }

    fn list_devices(&self, lines: &[(&'static str, String)]) -> Result<(), Error> {
        let dir = self.location.v1("devices").ok_or(Error::NoHierarchy)?;
        let mut open: Option<(&str, File)> = None;
        for &(file, ref line) in lines {
            let path = dir.path.join(file);
            // Nearly all lines go to one file, and each write(2) is a command of its own.
            let handle = match open.take() {
                Some((name, handle)) if name == file => Ok(handle),
                _ => OpenOptions::new().write(true).open(&path),
            };
            let written = handle.and_then(|mut handle| {
                handle.write_all(line.as_bytes())?;
                open = Some((file, handle));
                Ok(())
            });
            written.map_err(|source| {
                let hint = match source.raw_os_error() {
                    Some(libc::EPERM) => "; the cgroup above it does not allow this device",
                    _ => "",
                };
                Error::Set { property: devices::PROPERTY.into(), path, value: line.clone(), hint, source }
            })?;
        }
        Ok(())
    }

    fn perform(&self, write: &Write) -> Result<(), Error> {
        let dir = self.dir(write)?;
        let mut last = None;
        for (file, value) in &write.tries {
            let path = dir.path.join(file.as_ref());
            // Most files take one line a write, and raw keys may have several.
            match value.lines().try_for_each(|line| write_file(&path, line)) {
                Ok(()) => return Ok(()),
                Err(source) if source.kind() == io::ErrorKind::NotFound => last = Some((path, value, source)),
                Err(source) => return Err(set_failed(write, path, value, source)),
            }
        }
        match last {
            Some((path, value, source)) if !may_lack(write) => Err(set_failed(write, path, value, source)),
            _ => Ok(()),
        }
    }

    pub(super) fn dir(&self, write: &Write) -> Result<&Dir, Error> {
        let found = match write.place {
            Place::V1 => self.location.v1(&write.controller),
            Place::V2 => self.location.v2(),
        };
        found.ok_or_else(|| Error::NoController {
            property: write.property.clone().into_owned(),
            controller: write.controller.clone().into_owned(),
        })
    }
}

/// Whether nothing is amiss if none of its files exists.
pub(super) fn may_lack(write: &Write) -> bool {
    match write.absent {
        Absent::Refuse => false,
        Absent::Fine => true,
        Absent::FineWithoutSwap => !swaps(),
    }
}

pub(super) fn set_failed(write: &Write, path: PathBuf, value: &str, source: io::Error) -> Error {
    let is_swap = write.property == "linux.resources.memory.swap";
    let hint = match source.raw_os_error() {
        Some(libc::ENOENT) if is_swap => "; this kernel counts no swap (boot it with `swapaccount=1`)",
        Some(libc::ENOENT) => "; this kernel has no such limit",
        Some(libc::EBUSY) if write.controller == "memory" => "; the container uses more already",
        _ => "",
    };
    let property = write.property.clone().into_owned();
    Error::Set { property, path, value: value.to_owned(), hint, source }
}

/// proc_swaps(5): a header, then a line a swap area. Unreadable counts as swapping, which is the refusing side.
fn swaps() -> bool {
    fs::read_to_string("/proc/swaps").map_or(true, |text| text.lines().count() > 1)
}

/// One write(2) to an existing file. It is never created: open(2) with O_CREAT answers EACCES in a cgroup, which would
/// hide that the file is absent.
pub(super) fn write_file(path: &Path, value: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all(value.as_bytes())
}
