//! Making what an archive says, below one folder and nowhere else. Every entry is reached from that folder's descriptor, name
//! by name, through no link: a link of the archive's is a text in the root file system, which only the container's own root
//! gives a meaning. Owners, permissions with set-user-id bits (which a container without new privileges does not honour) and
//! times are kept; files that exist are never written again.

use super::entry::{Entry, Kind, Refusal};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};

/// Bytes of `config.json`.
const CONFIG: u64 = 1 << 20;
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// While it is being filled.
const OURS: Mode = Mode::RWXU;

/// Where an archive goes.
pub(super) struct Place {
    root: OwnedFd,
    /// What folders are to be like when all is in them, by path.
    folders: BTreeMap<Vec<Vec<u8>>, Look>,
    /// Owners can be given.
    owners: bool,
}

#[derive(Clone, Copy)]
struct Look {
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: u64,
}

impl Place {
    /// A folder that is empty, and ours.
    pub(super) fn new(root: OwnedFd, owners: bool) -> Self {
        Self { root, folders: BTreeMap::new(), owners }
    }

    /// Makes one entry.
    pub(super) fn make(&mut self, entry: &Entry, bytes: &mut dyn Read) -> Result<(), Refusal> {
        fits(entry)?;
        let Some((name, above)) = entry.path.split_last() else { return Ok(()) };
        let fail = |source: io::Error| failed(entry, source);
        let folder = self.enter(above, entry)?;
        let look = Look { mode: entry.mode, uid: entry.uid, gid: entry.gid, mtime: entry.mtime };
        match &entry.kind {
            Kind::Folder => {
                match rustix::fs::mkdirat(&folder, name.as_slice(), OURS) {
                    // Listed twice, or made for what came before it: the later word on it counts.
                    Err(Errno::EXIST) if is(&folder, name, FileType::Directory) => {}
                    other => other.map_err(|errno| taken(entry, errno))?,
                }
                self.folders.insert(entry.path.clone(), look);
            }
            Kind::File(_) => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = rustix::fs::openat(&folder, name.as_slice(), flags, Mode::RUSR | Mode::WUSR);
                let mut file = File::from(file.map_err(|errno| taken(entry, errno))?);
                io::copy(bytes, &mut file).map_err(fail)?;
                self.dress(file.as_fd(), look).map_err(fail)?;
            }
            Kind::Symlink(text) => {
                let made = rustix::fs::symlinkat(text.as_slice(), &folder, name.as_slice());
                made.map_err(|errno| taken(entry, errno))?;
                self.dress_link(&folder, name, look).map_err(fail)?;
            }
            Kind::Link(target) => self.link(entry, target, &folder, name)?,
        }
        Ok(())
    }

    /// Gives folders their last look, checks that this is a bundle, and waits until it is on disk.
    pub(super) fn finish(self) -> Result<(), Refusal> {
        // Deeper ones first: whoever cannot enter a folder any more cannot reach what is in it.
        for (path, look) in self.folders.iter().rev() {
            let folder = walk(&self.root, path).and_then(|folder| self.dress(folder.as_fd(), *look));
            folder.map_err(|source| Refusal::Make { name: shown(path), source })?;
        }
        let no = |why: &str| Refusal::Archive(why.to_owned());
        if !is(&self.root, b"rootfs", FileType::Directory) {
            return Err(no("is no bundle: there is no folder `rootfs` at its top"));
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let config = rustix::fs::openat(&self.root, "config.json", flags, Mode::empty());
        let config = config.map_err(|_| no("is no bundle: there is no file `config.json` at its top"))?;
        let mut text = Vec::new();
        let read = File::from(config).take(CONFIG + 1).read_to_end(&mut text);
        read.map_err(|source| Refusal::Make { name: "config.json".into(), source })?;
        if text.len() as u64 > CONFIG {
            return Err(no("is no bundle: its `config.json` is longer than 1 MiB"));
        }
        if serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&text).is_err() {
            return Err(no("is no bundle: its `config.json` is not JSON"));
        }
        rustix::fs::syncfs(&self.root).map_err(|errno| Refusal::Make { name: "the disk".into(), source: errno.into() })
    }

    /// The folder at a path, with what is missing on the way made as folders usually are.
    fn enter(&mut self, path: &[Vec<u8>], entry: &Entry) -> Result<OwnedFd, Refusal> {
        let mut at = again(&self.root).map_err(|source| failed(entry, source))?;
        for (index, name) in path.iter().enumerate() {
            let next = match rustix::fs::openat(&at, name.as_slice(), FOLDER, Mode::empty()) {
                Err(Errno::NOENT) => {
                    rustix::fs::mkdirat(&at, name.as_slice(), OURS).map_err(|errno| failed(entry, errno.into()))?;
                    self.folders
                        .insert(path[..=index].to_vec(), Look { mode: 0o755, uid: 0, gid: 0, mtime: entry.mtime });
                    rustix::fs::openat(&at, name.as_slice(), FOLDER, Mode::empty())
                }
                other => other,
            };
            at = match next {
                Ok(next) => next,
                Err(Errno::LOOP | Errno::NOTDIR) => return Err(refused(entry, "lies beyond a link or a file")),
                Err(errno) => return Err(failed(entry, errno.into())),
            };
        }
        Ok(at)
    }

    fn link(&self, entry: &Entry, target: &[Vec<u8>], folder: &OwnedFd, name: &[u8]) -> Result<(), Refusal> {
        let beyond =
            || refused(entry, &format!("is a link to `{}`, which is no file that came before it", shown(target)));
        // What a container can write must not be a name of what it is configured by.
        let inside = target.len() > 1 && target[0] == b"rootfs";
        let (last, above) = target.split_last().filter(|_| inside).ok_or_else(beyond)?;
        let from = walk(&self.root, above).map_err(|_| beyond())?;
        if !is(&from, last, FileType::RegularFile) {
            return Err(beyond());
        }
        match rustix::fs::linkat(&from, last.as_slice(), folder, name, AtFlags::empty()) {
            // landlock(7): the first version lets no file have names in two folders.
            Err(Errno::XDEV) => self.copy(entry, &from, last, folder, name),
            other => other.map_err(|errno| taken(entry, errno)),
        }
    }

    /// A file of its own in place of a second name.
    fn copy(&self, entry: &Entry, from: &OwnedFd, last: &[u8], folder: &OwnedFd, name: &[u8]) -> Result<(), Refusal> {
        let fail = |source: io::Error| failed(entry, source);
        let source = rustix::fs::openat(from, last, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
        let mut source = File::from(source.map_err(|errno| fail(errno.into()))?);
        let stat = rustix::fs::fstat(&source).map_err(|errno| fail(errno.into()))?;
        let mtime = u64::try_from(stat.st_mtime).unwrap_or(0);
        let look = Look { mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid, mtime };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(folder, name, flags, Mode::RUSR | Mode::WUSR);
        let mut file = File::from(file.map_err(|errno| taken(entry, errno))?);
        io::copy(&mut source, &mut file).map_err(fail)?;
        self.dress(file.as_fd(), look).map_err(fail)
    }

    /// Owner first: giving a file away takes its set-user-id bit.
    fn dress(&self, file: impl AsFd, look: Look) -> io::Result<()> {
        if self.owners {
            rustix::fs::fchown(&file, Some(Uid::from_raw(look.uid)), Some(Gid::from_raw(look.gid)))?;
        }
        rustix::fs::fchmod(&file, Mode::from_raw_mode(look.mode))?;
        Ok(rustix::fs::futimens(&file, &times(look))?)
    }

    fn dress_link(&self, folder: &OwnedFd, name: &[u8], look: Look) -> io::Result<()> {
        if self.owners {
            let (uid, gid) = (Some(Uid::from_raw(look.uid)), Some(Gid::from_raw(look.gid)));
            rustix::fs::chownat(folder, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(rustix::fs::utimensat(folder, name, &times(look), AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

/// What may lie at the top: `config.json`, a file, and `rootfs`, a folder.
fn fits(entry: &Entry) -> Result<(), Refusal> {
    let names: Vec<&[u8]> = entry.path.iter().map(Vec::as_slice).collect();
    match (names.as_slice(), &entry.kind) {
        ([] | [b"rootfs"], Kind::Folder) | ([b"config.json"], Kind::File(_)) | ([b"rootfs", _, ..], _) => Ok(()),
        ([] | [b"rootfs" | b"config.json"], _) => {
            Err(refused(entry, "is not what it should be at the top of a bundle"))
        }
        _ => Err(refused(entry, "is neither `config.json` nor in `rootfs`; a bundle has nothing else")),
    }
}

/// The folder at a path that exists.
fn walk(root: &OwnedFd, path: &[Vec<u8>]) -> io::Result<OwnedFd> {
    let mut at = again(root)?;
    for name in path {
        at = rustix::fs::openat(&at, name.as_slice(), FOLDER, Mode::empty())?;
    }
    Ok(at)
}

fn again(folder: &OwnedFd) -> io::Result<OwnedFd> {
    folder.try_clone()
}

fn is(folder: &OwnedFd, name: &[u8], kind: FileType) -> bool {
    rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == kind)
}

fn times(look: Look) -> Timestamps {
    let time = Timespec { tv_sec: i64::try_from(look.mtime).unwrap_or(0), tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

fn taken(entry: &Entry, errno: Errno) -> Refusal {
    match errno {
        Errno::EXIST => refused(entry, "is there twice"),
        errno => failed(entry, errno.into()),
    }
}

fn refused(entry: &Entry, why: &str) -> Refusal {
    Refusal::Entry { name: entry.name(), why: why.to_owned() }
}

fn failed(entry: &Entry, source: io::Error) -> Refusal {
    Refusal::Make { name: entry.name(), source }
}

fn shown(path: &[Vec<u8>]) -> String {
    String::from_utf8_lossy(&path.join(&b'/')).into_owned()
}

/// The folder that a process stands in.
pub(super) fn here() -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(CWD, ".", FOLDER, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;
    use std::process::Command;

    /// A 32-bit machine has older calls with 32 bits for time, and others with 16 for an owner.
    #[test]
    fn times_after_2038_and_large_owners_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let root = rustix::fs::open(folder.path(), FOLDER, Mode::empty()).unwrap();
        let owners = rustix::process::geteuid().is_root();
        let mut place = Place::new(root, owners);
        for (name, kind) in [("file", Kind::File(0)), ("link", Kind::Symlink(b"file".to_vec()))] {
            let path = vec![b"rootfs".to_vec(), name.as_bytes().to_vec()];
            let entry = Entry { path, kind, mode: 0o640, uid: 100_001, gid: 100_002, mtime: 4_102_444_800 };
            place.make(&entry, &mut io::empty()).unwrap();
            let made = folder.path().join("rootfs").join(name);
            let look = std::fs::symlink_metadata(&made).unwrap();
            // Another program is asked what this file system can do at best.
            assert!(Command::new("touch").args(["-hd", "@4102444800"]).arg(&made).status().unwrap().success());
            assert_eq!(look.mtime(), std::fs::symlink_metadata(&made).unwrap().mtime());
            if owners {
                assert_eq!((look.uid(), look.gid()), (100_001, 100_002));
            }
        }
    }
}
