//! The working directory: checked as text, entered inside the container (made when absent), and then verified to be
//! below the container's root, which a name like `/proc/self/fd/7` would leave (CVE-2024-21626).

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode};
use rustix::io::Errno;

use super::Error;

/// Whether the directory is entered, or will be once the user has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// This process is in it.
    Entered,
    /// Root may not enter (a volume of the user on NFS, say); try again as the user.
    NeedsUser,
}

/// The working directory as the configuration has it.
///
/// # Errors
/// Not absolute (config.md, "process.cwd MUST be an absolute path"), or with a NUL.
pub fn plan(cwd: &Path) -> Result<PathBuf, Error> {
    if !cwd.is_absolute() {
        return Err(Error::invalid("process.cwd", format!("is `{}`; it must be an absolute path", cwd.display())));
    }
    if CString::new(cwd.as_os_str().as_bytes()).is_err() {
        return Err(Error::invalid("process.cwd", "contains a NUL character"));
    }
    Ok(cwd.to_owned())
}

/// Enters the directory as the user that set the container up, after the root has changed; makes it with mode 0755
/// when it is absent, as runc does.
///
/// # Errors
/// It cannot be entered or made.
pub fn enter(cwd: &Path) -> Result<Entry, Error> {
    match rustix::process::chdir(cwd) {
        Ok(()) => Ok(Entry::Entered),
        Err(Errno::ACCESS | Errno::PERM) => Ok(Entry::NeedsUser),
        Err(Errno::NOENT) => {
            create(cwd)?;
            Ok(Entry::Entered)
        }
        Err(errno) => Err(Error::Cwd { path: cwd.to_owned(), source: errno.into() }),
    }
}

/// Enters the directory, for the second try after the user has changed.
///
/// # Errors
/// It cannot be entered.
pub fn enter_as_user(cwd: &Path) -> Result<(), Error> {
    rustix::process::chdir(cwd).map_err(|errno| Error::Cwd { path: cwd.to_owned(), source: errno.into() })
}

/// Checks that the working directory can be named from the root: the kernel says `(unreachable)` or `ENOENT` for
/// one that cannot (`getcwd(2)`).
///
/// # Errors
/// [`Error::CwdOutside`].
pub fn verify(cwd: &Path) -> Result<(), Error> {
    match rustix::process::getcwd(Vec::new()) {
        Ok(name) if name.as_bytes().starts_with(b"/") => Ok(()),
        Ok(_) | Err(Errno::NOENT) => Err(Error::CwdOutside { path: cwd.to_owned() }),
        Err(errno) => Err(Error::Cwd { path: cwd.to_owned(), source: errno.into() }),
    }
}

/// Makes what is missing of the directory, and enters it. It goes there step by step and makes nothing before the
/// kernel has said that the place is below our root: over a magic link of a procfs, plain mkdir(2) would make folders
/// on the host.
fn create(cwd: &Path) -> Result<(), Error> {
    let failed = |errno: Errno| Error::CreateCwd { path: cwd.to_owned(), source: errno.into() };
    // The folders get mode 0755 whatever the caller's umask is; the container's own is set when its user is.
    let _replaced_soon = rustix::process::umask(Mode::WGRP | Mode::WOTH);
    for component in cwd.components() {
        match rustix::process::chdir(component.as_os_str()) {
            Ok(()) => continue,
            Err(Errno::NOENT) => verify(cwd)?,
            Err(errno) => return Err(failed(errno)),
        }
        rustix::fs::mkdirat(CWD, component.as_os_str(), Mode::from_raw_mode(0o755)).map_err(failed)?;
        rustix::process::chdir(component.as_os_str()).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_working_directory_is_an_absolute_path() {
        assert_eq!(plan(Path::new("/a/../b")).unwrap(), Path::new("/a/../b"));
        assert_eq!(plan(Path::new("a")).unwrap_err().to_string(), "`process.cwd` is `a`; it must be an absolute path");
        assert!(plan(Path::new("")).is_err());
        assert!(plan(Path::new("/a\0b")).is_err());
    }
}
