//! Device nodes and links. Below `/dev` they are made on the descriptor of the tmpfs that was mounted here, so that no
//! link of the image is ever walked (CVE-2026-41579); elsewhere on a parent resolved in the root.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Access, AtFlags, FileType, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::attach;
use super::bind;
use super::build::Root;
use super::error::Error;
use super::plan::{Node, NodeKind};
use super::prepare::{Api, Origin, open_node};
use super::resolve::{self, Leaf, Links};

/// runtime-spec runtime-linux.md "Dev symbolic links", and the link into the container's own devpts.
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Makes one node, or borrows it from the host.
pub(super) fn make(
    root: &OwnedFd,
    dev: Option<&OwnedFd>,
    node: &Node,
    origin: Option<Origin>,
    api: Api,
) -> Result<(), Error> {
    let failed = |source| Error::Device { property: node.property.clone(), path: node.path.clone(), source };
    let place = place(root, dev, node).map_err(failed)?;
    let (parent, name) = (place.parent(), place.name.as_os_str());
    if let Some(origin) = origin {
        return borrow(parent, name, &origin).map_err(failed);
    }
    match rustix::fs::mknodat(parent, name, node.file_type(), node.permissions(), node.device()) {
        Ok(()) => own(parent, name, node).map_err(failed),
        Err(Errno::EXIST) => same(parent, name, node),
        // A runtime in a container of its own may lack the right to make nodes without being in a user namespace.
        Err(Errno::PERM) if node.kind != NodeKind::Fifo => borrow(parent, name, &open_node(node, api)?).map_err(failed),
        Err(source) => Err(failed(source)),
    }
}

struct Place<'a> {
    dev: Option<BorrowedFd<'a>>,
    made: Option<OwnedFd>,
    name: OsString,
}

impl Place<'_> {
    fn parent(&self) -> BorrowedFd<'_> {
        self.made.as_ref().map(AsFd::as_fd).or(self.dev).expect("one of the two is always there")
    }
}

fn place<'a>(root: &OwnedFd, dev: Option<&'a OwnedFd>, node: &Node) -> Result<Place<'a>, Errno> {
    let (within, path) = match (dev, node.below_dev()) {
        (Some(dev), Some(path)) if path.components().count() == 1 => {
            return Ok(Place { dev: Some(dev.as_fd()), made: None, name: path.as_os_str().to_owned() });
        }
        (Some(dev), Some(path)) => (dev.as_fd(), path),
        _outside => (root.as_fd(), node.path.as_path()),
    };
    let (made, name) = resolve::make_parent_in_root(within, path)?;
    Ok(Place { dev: None, made: Some(made), name })
}

fn own(parent: BorrowedFd<'_>, name: &OsStr, node: &Node) -> Result<(), Errno> {
    if node.uid == 0 && node.gid == 0 {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(node.uid), rustix::fs::Gid::from_raw(node.gid));
    rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
}

/// A file is already there: it may only be the very same device.
fn same(parent: BorrowedFd<'_>, name: &OsStr, node: &Node) -> Result<(), Error> {
    let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|source| Error::Device {
        property: node.property.clone(),
        path: node.path.clone(),
        source,
    })?;
    let device = node.kind == NodeKind::Fifo || stat.st_rdev == node.device();
    if FileType::from_raw_mode(stat.st_mode) == node.file_type() && device {
        return Ok(());
    }
    let reason = "another file is already there";
    Err(Error::Refused { property: node.property.clone(), path: node.path.clone(), reason })
}

fn borrow(parent: BorrowedFd<'_>, name: &OsStr, origin: &Origin) -> Result<(), Errno> {
    match rustix::fs::mknodat(parent, name, FileType::RegularFile, Mode::empty(), 0) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error),
    }
    let target = open_file(parent, name)?;
    bind::attach(origin, false, &target)
}

fn open_file(parent: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    // O_PATH with O_NOFOLLOW opens a link itself.
    if FileType::from_raw_mode(rustix::fs::fstat(&target)?.st_mode) == FileType::Symlink {
        return Err(Errno::LOOP);
    }
    Ok(target)
}

/// Makes the links that every container has.
pub(super) fn link(dev: &OwnedFd) -> Result<(), Error> {
    let kcore = rustix::fs::access("/proc/kcore", Access::EXISTS).is_ok();
    let core = kcore.then_some(("core", "/proc/kcore"));
    for (name, target) in LINKS.into_iter().chain(core) {
        match rustix::fs::symlinkat(target, dev, name) {
            // A `tmpcopyup` or a device list may have brought one; `make` put nothing of the image's choosing there.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(source) => {
                return Err(Error::Make { operation: "make the link", path: Path::new("/dev").join(name), source });
            }
        }
    }
    Ok(())
}

impl Root {
    /// Puts the terminal `console`, a descriptor of this mount namespace, onto `/dev/console`.
    ///
    /// # Errors
    /// [`Error::Make`], with `ELOOP` for a link there, and `ENOENT` when the configuration brought a `/dev` of its own
    /// without a `console`.
    pub fn bind_console(&self, console: BorrowedFd<'_>) -> Result<(), Error> {
        self.console_target()
            .and_then(|target| match attach::copy(console, false) {
                Ok(tree) => attach::attach(&tree, &target),
                Err(Errno::NOSYS) => {
                    rustix::mount::mount_bind(resolve::proc_path(&console), resolve::proc_path(&target))
                }
                Err(error) => Err(error),
            })
            .map_err(|source| Error::Make { operation: "put the terminal onto", path: "/dev/console".into(), source })
    }

    fn console_target(&self) -> Result<OwnedFd, Errno> {
        let name = OsStr::new("console");
        let Some(dev) = &self.dev else {
            // The host's own /dev may be here: a mount covers a file of it and changes nothing, making one would.
            let dev = resolve::open(self.dir(), Path::new("/dev"), Links::Refuse, OFlags::PATH | OFlags::DIRECTORY)?;
            return open_file(dev.as_fd(), name);
        };
        resolve::create_in_root(dev.as_fd(), Path::new(name), Links::Refuse, Leaf::File(0o600))
    }
}
