//! The folder of all containers and the folder of each: claiming an id, locking, publishing, removing.

use super::{Error, Record};
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use skiff_contract::id::ContainerId;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The socket on which a created container waits for `start`.
pub const START_SOCKET: &str = "start.sock";
const RECORD: &str = "state.json";
/// A fixed name, so that a killed writer leaves at most one such file, and the next writer takes its place.
const RECORD_NEW: &str = "state.json.new";
/// The compiled `linux.seccomp`.
const FILTER: &str = "seccomp";
/// The folder of the socket through which the program says that it is ready.
const NOTIFY: &str = "notify";
const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

/// The folder of all containers.
pub struct Store {
    path: PathBuf,
    dir: OwnedFd,
}

/// The folder of one container.
pub struct Entry {
    id: ContainerId,
    path: PathBuf,
    dir: OwnedFd,
    root: OwnedFd,
}

/// Held while a command works on a container; let go when dropped, also by the death of its holder.
pub struct Lock(OwnedFd);

impl Lock {
    /// Closes this process's copy of a parent's lock: a lock lives as long as any copy of its descriptor, and the
    /// first process of a container lives long.
    pub fn forget_in_child(&self) {
        crate::sys::prctl::close_number(self.0.as_raw_fd());
    }
}

impl Store {
    /// Opens the folder, making what is missing of its path.
    ///
    /// # Errors
    /// [`Error::Root`].
    pub fn open_or_make(path: &Path) -> Result<Self, Error> {
        let fail = |errno: Errno| Error::Root { path: path.to_owned(), source: errno.into() };
        let open = || rustix::fs::openat(CWD, path, FOLDER.difference(OFlags::NOFOLLOW), Mode::empty());
        let dir = match open() {
            Err(Errno::NOENT) => {
                make_path(path).map_err(fail)?;
                open()
            }
            other => other,
        };
        Ok(Self { path: path.to_owned(), dir: dir.map_err(fail)? })
    }

    /// Opens the folder; without one there are no containers.
    ///
    /// # Errors
    /// [`Error::Root`] when it is there and cannot be opened.
    pub fn open(path: &Path) -> Result<Option<Self>, Error> {
        match rustix::fs::openat(CWD, path, FOLDER.difference(OFlags::NOFOLLOW), Mode::empty()) {
            Ok(dir) => Ok(Some(Self { path: path.to_owned(), dir })),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(Error::Root { path: path.to_owned(), source: errno.into() }),
        }
    }

    /// Takes an id: makes its folder, which must not exist, and locks it.
    ///
    /// # Errors
    /// [`Error::Exists`] when the id is taken.
    pub fn claim(&self, id: &ContainerId) -> Result<(Entry, Lock), Error> {
        match rustix::fs::mkdirat(&self.dir, id.as_str(), Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(Error::Exists(id.to_string())),
            Err(errno) => return Err(self.file(id, "make", errno)),
        }
        let entry = self.entry(id)?;
        let lock = entry.lock()?;
        Ok((entry, lock))
    }

    /// Whether an id can be claimed, as far as can be seen now.
    ///
    /// # Errors
    /// [`Error::Exists`] when the id is taken.
    pub fn refuse_taken(&self, id: &ContainerId) -> Result<(), Error> {
        match rustix::fs::statat(&self.dir, id.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Err(Error::Exists(id.to_string())),
            Err(_not_there_or_the_claim_says_why) => Ok(()),
        }
    }

    /// The folder of a container that exists, finished or not.
    ///
    /// # Errors
    /// [`Error::Absent`].
    pub fn entry(&self, id: &ContainerId) -> Result<Entry, Error> {
        let dir = match rustix::fs::openat(&self.dir, id.as_str(), FOLDER, Mode::empty()) {
            Ok(dir) => dir,
            Err(Errno::NOENT) => return Err(Error::Absent(id.to_string())),
            Err(errno) => return Err(self.file(id, "open", errno)),
        };
        let root = self.dir.try_clone().map_err(|source| Error::Root { path: self.path.clone(), source })?;
        Ok(Entry { id: id.clone(), path: self.path.join(id.as_str()), dir, root })
    }

