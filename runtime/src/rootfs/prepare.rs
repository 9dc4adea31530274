//! What the parent opens before the clone, in the runtime's own mount namespace and with the runtime's own rights: the
//! image, the sources of bind mounts, and device nodes to borrow. Each becomes a detached copy of a mount tree with its
//! final attributes, so that the child needs no way to the host's paths.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;

use super::attach::Identity;
use super::bind;
use super::error::Error;
use super::plan::{Kind, Mapping, MappingSource, Node, NodeKind, Plan, Step};
use crate::sys::mount as kernel;

/// Which generation of kernel calls serves binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// Detached trees: `open_tree`, `mount_setattr`, `move_mount` (Linux 5.12).
    Trees,
    /// `mount(2)` in the child, by path for what is the host's and by descriptor for what is the container's.
    Mount,
}

/// Descriptors for [`super::build`], in the plan's order.
#[derive(Debug)]
pub struct Prepared {
    pub(super) api: Api,
    pub(super) root: Origin,
    pub(super) binds: Vec<Option<Origin>>,
    pub(super) nodes: Vec<Option<Origin>>,
}

/// Something of the host that goes into the container.
#[derive(Debug)]
pub(super) struct Origin {
    /// A detached tree; none with [`Api::Mount`].
    pub(super) tree: Option<OwnedFd>,
    /// Where it was found: absolute.
    pub(super) path: PathBuf,
    /// Which file it is, so that a later look at the path can be compared.
    pub(super) identity: Identity,
    pub(super) directory: bool,
}

/// Opens everything the plan needs of the host. `bundle` is the absolute path that relative sources count from.
///
/// # Errors
/// [`Error::RootOpen`], [`Error::RootKind`], [`Error::Source`], [`Error::Mapping`], [`Error::Device`] or
/// [`Error::Refused`].
pub fn prepare(plan: &Plan, bundle: &Path) -> Result<Prepared, Error> {
    if !kernel::has_move_mount() {
        return prepare_with(plan, bundle, Api::Mount);
    }
    match prepare_with(plan, bundle, Api::Trees) {
        Err(error) if error.errno() == Some(Errno::NOSYS) => prepare_with(plan, bundle, Api::Mount),
        result => result,
    }
}

/// As [`prepare`], with the generation of calls given rather than found out.
///
/// # Errors
/// See [`prepare`]; with [`Api::Trees`], `ENOSYS` on an older kernel.
pub fn prepare_with(plan: &Plan, bundle: &Path, api: Api) -> Result<Prepared, Error> {
    let root = open_root(plan, bundle, api)?;
    let mut binds = Vec::with_capacity(plan.steps.len());
    for step in &plan.steps {
        binds.push(match &step.kind {
            Kind::Bind { source, recursive, mapping } => {
                Some(open_bind(plan, step, &bundle.join(source), *recursive, mapping.as_ref(), api)?)
            }
            _made_by_the_kernel => None,
        });
    }
    let mut nodes = Vec::with_capacity(plan.nodes.len());
    for node in &plan.nodes {
        let borrowed = plan.borrow_nodes && node.kind != NodeKind::Fifo;
        nodes.push(if borrowed { Some(open_node(node, api)?) } else { None });
    }
    Ok(Prepared { api, root, binds, nodes })
}

fn open_root(plan: &Plan, bundle: &Path, api: Api) -> Result<Origin, Error> {
    // `components` drops a trailing slash, which would make the kernel follow a link at the end.
    let path: PathBuf = bundle.join(&plan.root).components().collect();
    let failed = |source| Error::RootOpen { path: path.clone(), source };
    let (tree, stat) = open(&path, true, false, api).map_err(failed)?;
    let found = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => None,
        FileType::Symlink => Some("a symbolic link"),
        FileType::RegularFile => Some("a file"),
        _other => Some("a special file"),
    };
    if let Some(found) = found {
        return Err(Error::RootKind { path, found });
    }
    if let Some(tree) = &tree {
        // Without this a copy of a shared mount is a peer of it, and every mount of the container would appear on
        // the host. A container whose root is to be shared starts a group of its own when the root is sealed.
        let (kind, recursive) = if plan.shares_mounts() { (libc::MS_PRIVATE, false) } else { (libc::MS_SLAVE, true) };
        let change = kernel::Change { propagation: bind::bits(kind), ..kernel::Change::default() };
        kernel::set_attributes(tree.as_fd(), recursive, change).map_err(failed)?;
    }
    Ok(Origin { tree, identity: Identity::of(&stat), directory: true, path })
}

