//! The mount of type `cgroup`: cgroup2 on a unified host; on others a tmpfs with a directory for each hierarchy of
//! version 1 and links for controllers that share one (`cpu -> cpu,cpuacct`), as programs in containers expect.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountFlags;

use super::attach;
use super::bind;
use super::build::{Site, failed};
use super::error::Error;
use super::filesystem::Filesystem;
use super::options::{Attributes, Options};
use super::plan::Step;
use super::resolve::{self, Links};

/// What the room `cgroup` knows about the host, as far as a mount needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CgroupView {
    /// Version 2 alone. `directory` is the host path of the container's cgroup, bound where cgroup2 cannot be mounted.
    Unified {
        /// Below the host's `/sys/fs/cgroup`.
        directory: PathBuf,
    },
    /// Version 1, with or without version 2 beside it.
    Legacy(Vec<Hierarchy>),
}

/// One hierarchy of version 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Its directory below `/sys/fs/cgroup`: `cpu,cpuacct`, `systemd`.
    pub name: String,
    /// What mount(2) selects it by: `cpu,cpuacct`, `none,name=systemd`.
    pub options: String,
    /// The host path of the container's cgroup in it, bound where there is no cgroup namespace.
    pub directory: PathBuf,
}

/// Mounts the container's view of its cgroup.
pub(super) fn mount(site: &Site<'_>, step: &Step, target: &OwnedFd) -> Result<(), Error> {
    match site.cgroup {
        CgroupView::Unified { directory } => unified(site, step, target, directory),
        CgroupView::Legacy(hierarchies) => legacy(site, step, target, hierarchies),
    }
}

fn unified(site: &Site<'_>, step: &Step, target: &OwnedFd, directory: &Path) -> Result<(), Error> {
    let cgroup2 = Filesystem { name: "cgroup2", source: "cgroup", options: &step.options, extra: None };
    match cgroup2.mount_on(target, step.options.mount_flags()) {
        // A user namespace without a cgroup namespace of its own may not mount it; its own part is shown instead.
        Err(Errno::PERM | Errno::BUSY) => bind::host_directory(directory, target, &step.options, || site.reopen(step)),
        result => result,
    }
    .map_err(|source| failed(step, "mount cgroup2", source))
}

fn legacy(site: &Site<'_>, step: &Step, target: &OwnedFd, hierarchies: &[Hierarchy]) -> Result<(), Error> {
    let words = ["nosuid", "nodev", "noexec", "mode=755"].map(str::to_owned);
    let options = Options::parse(&words);
    let tmpfs = Filesystem { name: "tmpfs", source: "tmpfs", options: &options, extra: None };
    let fail = |operation| move |source| failed(step, operation, source);
    let folder = site.kept_open(step, &tmpfs, target).map_err(fail("mount the tmpfs of the cgroup hierarchies"))?;
    for hierarchy in hierarchies {
        one(site, step, &folder, hierarchy).map_err(fail("mount a cgroup hierarchy"))?;
        for controller in hierarchy.name.split(',').filter(|name| *name != hierarchy.name) {
            match rustix::fs::symlinkat(&hierarchy.name, &folder, controller) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(failed(step, "make the link of a cgroup controller", error)),
            }
        }
    }
    if step.options.mount_flags().contains(MountFlags::RDONLY) {
        let read_only = Attributes { set: libc::MOUNT_ATTR_RDONLY, clear: 0 };
        attach::set_attributes(&folder, read_only).map_err(fail("make the cgroup mount read-only"))?;
    }
    Ok(())
}

fn one(site: &Site<'_>, step: &Step, folder: &OwnedFd, hierarchy: &Hierarchy) -> Result<(), Errno> {
    rustix::fs::mkdirat(folder, &hierarchy.name, Mode::from_raw_mode(0o755))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = rustix::fs::openat(folder, &hierarchy.name, flags, Mode::empty())?;
    let mut options = step.options.clone();
    options.attributes.set |= libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    if !site.plan.cgroup_namespace {
        let again = || resolve::in_root(folder.as_fd(), Path::new(&hierarchy.name), Links::Refuse);
        return bind::host_directory(&hierarchy.directory, &target, &options, again);
    }
    options.data = vec![hierarchy.options.clone()];
    let cgroup = Filesystem { name: "cgroup", source: "cgroup", options: &options, extra: None };
    cgroup.mount_on(&target, options.mount_flags())
}
