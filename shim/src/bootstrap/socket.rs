//! Where the socket of a shim lies: a folder, and a name that is the same for all containers of a group.

use super::Error;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where containerd's own shims have theirs, and where it looks for leftovers.
pub(crate) const CONTAINERD_FOLDER: &str = "/run/containerd/s";

/// The variable that moves the folder; skiffd names its run folder by it.
pub(crate) const FOLDER_VARIABLE: &str = "SKIFF_SHIM_SOCKET_DIR";

/// The longest path of a socket (unix(7): 108 bytes with the NUL).
const LONGEST: usize = 107;

/// The path of a group's socket.
///
/// # Errors
/// [`Error::Long`].
pub(crate) fn path(folder: &Path, caller: &str, containerd_namespace: &str, group: &str) -> Result<PathBuf, Error> {
    // Path::join would drop what stands before an absolute part; containerd's own shims join as text, and so a group
    // has the same name here and there.
    let text = format!("{}/{containerd_namespace}/{group}", caller.trim_end_matches('/'));
    let mut name = String::with_capacity(64);
    for byte in Sha256::digest(text.as_bytes()) {
        let _strings_take_everything = write!(name, "{byte:02x}");
    }
    let path = folder.join(name);
    match path.as_os_str().as_bytes().len() {
        0..=LONGEST => Ok(path),
        length => Err(Error::Long { path, length }),
    }
}

/// What a client is told.
pub(crate) fn address(path: &Path) -> String {
    format!("unix://{}", path.display())
}

/// The path in an address of ours.
pub(crate) fn of_address(address: &str) -> Option<&Path> {
    address.trim().strip_prefix("unix://").map(Path::new).filter(|path| path.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_containerds_shims() {
        // printf '%s' /run/containerd/containerd.sock/default/web | sha256sum
        let wanted = "/s/2cde4450fa38c74f53603e01d2afd903b315a27a596f12a151414cd59897d883";
        let seen = path(Path::new("/s"), "/run/containerd/containerd.sock", "default", "web").unwrap();
        assert_eq!(seen, Path::new(wanted));
        let others = [
            path(Path::new("/s"), "/run/containerd/containerd.sock", "default", "web-1").unwrap(),
            path(Path::new("/s"), "/run/containerd/containerd.sock", "other", "web").unwrap(),
            path(Path::new("/s"), "/run/other.sock", "default", "web").unwrap(),
        ];
        assert!(others.iter().all(|other| *other != seen));
    }

    #[test]
    fn a_path_that_no_socket_can_have_is_refused() {
        let folder = format!("/{}", "x".repeat(43));
        assert!(matches!(path(Path::new(&folder), "a", "b", "c"), Err(Error::Long { length: 109, .. })));
    }

    #[test]
    fn addresses() {
        assert_eq!(address(Path::new("/s/a")), "unix:///s/a");
        assert_eq!(of_address("unix:///s/a\n"), Some(Path::new("/s/a")));
        for other in ["", "/s/a", "unix://s/a", "vsock://1:2", "{}"] {
            assert_eq!(of_address(other), None, "{other}");
        }
    }
}