fn open_bind(
    plan: &Plan,
    step: &Step,
    path: &Path,
    recursive: bool,
    mapping: Option<&Mapping>,
    api: Api,
) -> Result<Origin, Error> {
    let (tree, stat) = open(path, recursive, true, api).map_err(|source| Error::Source {
        property: step.property.clone(),
        destination: step.destination.clone(),
        path: path.to_owned(),
        source,
    })?;
    let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let origin = Origin { tree, path: path.to_owned(), identity: Identity::of(&stat), directory };
    let failed = |operation, source| Error::Mount {
        property: step.property.clone(),
        destination: step.destination.clone(),
        operation,
        source,
    };
    let Some(tree) = &origin.tree else {
        if mapping.is_some() || !step.options.recursive.is_empty() {
            return Err(failed("set recursive options or an id mapping (Linux 5.12)", Errno::OPNOTSUPP));
        }
        return Ok(origin);
    };
    if let Some(mapping) = mapping {
        let namespace = user_namespace(step, &mapping.source)?;
        let change = kernel::Change { user_namespace: Some(namespace.as_fd()), ..kernel::Change::default() };
        kernel::set_attributes(tree.as_fd(), mapping.recursive, change)
            .map_err(|source| failed("apply the id mapping (`idmap`; does the file system allow it?)", source))?;
    }
    for change in bind::changes(&step.options, recursive && directory, plan.shares_mounts()) {
        bind::apply(tree, change).map_err(|source| failed("set the mount options", source))?;
    }
    Ok(origin)
}

fn user_namespace(step: &Step, source: &MappingSource) -> Result<OwnedFd, Error> {
    match source {
        MappingSource::Lines { uid, gid } => kernel::user_namespace(uid, gid),
        MappingSource::Namespace(path) => File::open(path).map(OwnedFd::from),
    }
    .map_err(|source| Error::Mapping { property: step.property.clone(), source })
}

/// Opens the host's node of the same path, and makes sure that it is that device.
pub(super) fn open_node(node: &Node, api: Api) -> Result<Origin, Error> {
    let failed = |source| Error::Device { property: node.property.clone(), path: node.path.clone(), source };
    let (tree, stat) = open(&node.path, false, true, api).map_err(failed)?;
    if FileType::from_raw_mode(stat.st_mode) != node.file_type() || stat.st_rdev != node.device() {
        return Err(Error::Refused {
            property: node.property.clone(),
            path: node.path.clone(),
            reason: "the host has another file there, and a user namespace cannot make nodes of its own",
        });
    }
    Ok(Origin { tree, path: node.path.clone(), identity: Identity::of(&stat), directory: false })
}

/// Opens a path of the host as a detached tree, or (for [`Api::Mount`]) just looks at it.
fn open(path: &Path, recursive: bool, follow: bool, api: Api) -> Result<(Option<OwnedFd>, Stat), Errno> {
    if api == Api::Mount {
        let link = if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
        let found = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC | link, Mode::empty())?;
        return Ok((None, rustix::fs::fstat(&found)?));
    }
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    flags.set(OpenTreeFlags::AT_SYMLINK_NOFOLLOW, !follow);
    let tree = rustix::mount::open_tree(CWD, path, flags)?;
    let stat = rustix::fs::fstat(&tree)?;
    Ok((Some(tree), stat))
}
