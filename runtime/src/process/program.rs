//! The program itself: found inside the container as the container's user would find it, and executed. Every failure
//! is told in the words that docker and podman look for, with the exit code of a shell (126 or 127).

use std::ffi::{CStr, CString};
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, FileType};
use rustix::io::Errno;

use super::error::words;
use super::{Error, descriptors};
use crate::seccomp::{self, Filter};
use crate::sys::exec::Execution;
use crate::sys::prctl;

const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

/// What to execute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// `process.args`, never empty.
    pub args: Vec<CString>,
}

/// Checks `process.args` as text.
///
/// # Errors
/// Absent or empty, or with a NUL.
pub fn plan(args: Option<&[String]>) -> Result<Program, Error> {
    let args = args.unwrap_or_default();
    if args.is_empty() {
        return Err(Error::invalid("process.args", "must not be empty"));
    }
    let texts = args.iter().enumerate().map(|(index, arg)| {
        CString::new(arg.as_str())
            .map_err(|_nul| Error::invalid(format!("process.args[{index}]"), "contains a NUL character"))
    });
    Ok(Program { args: texts.collect::<Result<_, _>>()? })
}

/// The file to execute: a name with a slash as it is (relative to the working directory), else the first executable
/// of that name in `path`, the value of the container's `PATH`. Call it as the container's user, in its root.
///
/// # Errors
/// [`Error::Program`]: no such file, a directory, not executable.
pub fn find(name: &CStr, path: Option<&str>) -> Result<CString, Error> {
    let text = name.to_string_lossy();
    if text.contains('/') {
        return match check(name) {
            Ok(()) => Ok(name.to_owned()),
            Err(Refusal::Stat(errno)) => Err(refused(&text, &format!("stat {text}: {}", words(errno)), code_of(errno))),
            Err(Refusal::Directory) => Err(refused(&text, "is a directory", NOT_EXECUTABLE)),
            Err(Refusal::Access(errno)) => Err(refused(&text, &words(errno), NOT_EXECUTABLE)),
        };
    }
    let not_found = || refused(&text, "executable file not found in $PATH", NOT_FOUND);
    if matches!(name.to_bytes(), b"" | b"." | b"..") {
        return Err(not_found());
    }
    for directory in path.unwrap_or_default().split(':') {
        // An empty entry means the working directory (POSIX), and so does an empty PATH for Go's look-up: none.
        let directory = if directory.is_empty() && path.is_some_and(|path| !path.is_empty()) { "." } else { directory };
        if directory.is_empty() {
            continue;
        }
        let candidate = Path::new(directory).join(&*text);
        let Ok(candidate) = CString::new(candidate.into_os_string().into_encoded_bytes()) else { continue };
        if check(&candidate).is_err() {
            continue;
        }
        if !directory.starts_with('/') {
            // What a container runs must not depend on what lies in its working directory; runc refuses as well.
            return Err(refused(&text, "cannot run executable found relative to current directory", NOT_FOUND));
        }
        return Ok(candidate);
    }
    Err(not_found())
}

/// Becomes the program: signals as a program expects them, then `execve(2)`. Returns only to say why not.
#[must_use]
pub fn exec(file: &CStr, args: &[CString], environment: &[CString], filter: Option<&Filter>) -> Error {
    let execution = Execution::new(file, args, environment);
    prctl::reset_signals();
    // Behind everything that a filter might not allow us.
    if let Some(Err(error)) = filter.map(seccomp::load) {
        return error.into();
    }
    let errno = Errno::from_io_error(&execution.begin()).unwrap_or(Errno::IO);
    // What execve(2) itself says hardly ever, and filters say of what they do not know.
    let hint = if matches!(errno, Errno::PERM | Errno::NOSYS) { " (does `linux.seccomp` allow execve?)" } else { "" };
    Error::Exec { path: file.to_owned(), words: words(errno) + hint, code: code_of(errno) }
}

