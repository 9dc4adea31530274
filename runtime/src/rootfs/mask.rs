//! Masked and read-only paths, put in place by descriptor and looked at again afterwards. What covers a masked file is
//! verified to be the null device first (CVE-2025-31133: a container exchanged it for a link).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::anchor::Anchors;
use super::attach::{self, Identity};
use super::error::Error;
use super::filesystem::Filesystem;
use super::options::{Attributes, Options};
use super::resolve::{self, Links};
use crate::sys::mount as kernel;

/// Makes paths read-only, with everything mounted below. Absent ones are passed over, as runtime-spec says.
pub(super) fn read_only(root: &OwnedFd, anchors: &mut Anchors, paths: &[PathBuf]) -> Result<(), Error> {
    for path in paths {
        let (base, name) = anchors.base(root, path);
        let failed = |operation| move |source| Error::Make { operation, path: path.clone(), source };
        let Some(target) = find(base, name, Links::Follow).map_err(failed("look at the read-only path"))? else {
            continue;
        };
        let identity = Identity::of_fd(&target).map_err(failed("look at the read-only path"))?;
        close(base, name, &target).map_err(failed("make read-only the path"))?;
        let again = find(base, name, Links::Follow).map_err(failed("look again at the read-only path"))?;
        let is_good = |again: &OwnedFd| Ok(Identity::of_fd(again)? == identity && attach::is_read_only(again)?);
        let good = again.as_ref().map(is_good).transpose().map_err(failed("look again at the read-only path"))?;
        match again {
            Some(again) if good == Some(true) => anchors.renew(path, again),
            _ => return refused("linux.readonlyPaths", path, "it was exchanged while it was made read-only"),
        }
    }
    Ok(())
}

fn close(base: BorrowedFd<'_>, name: &Path, target: &OwnedFd) -> Result<(), Errno> {
    let tree = match attach::copy(target.as_fd(), true) {
        Ok(tree) => tree,
        Err(Errno::NOSYS) => return close_in_place(base, name, target),
        Err(error) => return Err(error),
    };
    let change = kernel::Change { set: libc::MOUNT_ATTR_RDONLY, ..kernel::Change::default() };
    match kernel::set_attributes(tree.as_fd(), true, change) {
        Ok(()) => match attach::attach(&tree, target) {
            Err(Errno::NOSYS) => close_in_place(base, name, target),
            result => result,
        },
        Err(Errno::NOSYS) => close_in_place(base, name, target),
        Err(error) => Err(error),
    }
}

/// With `mount(2)` only the topmost mount can be made read-only.
fn close_in_place(base: BorrowedFd<'_>, name: &Path, target: &OwnedFd) -> Result<(), Errno> {
    attach::bind(target, target, true)?;
    let mount = find(base, name, Links::Follow)?.ok_or(Errno::NOENT)?;
    attach::set_attributes(&mount, Attributes { set: libc::MOUNT_ATTR_RDONLY, clear: 0 })
}

/// Covers paths: a file with the null device, a directory with an empty read-only one. Absent paths are passed over.
pub(super) fn cover(root: &OwnedFd, anchors: &Anchors, dev: Option<&OwnedFd>, paths: &[PathBuf]) -> Result<(), Error> {
    let mut covers = Covers { dev, null: None, empty: None };
    for path in paths {
        let (base, name) = anchors.base(root, path);
        let failed = |operation| move |source| Error::Make { operation, path: path.clone(), source };
        let Some(target) = find(base, name, Links::KeepLast).map_err(failed("look at the masked path"))? else {
            continue;
        };
        let stat = rustix::fs::fstat(&target).map_err(failed("look at the masked path"))?;
        let covered = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => return refused("linux.maskedPaths", path, "it is a symbolic link"),
            FileType::Directory => covers.directory(base, name, &target),
            _file => covers.file(&target),
        };
        covered.map_err(failed("mask"))?;
        let again = find(base, name, Links::KeepLast).map_err(failed("look again at the masked path"))?;
        let good = again.map(|again| covers.cover(&rustix::fs::fstat(&again)?));
        if !good.transpose().map_err(failed("look again at the masked path"))?.unwrap_or(false) {
            return refused("linux.maskedPaths", path, "it was exchanged while it was masked");
        }
    }
    Ok(())
}

