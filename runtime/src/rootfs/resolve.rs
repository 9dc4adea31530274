//! Paths of the image, turned into descriptors inside its root: the only door between a string and a file there.
//! `openat2(2)` does the walk in the kernel; without it (before Linux 5.6) `walk` does it component by component.

use std::ffi::{OsStr, OsString};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

mod walk;

/// How the symbolic links of a path are treated. They never lead out of the root, whatever is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// Followed.
    Follow,
    /// Followed, except that the last component is opened itself when it is a link.
    KeepLast,
    /// Not allowed at all: `ELOOP`.
    Refuse,
}

/// What [`create_in_root`] makes when the last component is missing; directories above it have mode 0755.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaf {
    /// A directory with this mode.
    Directory(u32),
    /// An empty regular file with this mode.
    File(u32),
}

/// The kernel gives EAGAIN when a rename or a mount anywhere raced the walk; nobody can race it this many times for
/// long, and giving up is safe.
const ATTEMPTS: u32 = 256;

/// As the kernel's own limit (path_resolution(7)).
const MAX_LINKS: u32 = 40;

/// Opens `path` below `root` with `O_PATH`, as a process whose root directory is `root` would see it.
///
/// # Errors
/// As `openat2(2)` with `RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS`.
pub fn in_root(root: BorrowedFd<'_>, path: &Path, links: Links) -> Result<OwnedFd, Errno> {
    open(root, path, links, OFlags::PATH)
}

/// As [`in_root`], with other open flags than `O_PATH` (`O_CLOEXEC` is added).
///
/// # Errors
/// See [`in_root`].
pub fn open(root: BorrowedFd<'_>, path: &Path, links: Links, flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = relative(path);
    let mut flags = flags | OFlags::CLOEXEC;
    let mut resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    match links {
        Links::Follow => {}
        Links::KeepLast => flags |= OFlags::NOFOLLOW,
        Links::Refuse => resolve |= ResolveFlags::NO_SYMLINKS,
    }
    for _attempt in 0..ATTEMPTS {
        match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::NOSYS) => return emulate(root, path, links, flags),
            result => return result,
        }
    }
    Err(Errno::AGAIN)
}

fn emulate(root: BorrowedFd<'_>, path: &Path, links: Links, flags: OFlags) -> Result<OwnedFd, Errno> {
    let found = walk::walk(root, path, links)?;
    if flags.contains(OFlags::DIRECTORY) && !is_directory(&found)? {
        return Err(Errno::NOTDIR);
    }
    if flags.contains(OFlags::PATH) {
        return Ok(found);
    }
    // A magic link of the runtime's own procfs leads to exactly this file, so that no name is looked up again.
    rustix::fs::open(proc_path(&found), flags & !OFlags::NOFOLLOW, Mode::empty())
}

/// The path by which `mount(2)`, which takes no descriptor, is given one: `/proc/self/fd/N`.
#[must_use]
pub fn proc_path(fd: &impl std::os::fd::AsRawFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Whether a descriptor is of a directory.
///
/// # Errors
/// As `fstat(2)`.
pub fn is_directory(fd: &OwnedFd) -> Result<bool, Errno> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode) == FileType::Directory)
}

/// Opens the directory that holds the last component of `path`, and gives that component.
///
/// # Errors
/// `EINVAL` for a path without a name (`/`, `a/..`); otherwise see [`in_root`].
pub fn parent_in_root(root: BorrowedFd<'_>, path: &Path) -> Result<(OwnedFd, OsString), Errno> {
    let name = path.file_name().ok_or(Errno::INVAL)?.to_owned();
    let parent = path.parent().unwrap_or(Path::new(""));
    let parent = open(root, parent, Links::Follow, OFlags::PATH | OFlags::DIRECTORY)?;
    Ok((parent, name))
}

/// As [`parent_in_root`], making the directory (0755) when it is missing.
///
/// # Errors
/// See [`parent_in_root`] and [`create_in_root`].
pub fn make_parent_in_root(root: BorrowedFd<'_>, path: &Path) -> Result<(OwnedFd, OsString), Errno> {
    let name = path.file_name().ok_or(Errno::INVAL)?.to_owned();
    let parent = path.parent().unwrap_or(Path::new(""));
    Ok((create_in_root(root, parent, Links::Follow, Leaf::Directory(0o755))?, name))
}

