//! The child's half: the plan is performed in the new mount namespace. Host paths still resolve when this is over,
//! because the process's root directory changes only in [`Root::enter`].

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, MoveMountFlags};

use super::anchor::Anchors;
use super::attach::{self, Identity};
use super::cgroupfs::{self, CgroupView};
use super::copy_up;
use super::error::Error;
use super::filesystem::Filesystem;
use super::options::{Attributes, Propagation};
use super::plan::{Kind, PROC_FILES, Plan, Step};
use super::prepare::{Api, Origin, Prepared};
use super::resolve::{self, Leaf, Links};
use super::{bind, dev, mask, sysctl};
use crate::sys::mount as kernel;

/// The container's root, built and not yet entered.
#[derive(Debug)]
pub struct Root {
    pub(super) fd: OwnedFd,
    /// The tmpfs of `/dev`, when it is our own.
    pub(super) dev: Option<OwnedFd>,
    /// Where it is attached, a path of the host; `/` when it lies on top of the host's root.
    pub(super) place: PathBuf,
    pub(super) readonly: bool,
    pub(super) propagation: Option<Propagation>,
}

impl Root {
    /// The root directory of the container, an `O_PATH` descriptor.
    #[must_use]
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Builds the container's file system. The working directory is anywhere afterwards.
///
/// # Errors
/// Any of [`Error`], for the first step that failed; nothing is undone, the mount namespace dies with the child.
pub fn build(plan: &Plan, prepared: Prepared, cgroup: &CgroupView) -> Result<Root, Error> {
    // Modes of devices and directories are exact: the umask of whoever calls a runtime is not the container's.
    let umask = rustix::process::umask(Mode::empty());
    let (fd, place) = attach_root(plan, &prepared)?;
    let anchors = Anchors::default();
    let mut site = Site { plan, api: prepared.api, root: fd, dev: None, anchors, close: Vec::new(), cgroup };
    for (index, step) in plan.steps.iter().enumerate() {
        site.perform(index, step, prepared.binds.get(index).and_then(Option::as_ref))?;
    }
    let Site { root, dev, mut anchors, close, api, .. } = site;
    for (node, origin) in plan.nodes.iter().zip(prepared.nodes) {
        dev::make(&root, dev.as_ref(), node, origin, api)?;
    }
    if let Some(dev) = &dev {
        dev::link(dev)?;
    }
    make_cwd(&root, &plan.cwd)?;
    sysctl::write(&plan.sysctls)?;
    for (property, mount) in close {
        let read_only = Attributes { set: libc::MOUNT_ATTR_RDONLY, clear: 0 };
        attach::set_attributes(&mount, read_only)
            .map_err(|source| failed_at(&property, Path::new("tmpfs"), "make the mount read-only", source))?;
    }
    // Read-only first: a masked path below a read-only one must not be copied into the read-only view uncovered.
    mask::read_only(&root, &mut anchors, &plan.readonly_paths)?;
    mask::cover(&root, &anchors, dev.as_ref(), &plan.masked_paths)?;
    let _previous_is_zero = rustix::process::umask(umask);
    Ok(Root { fd: root, dev, place, readonly: plan.readonly, propagation: plan.propagation })
}

/// What the steps share while they are performed.
pub(super) struct Site<'a> {
    pub(super) plan: &'a Plan,
    pub(super) api: Api,
    pub(super) root: OwnedFd,
    dev: Option<OwnedFd>,
    anchors: Anchors,
    /// Mounts to make read-only in the end, because later steps make mount points inside.
    close: Vec<(String, OwnedFd)>,
    pub(super) cgroup: &'a CgroupView,
}