/// What masks are made of, each made when first needed.
struct Covers<'a> {
    dev: Option<&'a OwnedFd>,
    null: Option<OwnedFd>,
    /// The root of the one empty directory that all masked directories share.
    empty: Option<(OwnedFd, Identity)>,
}

impl Covers<'_> {
    fn file(&mut self, target: &OwnedFd) -> Result<(), Errno> {
        let null = match self.null.take() {
            Some(null) => null,
            None => open_null(self.dev)?,
        };
        let null = self.null.insert(null);
        put(null, target)
    }

    fn directory(&mut self, base: BorrowedFd<'_>, name: &Path, target: &OwnedFd) -> Result<(), Errno> {
        if let Some((empty, _)) = &self.empty {
            return put(empty, target);
        }
        let mount = empty(base, name, target)?;
        let identity = Identity::of_fd(&mount)?;
        self.empty = Some((mount, identity));
        Ok(())
    }

    /// Whether a file is one of the covers.
    fn cover(&self, stat: &Stat) -> Result<bool, Errno> {
        let empty = self.empty.as_ref().is_some_and(|(_, identity)| *identity == Identity::of(stat));
        Ok(is_null(stat) || empty)
    }
}

/// Puts an empty, read-only directory onto `target`, which is `name` below `base`, and gives its root.
pub(super) fn empty(base: BorrowedFd<'_>, name: &Path, target: &OwnedFd) -> Result<OwnedFd, Errno> {
    let words = ["ro", "nosuid", "nodev", "noexec", "nr_blocks=1", "nr_inodes=1", "mode=555"].map(str::to_owned);
    let options = Options::parse(&words);
    let tmpfs = Filesystem { name: "tmpfs", source: "tmpfs", options: &options, extra: None };
    // The superblock itself is read-only, so that every copy is, whatever is done to its mount.
    let mount = match tmpfs.detached(options.attributes.set) {
        Ok(mount) => attach::attach(&mount, target).map(|()| mount),
        Err(error) => Err(error),
    };
    let mount = match mount {
        Err(Errno::NOSYS) => {
            tmpfs.mount_on(target, options.mount_flags())?;
            find(base, name, Links::KeepLast)?.ok_or(Errno::NOENT)?
        }
        result => result?,
    };
    if attach::is_on(&mount, attach::TMPFS_MAGIC)? && attach::is_read_only(&mount)? {
        Ok(mount)
    } else {
        Err(Errno::STALE)
    }
}

fn put(cover: &OwnedFd, target: &OwnedFd) -> Result<(), Errno> {
    match attach::copy(cover.as_fd(), false).and_then(|tree| attach::attach(&tree, target)) {
        Err(Errno::NOSYS) => attach::bind(cover, target, false),
        result => result,
    }
}

/// The null device: our own, or the host's, which is still in reach. The kernel is asked what it is, not its name.
fn open_null(dev: Option<&OwnedFd>) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let null = match dev {
        Some(dev) => rustix::fs::openat(dev, "null", flags, Mode::empty())?,
        None => rustix::fs::open("/dev/null", flags, Mode::empty())?,
    };
    if is_null(&rustix::fs::fstat(&null)?) { Ok(null) } else { Err(Errno::NODEV) }
}

fn is_null(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == rustix::fs::makedev(1, 3)
}

/// Opens a path of the container; none when it is absent.
pub(super) fn find(base: BorrowedFd<'_>, name: &Path, links: Links) -> Result<Option<OwnedFd>, Errno> {
    match resolve::in_root(base, name, links) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error),
    }
}

fn refused(property: &str, path: &Path, reason: &'static str) -> Result<(), Error> {
    Err(Error::Refused { property: property.into(), path: path.to_owned(), reason })
}
