//! The claim on a folder of sockets: whoever binds, replaces or removes a socket holds a lock on the folder itself, so
//! that no file is left over and two `start`s of one group cannot both find nothing.

use super::Error;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use std::fs::DirBuilder;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// The lock; released when dropped, or by the kernel.
#[derive(Debug)]
pub(crate) struct Claim {
    _folder: OwnedFd,
}

/// Who is behind a socket.
#[derive(Debug)]
pub(crate) enum Found {
    /// A process that listens.
    Live,
    /// Nobody, or nothing; now we listen.
    Ours(UnixListener),
}

impl Claim {
    /// Waits for the lock. The folder is made, for its owner alone, when it is missing; one that is there is left as
    /// it is, because it may be containerd's.
    ///
    /// # Errors
    /// [`Error::Folder`] and [`Error::Open`].
    pub(crate) fn take(folder: &Path) -> Result<Self, Error> {
        loop {
            if let Some(claim) = Self::lock(folder, FlockOperation::LockExclusive)? {
                return Ok(claim);
            }
        }
    }

    /// Takes the lock unless somebody has it.
    ///
    /// # Errors
    /// [`Error::Folder`] and [`Error::Open`].
    pub(crate) fn try_take(folder: &Path) -> Result<Option<Self>, Error> {
        Self::lock(folder, FlockOperation::NonBlockingLockExclusive)
    }

    fn lock(folder: &Path, operation: FlockOperation) -> Result<Option<Self>, Error> {
        let failed = |source: io::Error| Error::Folder { path: folder.to_owned(), source };
        make(folder).map_err(failed)?;
        let metadata = std::fs::metadata(folder).map_err(failed)?;
        // Read and search by others hurt nobody: a socket has permissions of its own.
        if metadata.mode() & 0o022 != 0 {
            return Err(Error::Open(folder.to_owned()));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let held = open(folder, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
        match flock(&held, operation) {
            Ok(()) => Ok(Some(Self { _folder: held })),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(failed(error.into())),
        }
    }

    /// Finds a shim behind `path`, or listens there; a socket that nobody listens on is replaced.
    ///
    /// # Errors
    /// [`Error::Bind`] and [`Error::Unlink`].
    pub(crate) fn find_or_listen(&self, path: &Path) -> Result<Found, Error> {
        if is_live(path) {
            return Ok(Found::Live);
        }
        remove(path)?;
        let failed = |source| Error::Bind { path: path.to_owned(), source };
        let listener = UnixListener::bind(path).map_err(failed)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Found::Ours(listener))
    }

    /// Removes a socket, whoever it belongs to.
    ///
    /// # Errors
    /// [`Error::Unlink`].
    pub(crate) fn remove(&self, path: &Path) -> Result<(), Error> {
        remove(path)
    }

    /// Removes a socket that nobody listens on.
    ///
    /// # Errors
    /// [`Error::Unlink`].
    pub(crate) fn remove_stale(&self, path: &Path) -> Result<(), Error> {
        if is_live(path) { Ok(()) } else { remove(path) }
    }
}

fn is_live(path: &Path) -> bool {
    UnixStream::connect(path).is_ok()
}

fn remove(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::Unlink { path: path.to_owned(), source: error })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Makes what is missing of a path, from the top; each for its owner alone.
fn make(folder: &Path) -> io::Result<()> {
    let missing: Vec<PathBuf> = folder.ancestors().take_while(|path| !path.exists()).map(Path::to_path_buf).collect();
    for path in missing.iter().rev() {
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_live_socket_is_found_and_a_stale_one_replaced() {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("run/s");
        let claim = Claim::take(&folder).unwrap();
        assert_eq!(std::fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        let path = folder.join("a");
        let Found::Ours(listener) = claim.find_or_listen(&path).unwrap() else { panic!("nobody was there") };
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(matches!(claim.find_or_listen(&path).unwrap(), Found::Live));
        claim.remove_stale(&path).unwrap();
        assert!(path.exists(), "somebody listens");
        drop(listener);
        assert!(matches!(claim.find_or_listen(&path).unwrap(), Found::Ours(_)));
        claim.remove_stale(&path).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_folder_that_others_write_to_is_refused() {
        let base = tempfile::tempdir().unwrap();
        std::fs::set_permissions(base.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(Claim::take(base.path()), Err(Error::Open(_))));
        let mode = std::fs::metadata(base.path()).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o777, "what is there is left as it is");
    }
}