impl Site<'_> {
    fn perform(&mut self, index: usize, step: &Step, origin: Option<&Origin>) -> Result<(), Error> {
        let file = origin.is_some_and(|origin| !origin.directory);
        let target = self.target(step, if file { Leaf::File(0o755) } else { Leaf::Directory(0o755) })?;
        match (&step.kind, origin) {
            (Kind::Bind { recursive, .. }, Some(origin)) => self.bind(step, origin, *recursive, &target),
            (Kind::FileSystem { name, source }, _) => self.file_system(index, step, (name, source), &target),
            (Kind::Cgroup, _) => cgroupfs::mount(self, step, &target),
            (Kind::Bind { .. }, None) => unreachable!("prepare opens a source for every bind mount"),
        }?;
        let mut anchors = std::mem::take(&mut self.anchors);
        anchors.hold(step, origin, || self.reopen(step))?;
        self.anchors = anchors;
        Ok(())
    }

    /// Finds the mount point in the container's root, and makes it when it is missing.
    pub(super) fn target(&self, step: &Step, leaf: Leaf) -> Result<OwnedFd, Error> {
        let links = if step.strict() { Links::Refuse } else { Links::Follow };
        let refused =
            |reason| Err(Error::Refused { property: step.property.clone(), path: step.destination.clone(), reason });
        let target = match resolve::create_in_root(self.root.as_fd(), &step.destination, links, leaf) {
            Err(Errno::LOOP) if step.strict() => return refused("a symbolic link of the image is in the way"),
            result => result.map_err(|source| failed(step, "find or make the mount point", source))?,
        };
        let fine = step.destination == Path::new("/proc")
            || step.is("proc")
            || PROC_FILES.iter().any(|path| step.destination == Path::new(path));
        let inside = |source| failed(step, "look at the mount point", source);
        if !fine && attach::is_on(&target, attach::PROC_SUPER_MAGIC).map_err(inside)? {
            return refused("the image leads it into procfs");
        }
        Ok(target)
    }

    /// The top of what is mounted on a step's destination, for the calls of before Linux 5.2.
    pub(super) fn reopen(&self, step: &Step) -> Result<OwnedFd, Errno> {
        let links = if step.strict() { Links::Refuse } else { Links::Follow };
        resolve::in_root(self.root.as_fd(), &step.destination, links)
    }

    fn bind(&self, step: &Step, origin: &Origin, recursive: bool, target: &OwnedFd) -> Result<(), Error> {
        let look = |source| failed(step, "look at the bind mount", source);
        let over_proc = step.destination == Path::new("/proc");
        if let (Some(tree), true) = (&origin.tree, over_proc) {
            only_procfs(step, attach::is_on(tree, attach::PROC_SUPER_MAGIC).map_err(look)?)?;
        }
        bind::attach(origin, recursive, target).map_err(|source| failed(step, "attach the bind mount", source))?;
        if origin.tree.is_some() {
            return Ok(());
        }
        let mount = self.reopen(step).map_err(look)?;
        if Identity::of_fd(&mount).map_err(look)? != origin.identity {
            return Err(failed(step, "find the bind mount again", Errno::STALE));
        }
        if over_proc {
            only_procfs(step, attach::is_on(&mount, attach::PROC_SUPER_MAGIC).map_err(look)?)?;
        }
        if !self.plan.shares_mounts() {
            let slave = Propagation { kind: bind::bits(libc::MS_SLAVE), recursive: true };
            attach::set_propagation(&mount, slave).map_err(look)?;
        }
        bind::set_options(&mount, &step.options).map_err(|source| failed(step, "set the mount options", source))
    }

    fn file_system(
        &mut self,
        index: usize,
        step: &Step,
        (name, source): (&str, &str),
        target: &OwnedFd,
    ) -> Result<(), Error> {
        let extra =
            self.inherited_mode(step, target).map_err(|source| failed(step, "look at the mount point", source))?;
        let filesystem = Filesystem { name, source, options: &step.options, extra };
        let own_dev = self.plan.dev == Some(index);
        let close = name == "tmpfs" && step.options.mount_flags().contains(MountFlags::RDONLY);
        let result = if step.options.remount {
            filesystem.remount(target)
        } else if own_dev || close || step.options.copy_up {
            self.kept_open(step, &filesystem, target).map(|mount| {
                if close {
                    self.close.extend(mount.try_clone().ok().map(|mount| (step.property.clone(), mount)));
                }
                if own_dev {
                    self.dev = Some(mount);
                }
            })
        } else {
            self.plain(step, &filesystem, target)
        };
        result.map_err(|source| match filesystem.refused_word() {
            Some(option) if matches!(source, Errno::INVAL | Errno::PERM) => {
                Error::RefusedOption { property: step.property.clone(), option, filesystem: name.to_owned(), source }
            }
            _other if source == Errno::NODEV => {
                Error::UnknownFilesystem { property: step.property.clone(), filesystem: name.to_owned(), source }
            }
            _other => failed(step, "mount the file system", source),
        })
    }

    fn plain(&self, step: &Step, filesystem: &Filesystem<'_>, target: &OwnedFd) -> Result<(), Errno> {
        match filesystem.mount_on(target, step.options.mount_flags()) {
            // A user namespace may mount sysfs only with a network namespace of its own: it is shown the host's.
            Err(Errno::PERM) if filesystem.name == "sysfs" && self.plan.borrow_nodes => {
                return self.host_sysfs(step, target);
            }
            result => result?,
        }
        if step.options.recursive.is_empty() && step.options.propagation.is_empty() {
            return Ok(());
        }
        let mut rest = step.options.clone();
        rest.attributes = Attributes::default();
        bind::set_options(&self.reopen(step)?, &rest)
    }

    /// Shows the host's sysfs. With it come the host's mounts below, which a user namespace may not leave behind: they are as
    /// read-only as it is, and the cgroups, which the container's ids may own, are covered (CVE-2023-25809). Where the
    /// configuration mounts cgroups it does so later, on top.
    fn host_sysfs(&self, step: &Step, target: &OwnedFd) -> Result<(), Errno> {
        bind::host_directory("/sys", target, &step.options, || self.reopen(step))?;
        let sysfs = self.reopen(step)?;
        if !attach::is_on(&sysfs, attach::SYSFS_MAGIC)? {
            return Err(Errno::STALE);
        }
        let read_only = step.options.attributes.set & libc::MOUNT_ATTR_RDONLY;
        match kernel::set_attributes(
            sysfs.as_fd(),
            true,
            kernel::Change { set: read_only, ..kernel::Change::default() },
        ) {
            // Before Linux 5.12 one would have to know them all.
            Ok(()) | Err(Errno::NOSYS) => {}
            Err(error) => return Err(error),
        }
        let cgroups = Path::new("fs/cgroup");
        match mask::find(sysfs.as_fd(), cgroups, Links::Refuse)? {
            Some(target) => mask::empty(sysfs.as_fd(), cgroups, &target).map(drop),
            None => Ok(()),
        }
    }

    /// Mounts a tmpfs that is kept open: to make devices on, to fill, or to close in the end. It is never read-only
    /// yet.
    pub(super) fn kept_open(
        &self,
        step: &Step,
        filesystem: &Filesystem<'_>,
        target: &OwnedFd,
    ) -> Result<OwnedFd, Errno> {
        let attributes = filesystem.options.attributes.set & !libc::MOUNT_ATTR_RDONLY;
        let detached = if self.api == Api::Mount { Err(Errno::NOSYS) } else { filesystem.detached(attributes) };
        let mount = match detached {
            Ok(mount) => {
                if step.options.copy_up {
                    copy_up::copy(target, &mount)?;
                }
                attach::attach(&mount, target)?;
                mount
            }
            Err(Errno::NOSYS) => {
                filesystem.mount_on(target, filesystem.options.mount_flags() & !MountFlags::RDONLY)?;
                let mount = self.reopen(step)?;
                if !is_new_tmpfs(&mount)? {
                    return Err(Errno::STALE);
                }
                if step.options.copy_up {
                    copy_up::copy(target, &mount)?;
                }
                mount
            }
            Err(error) => return Err(error),
        };
        let mut rest = step.options.clone();
        rest.attributes = Attributes::default();
        bind::set_options(&mount, &rest)?;
        Ok(mount)
    }

    /// A tmpfs without a `mode` takes that of the directory it covers, as in runc.
    fn inherited_mode(&self, step: &Step, target: &OwnedFd) -> Result<Option<String>, Errno> {
        if !step.is("tmpfs") || step.options.remount || step.options.data.iter().any(|word| word.starts_with("mode=")) {
            return Ok(None);
        }
        Ok(Some(format!("mode={:o}", rustix::fs::fstat(target)?.st_mode & 0o7777)))
    }
}

