//! Which program is the runtime: the one that the caller names, or the `skiff` that was installed beside this shim.

use super::Error;
use rustix::fs::{Access, access};
use std::path::{Path, PathBuf};

/// Finds the program. `name` is empty when the caller does not care.
///
/// # Errors
/// [`Error::Absent`].
pub(crate) fn locate(name: &str) -> Result<PathBuf, Error> {
    let own = std::env::current_exe().ok();
    let path = std::env::var("PATH").unwrap_or_default();
    let found = candidates(name, own.as_deref(), &path).into_iter().find(|path| is_executable(path));
    found.ok_or_else(|| Error::Absent(if name.is_empty() { "skiff".into() } else { name.into() }))
}

fn candidates(name: &str, own: Option<&Path>, path: &str) -> Vec<PathBuf> {
    if name.contains('/') {
        return vec![name.into()];
    }
    let on_path = path.split(':').filter(|folder| !folder.is_empty()).map(PathBuf::from);
    if name.is_empty() {
        let beside = own.and_then(Path::parent).map(Path::to_path_buf);
        return beside.into_iter().chain(on_path).map(|folder| folder.join("skiff")).collect();
    }
    on_path.map(|folder| folder.join(name)).collect()
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtime_beside_the_shim_comes_first() {
        let own = Path::new("/opt/skiff/containerd-shim-skiff-v1");
        let seen = |name: &str| -> Vec<String> {
            let all = candidates(name, Some(own), "/usr/bin::/bin");
            all.iter().map(|path| path.display().to_string()).collect()
        };
        assert_eq!(seen(""), ["/opt/skiff/skiff", "/usr/bin/skiff", "/bin/skiff"]);
        assert_eq!(seen("runc"), ["/usr/bin/runc", "/bin/runc"]);
        assert_eq!(seen("/x/crun"), ["/x/crun"]);
    }

    #[test]
    fn an_absent_runtime_is_named() {
        let said = locate("no-such-runtime").unwrap_err().to_string();
        assert!(said.contains("`no-such-runtime`"), "{said}");
        assert!(locate("/etc/passwd").is_err(), "a file that cannot be executed is none");
    }
}