/// Opens `path` (`O_PATH`); makes it and the directories above when it is missing. A dangling link of the image is
/// followed inside the root, so that `/etc/resolv.conf -> ../run/resolv.conf` can be a mount point.
///
/// # Errors
/// As [`in_root`], `mkdirat(2)` and `mknodat(2)`.
pub fn create_in_root(root: BorrowedFd<'_>, path: &Path, links: Links, leaf: Leaf) -> Result<OwnedFd, Errno> {
    let mut path = relative(path).to_owned();
    for _link in 0..MAX_LINKS {
        match in_root(root, &path, links) {
            Err(Errno::NOENT) => {}
            result => return result,
        }
        match create_missing(root, &path, links, leaf)? {
            Created::Done(fd) => return Ok(fd),
            Created::Link(target) => path = target,
        }
    }
    Err(Errno::LOOP)
}

enum Created {
    Done(OwnedFd),
    /// A dangling link is in the way: the path to try instead.
    Link(PathBuf),
}

fn create_missing(root: BorrowedFd<'_>, path: &Path, links: Links, leaf: Leaf) -> Result<Created, Errno> {
    let components: Vec<&OsStr> = path.iter().collect();
    let (mut depth, mut here) = deepest(root, &components, links)?;
    while depth < components.len() {
        let name = components[depth];
        if name == ".." {
            return Err(Errno::NOENT);
        }
        let last = depth + 1 == components.len();
        match make(&here, name, if last { leaf } else { Leaf::Directory(0o755) }) {
            // A dangling link, or another process made it first: then it is opened below and seen for what it is.
            Err(Errno::EXIST) => match rustix::fs::readlinkat(&here, name, Vec::new()) {
                Ok(_target) if links != Links::Follow => return Err(Errno::LOOP),
                Ok(target) => {
                    let target = OsString::from_vec(target.into_bytes());
                    return Ok(Created::Link(through_link(&components, depth, &target)));
                }
                Err(_not_a_link) => {}
            },
            made => made?,
        }
        // O_NOFOLLOW: what is opened is what was made, or a file that another process put there, but never elsewhere.
        let mut flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if !last || matches!(leaf, Leaf::Directory(_)) {
            flags |= OFlags::DIRECTORY;
        }
        here = rustix::fs::openat(&here, name, flags, Mode::empty())?;
        depth += 1;
    }
    Ok(Created::Done(here))
}

/// The longest existing beginning of a path: how many components, and its directory.
fn deepest(root: BorrowedFd<'_>, components: &[&OsStr], links: Links) -> Result<(usize, OwnedFd), Errno> {
    for depth in (0..components.len()).rev() {
        let beginning: PathBuf = components[..depth].iter().collect();
        match open(root, &beginning, links, OFlags::PATH | OFlags::DIRECTORY) {
            Err(Errno::NOENT) if depth > 0 => {}
            result => return result.map(|fd| (depth, fd)),
        }
    }
    Err(Errno::NOENT)
}

fn make(parent: &OwnedFd, name: &OsStr, leaf: Leaf) -> Result<(), Errno> {
    match leaf {
        Leaf::Directory(mode) => rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(mode)),
        Leaf::File(mode) => rustix::fs::mknodat(parent, name, FileType::RegularFile, Mode::from_raw_mode(mode), 0),
    }
}

/// The path with component `depth`, a link, replaced by its target.
fn through_link(components: &[&OsStr], depth: usize, target: &OsStr) -> PathBuf {
    let target = Path::new(target);
    let mut path: PathBuf = if target.is_absolute() { PathBuf::new() } else { components[..depth].iter().collect() };
    path.push(relative(target));
    path.extend(&components[depth + 1..]);
    path
}

/// Without the leading slashes; the root itself is `.`.
fn relative(path: &Path) -> &Path {
    let bytes = path.as_os_str().as_bytes();
    let start = bytes.iter().position(|byte| *byte != b'/').unwrap_or(bytes.len());
    if start == bytes.len() { Path::new(".") } else { Path::new(OsStr::from_bytes(&bytes[start..])) }
}

/// An absolute path with `.`, `..` and double slashes worked out by text alone, as runc does with the paths of
/// `config.json`. A relative path counts from `/`.
#[must_use]
pub fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean
}

#[cfg(test)]
mod tests;