fn only_procfs(step: &Step, is_procfs: bool) -> Result<(), Error> {
    if is_procfs {
        return Ok(());
    }
    let reason = "only procfs may be there, and the source is something else";
    Err(Error::Refused { property: step.property.clone(), path: step.destination.clone(), reason })
}

/// Whether a descriptor is of the root of an empty tmpfs: with `mount(2)` alone a mount point has to be looked up
/// again by its name, which another container of the same image could have exchanged meanwhile.
fn is_new_tmpfs(mount: &OwnedFd) -> Result<bool, Errno> {
    if !attach::is_on(mount, attach::TMPFS_MAGIC)? {
        return Ok(false);
    }
    let folder = rustix::fs::openat(mount, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    for entry in rustix::fs::Dir::read_from(&folder)? {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Puts the image into the mount namespace and gives its root, and where it is.
fn attach_root(plan: &Plan, prepared: &Prepared) -> Result<(OwnedFd, PathBuf), Error> {
    let origin = &prepared.root;
    let failed = |operation| move |source| Error::Enter { operation, source };
    let down = MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM;
    let Some(tree) = &origin.tree else {
        // Here the binds are yet to be made, and must find their peers if they are to be shared.
        if !plan.shares_mounts() {
            rustix::mount::mount_change("/", down).map_err(failed("keep mounts from the host's peers"))?;
        }
        let root = bind_root(origin).map_err(failed("bind the root file system onto itself"))?;
        return Ok((root, origin.path.clone()));
    };
    // Slaves, not private: what the host unmounts meanwhile goes away here too, and is not kept busy.
    rustix::mount::mount_change("/", down).map_err(failed("keep mounts from the host's peers"))?;
    let tree = tree.try_clone().map_err(|error| Error::Enter {
        operation: "keep the root file system",
        source: Errno::from_io_error(&error).unwrap_or(Errno::IO),
    })?;
    // Hooks work on the bundle's path and must see the mounts there. Where a user namespace cannot reach the path, the
    // tree lies on top of `/`, which needs no way to the bundle: paths still start below it until the root is changed.
    let mount =
        |place: &Path| rustix::mount::move_mount(&tree, "", CWD, place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH);
    if mount(&origin.path).is_ok() {
        return Ok((tree, origin.path.clone()));
    }
    mount(Path::new("/")).map_err(failed("attach the root file system"))?;
    Ok((tree, PathBuf::from("/")))
}

fn bind_root(origin: &Origin) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let image = rustix::fs::open(&origin.path, flags, Mode::empty())?;
    if Identity::of_fd(&image)? != origin.identity {
        return Err(Errno::STALE);
    }
    make_holder_private(&image)?;
    rustix::process::fchdir(&image)?;
    rustix::mount::mount_bind_recursive(".", &origin.path)?;
    let root = rustix::fs::open(&origin.path, flags, Mode::empty())?;
    if Identity::of_fd(&root)? != origin.identity {
        return Err(Errno::STALE);
    }
    Ok(root)
}

/// pivot_root(2) wants the mount that holds the new root not to be shared. Only the root of a mount takes a change of
/// propagation, so that the first ancestor that takes it is the mount looked for. Sources of shared binds on that same
/// mount are parted with it, as in runc; trees copied by the parent are not.
fn make_holder_private(image: &OwnedFd) -> Result<(), Errno> {
    let path = rustix::fs::readlink(resolve::proc_path(image), Vec::new())?;
    let path = PathBuf::from(std::ffi::OsString::from(path.to_string_lossy().into_owned()));
    for ancestor in path.ancestors() {
        match rustix::mount::mount_change(ancestor, MountPropagationFlags::PRIVATE) {
            Err(Errno::INVAL) => {}
            result => return result,
        }
    }
    Err(Errno::INVAL)
}

fn make_cwd(root: &OwnedFd, cwd: &Path) -> Result<(), Error> {
    if cwd == Path::new("/") {
        return Ok(());
    }
    resolve::create_in_root(root.as_fd(), cwd, Links::Follow, Leaf::Directory(0o755))
        .map(drop)
        .map_err(|source| Error::Make { operation: "make the working directory", path: cwd.to_owned(), source })
}

pub(super) fn failed(step: &Step, operation: &'static str, source: Errno) -> Error {
    failed_at(&step.property, &step.destination, operation, source)
}

fn failed_at(property: &str, destination: &Path, operation: &'static str, source: Errno) -> Error {
    Error::Mount { property: property.to_owned(), destination: destination.to_owned(), operation, source }
}