/// Closes every descriptor from `first` on and becomes the program, so that no descriptor of the host can be what the
/// file's name or its interpreter leads to (CVE-2024-21626).
#[must_use]
pub fn exec_alone(
    file: &CStr,
    args: &[CString],
    environment: &[CString],
    first: u32,
    filter: Option<&Filter>,
) -> Error {
    match descriptors::close_from(first) {
        Ok(()) => exec(file, args, environment, filter),
        Err(error) => error,
    }
}

enum Refusal {
    Stat(Errno),
    Directory,
    Access(Errno),
}

fn check(file: &CStr) -> Result<(), Refusal> {
    let stat = rustix::fs::stat(file).map_err(Refusal::Stat)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Err(Refusal::Directory);
    }
    match rustix::fs::accessat(CWD, file, Access::EXEC_OK, AtFlags::EACCESS) {
        // faccessat2 came with Linux 5.8; without it access(2) does, as our real and effective ids are the same.
        Err(Errno::NOSYS) => rustix::fs::access(file, Access::EXEC_OK).map_err(Refusal::Access),
        result => result.map_err(Refusal::Access),
    }
}

fn code_of(errno: Errno) -> u8 {
    if errno == Errno::NOENT { NOT_FOUND } else { NOT_EXECUTABLE }
}

fn refused(name: &str, problem: &str, code: u8) -> Error {
    Error::Program { text: format!("exec: {name:?}: {problem}"), code }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_find(name: &str, path: Option<&str>, expected: Result<&str, (&str, u8)>) {
        match (find(&CString::new(name).unwrap(), path), expected) {
            (Ok(found), Ok(wanted)) => assert_eq!(found.to_str().unwrap(), wanted),
            (Err(found), Err((text, code))) => {
                assert_eq!((found.to_string().as_str(), found.exit_code()), (text, code))
            }
            (found, wanted) => panic!("{name}: {found:?}, not {wanted:?}"),
        }
    }

    #[test]
    fn arguments_are_checked() {
        assert_eq!(plan(None).unwrap_err().to_string(), "`process.args` must not be empty");
        assert_eq!(plan(Some(&[])).unwrap_err().to_string(), "`process.args` must not be empty");
        let nul = plan(Some(&["a".to_owned(), "b\0".to_owned()])).unwrap_err();
        assert_eq!(nul.to_string(), "`process.args[1]` contains a NUL character");
    }

    #[test]
    fn programs_are_found_or_refused_in_the_known_words() {
        let folder = tempfile::tempdir().unwrap();
        let plain = folder.path().join("plain");
        std::fs::write(&plain, "x").unwrap();
        let (folder, plain) = (folder.path().to_str().unwrap(), plain.to_str().unwrap());
        check_find("/bin/sh", None, Ok("/bin/sh"));
        check_find("sh", Some("/nowhere:/bin"), Ok("/bin/sh"));
        let missing = "executable file not found in $PATH";
        for (name, path) in [("nope", Some("/bin")), ("sh", None), ("sh", Some("")), ("", Some("/bin"))] {
            check_find(name, path, Err((&format!("exec: {name:?}: {missing}"), 127)));
        }
        check_find("plain", Some(folder), Err((&format!("exec: \"plain\": {missing}"), 127)));
        check_find(plain, None, Err((&format!("exec: {plain:?}: permission denied"), 126)));
        check_find("/nope", None, Err(("exec: \"/nope\": stat /nope: no such file or directory", 127)));
        check_find("/bin/sh/x", None, Err(("exec: \"/bin/sh/x\": stat /bin/sh/x: not a directory", 126)));
        check_find("/etc", None, Err(("exec: \"/etc\": is a directory", 126)));
        let relative = "exec: \"sh\": cannot run executable found relative to current directory";
        check_find("sh", Some("../../../../../../../../../../bin"), Err((relative, 127)));
    }
}