    /// The ids of all containers, sorted; names that are not ids are not ours.
    ///
    /// # Errors
    /// [`Error::Root`] when the folder cannot be read.
    pub fn ids(&self) -> Result<Vec<ContainerId>, Error> {
        let fail = |errno: Errno| Error::Root { path: self.path.clone(), source: errno.into() };
        let mut ids = Vec::new();
        for item in rustix::fs::Dir::read_from(&self.dir).map_err(fail)? {
            let item = item.map_err(fail)?;
            let name = item.file_name().to_str().ok();
            ids.extend(name.and_then(|name| name.parse::<ContainerId>().ok()));
        }
        ids.sort_unstable();
        Ok(ids)
    }

    fn file(&self, id: &ContainerId, operation: &'static str, errno: Errno) -> Error {
        Error::File { operation, path: self.path.join(id.as_str()), source: errno.into() }
    }
}

impl Entry {
    /// The folder's descriptor.
    #[must_use]
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// The container's id.
    #[must_use]
    pub fn id(&self) -> &ContainerId {
        &self.id
    }

    /// Takes the container for this command alone. The lock is on the folder itself: it goes with its holder.
    ///
    /// # Errors
    /// [`Error::Busy`] when another command holds it; [`Error::Absent`] when it was removed while we came.
    pub fn lock(&self) -> Result<Lock, Error> {
        // A second open file description: locks belong to descriptions, and `dir` itself is inherited by children.
        let dir =
            rustix::fs::openat(&self.dir, ".", FOLDER, Mode::empty()).map_err(|errno| self.fail("open", errno))?;
        match rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(Error::Busy(self.id.to_string())),
            Err(errno) => return Err(self.fail("lock", errno)),
        }
        let stat = rustix::fs::fstat(&dir).map_err(|errno| self.fail("look at", errno))?;
        if stat.st_nlink == 0 {
            return Err(Error::Absent(self.id.to_string()));
        }
        Ok(Lock(dir))
    }

    /// Publishes the record: a reader sees the old one or the new one, whole. The folder is on a tmpfs by design and
    /// its content means nothing after a reboot, so nothing is synced.
    ///
    /// # Errors
    /// [`Error::File`]; the old record is then still there.
    pub fn save(&self, record: &Record) -> Result<(), Error> {
        let text = serde_json::to_vec(record).map_err(|source| self.garbled(source))?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = rustix::fs::openat(&self.dir, RECORD_NEW, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| self.fail("write", errno))?;
        File::from(fd).write_all(&text).map_err(|source| self.fail_io("write", source))?;
        rustix::fs::renameat(&self.dir, RECORD_NEW, &self.dir, RECORD).map_err(|errno| self.fail("publish", errno))
    }

    /// Reads the record.
    ///
    /// # Errors
    /// [`Error::Unfinished`] when there is none, [`Error::Record`] when it is not one of ours.
    pub fn load(&self) -> Result<Record, Error> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = match rustix::fs::openat(&self.dir, RECORD, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Err(Error::Unfinished(self.id.to_string())),
            Err(errno) => return Err(self.fail("read", errno)),
        };
        let mut text = Vec::with_capacity(1024);
        File::from(fd).read_to_end(&mut text).map_err(|source| self.fail_io("read", source))?;
        serde_json::from_slice(&text).map_err(|source| self.garbled(source))
    }

    /// Keeps the system call filter for processes that enter the container later.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn keep_filter(&self, filter: &[u8]) -> Result<(), Error> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = rustix::fs::openat(&self.dir, FILTER, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| self.fail_file(FILTER, "write", errno.into()))?;
        File::from(fd).write_all(filter).map_err(|source| self.fail_file(FILTER, "write", source))
    }

    /// Reads it again.
    ///
    /// # Errors
    /// [`Error::File`], also when there is none.
    pub fn filter(&self) -> Result<Vec<u8>, Error> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = rustix::fs::openat(&self.dir, FILTER, flags, Mode::empty())
            .map_err(|errno| self.fail_file(FILTER, "read", errno.into()))?;
        let mut filter = Vec::new();
        File::from(fd).read_to_end(&mut filter).map_err(|source| self.fail_file(FILTER, "read", source))?;
        Ok(filter)
    }

    /// Where [`Self::make_notify`] makes it.
    #[must_use]
    pub fn notify_path(store: &Path, id: &ContainerId) -> PathBuf {
        store.join(id.as_str()).join(NOTIFY)
    }

    /// Makes the folder of the socket through which the program says that it is ready. All users of the container may look
    /// into it.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn make_notify(&self) -> Result<(), Error> {
        let failed = |errno: Errno| self.fail_file(NOTIFY, "make", errno.into());
        rustix::fs::mkdirat(&self.dir, NOTIFY, Mode::RWXU).map_err(failed)?;
        rustix::fs::chmodat(&self.dir, NOTIFY, Mode::from(0o755), AtFlags::empty()).map_err(failed)
    }

    /// Opens that folder, if the container has one.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn notify(&self) -> Result<Option<OwnedFd>, Error> {
        match rustix::fs::openat(&self.dir, NOTIFY, FOLDER, Mode::empty()) {
            Ok(folder) => Ok(Some(folder)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.fail_file(NOTIFY, "open", errno.into())),
        }
    }

    /// With whatever the container has put there, if it may.
    fn remove_notify(&self) -> Result<(), Error> {
        let path = format!("/proc/self/fd/{}/{NOTIFY}", self.dir.as_raw_fd());
        match std::fs::remove_dir_all(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(self.fail_file(NOTIFY, "remove", error)),
            _ => Ok(()),
        }
    }

    /// Whether the container waits for `start`.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        rustix::fs::statat(&self.dir, START_SOCKET, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Takes away one file; its absence is fine.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn unlink(&self, name: &str) -> Result<(), Error> {
        match rustix::fs::unlinkat(&self.dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.fail("remove", errno)),
        }
    }

    /// Takes away the folder. The record goes after the other files, so that a removal that was cut short can be
    /// repeated, and the folder goes last.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn remove(&self) -> Result<(), Error> {
        self.remove_notify()?;
        for name in [START_SOCKET, FILTER, RECORD_NEW, RECORD] {
            self.unlink(name)?;
        }
        match rustix::fs::unlinkat(&self.root, self.id.as_str(), AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.fail("remove", errno)),
        }
    }

    fn fail(&self, operation: &'static str, errno: Errno) -> Error {
        self.fail_io(operation, errno.into())
    }

    fn fail_io(&self, operation: &'static str, source: std::io::Error) -> Error {
        self.fail_file(RECORD, operation, source)
    }

    fn fail_file(&self, name: &str, operation: &'static str, source: std::io::Error) -> Error {
        Error::File { operation, path: self.path.join(name), source }
    }

    fn garbled(&self, source: serde_json::Error) -> Error {
        Error::Record { id: self.id.to_string(), path: self.path.join(RECORD), source }
    }
}

/// Makes each missing folder of a path of the operator's choice: the inner ones traversable, the last one private.
fn make_path(path: &Path) -> Result<(), Errno> {
    let mut ancestors: Vec<&Path> = path.ancestors().filter(|ancestor| !ancestor.as_os_str().is_empty()).collect();
    ancestors.reverse();
    for (index, ancestor) in ancestors.iter().enumerate() {
        let private = index + 1 == ancestors.len();
        let mode = if private { Mode::RWXU } else { Mode::RWXU | Mode::XGRP | Mode::XOTH };
        match rustix::fs::mkdirat(CWD, *ancestor, mode) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
