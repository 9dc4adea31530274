//! Connecting to a Unix socket that the caller named (`--console-socket`, `--pidfd-socket`), however long its path.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::Error;

/// `sun_path` of unix(7) holds 108 bytes with the NUL.
const LONGEST: usize = 107;

/// Connects to the listening stream socket at `path`. To be called before anything is made, so that a wrong path
/// leaves nothing behind.
///
/// # Errors
/// [`Error::NotASocket`], or [`Error::Connect`] when nothing is there or nobody listens.
pub fn connect(path: &Path) -> Result<OwnedFd, Error> {
    let failed = |source| Error::Connect { path: path.to_path_buf(), source };
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if !metadata.file_type().is_socket() {
        return Err(Error::NotASocket { path: path.to_path_buf() });
    }
    let stream = if path.as_os_str().as_bytes().len() <= LONGEST {
        UnixStream::connect(path)
    } else {
        connect_from_folder(path)
    };
    stream.map(OwnedFd::from).map_err(failed)
}

/// Shortens a path by naming its folder through a descriptor: the working directory is not ours to change.
fn connect_from_folder(path: &Path) -> io::Result<UnixStream> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let folder = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
    UnixStream::connect(short)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_long_path_works_and_wrong_ones_say_why() {
        let base = tempfile::tempdir().unwrap();
        let mut folder = base.path().to_path_buf();
        while folder.as_os_str().len() < 200 {
            folder.push("a-folder-with-a-long-name");
            std::fs::create_dir(&folder).unwrap();
        }
        // The listener is bound under a short name and moved: bind(2) has the same limit.
        let listener = UnixListener::bind(base.path().join("s")).unwrap();
        std::fs::rename(base.path().join("s"), folder.join("s")).unwrap();
        connect(&folder.join("s")).unwrap();
        listener.accept().unwrap();

        std::fs::write(base.path().join("file"), "").unwrap();
        let words = |path: &str| connect(&base.path().join(path)).unwrap_err().to_string();
        assert!(words("file").ends_with("is not a socket"));
        assert!(words("absent").starts_with("cannot connect to socket"));
        drop(listener);
        assert!(matches!(connect(&folder.join("s")), Err(Error::Connect { .. })));
    }
}
