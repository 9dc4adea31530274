//! Reads `config.json`, or the file of one further process, once, with a size limit, and hands back the parsed document
//! with what was found noteworthy.

use super::locate::member_at;
use super::{Error, LARGEST_CONFIG, refuse};
use oci_spec::runtime::{Capability, Process, Spec};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// An opened bundle folder.
pub struct Bundle {
    /// Absolute path, as hooks and the state document tell it.
    pub path: PathBuf,
    /// The folder itself (`O_PATH`).
    pub dir: OwnedFd,
    config: Option<PathBuf>,
}

/// A configuration that is well-formed and holds nothing that this runtime cannot enforce.
pub struct Loaded {
    /// The document.
    pub spec: Spec,
    /// What the specification asks to warn about.
    pub warnings: Vec<String>,
}

impl Bundle {
    /// Opens the bundle folder; a relative path is taken from the working directory.
    ///
    /// # Errors
    /// [`Error::Bundle`] when it is not a folder or cannot be reached.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let fail = |source: std::io::Error| Error::Bundle { path: path.to_owned(), source };
        let absolute = std::path::absolute(path).map_err(fail)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(CWD, &absolute, flags, Mode::empty()).map_err(|errno| fail(errno.into()))?;
        Ok(Self { path: absolute, dir, config: None })
    }

    /// The same, described by another file than its `config.json` (crun's `--config`); a relative path is taken from the working
    /// directory.
    #[must_use]
    pub fn described_by(self, config: Option<PathBuf>) -> Self {
        Self { config, ..self }
    }
}

/// Reads and checks the bundle's `config.json`.
///
/// # Errors
/// Each way in which the file can be unusable, see [`Error`].
pub fn load(bundle: &Bundle) -> Result<Loaded, Error> {
    let path = bundle.config.clone().unwrap_or_else(|| bundle.path.join("config.json"));
    let fail = |source| Error::Read { path: path.clone(), source };
    let text = match &bundle.config {
        Some(path) => read(CWD, path, path, &fail)?,
        None => read(bundle.dir.as_fd(), Path::new("config.json"), &path, &fail)?,
    };
    from_text(&text, &path)
}

/// Parses and checks the text of a `config.json`; `path` is for messages.
///
/// # Errors
/// [`Error::Invalid`], [`Error::Version`], [`Error::Missing`] or [`Error::Unsupported`].
pub fn from_text(text: &[u8], path: &Path) -> Result<Loaded, Error> {
    let (spec, warnings) = parse(text, "/process").map_err(|source| {
        let member = member_at(text, source.line(), source.column());
        Error::Invalid { path: path.to_owned(), member, source }
    })?;
    refuse::check(&spec)?;
    Ok(Loaded { spec, warnings })
}

/// Reads and checks the document of one process (`exec --process`): the member `process` of a `config.json` by itself.
/// The warnings come second.
///
/// # Errors
/// Each way in which the file can be unusable, see [`Error`].
pub fn load_process(path: &Path) -> Result<(Process, Vec<String>), Error> {
    let fail = |source| Error::ReadProcess { path: path.to_owned(), source };
    let text = read(CWD, path, path, &fail)?;
    let (process, warnings) = parse(&text, "").map_err(|source| {
        let member = member_at(&text, source.line(), source.column());
        Error::InvalidProcess { path: path.to_owned(), member, source }
    })?;
    Ok((process, warnings))
}

fn read(
    dir: BorrowedFd<'_>,
    name: &Path,
    path: &Path,
    fail: &dyn Fn(std::io::Error) -> Error,
) -> Result<Vec<u8>, Error> {
    // A pipe in the file's place must not hang us, hence O_NONBLOCK.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let fd = rustix::fs::openat(dir, name, flags, Mode::empty()).map_err(|errno| fail(errno.into()))?;
    let stat = rustix::fs::fstat(&fd).map_err(|errno| fail(errno.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Error::NotAFile { path: path.to_owned() });
    }
    let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
    if size > LARGEST_CONFIG {
        return Err(Error::TooLarge { path: path.to_owned() });
    }
    let mut text = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
    // One byte past the limit tells a file that grew while it was read.
    File::from(fd).take(LARGEST_CONFIG + 1).read_to_end(&mut text).map_err(fail)?;
    if text.len() as u64 > LARGEST_CONFIG {
        return Err(Error::TooLarge { path: path.to_owned() });
    }
    Ok(text)
}

/// Parses the document. The specification wants an unknown capability to be a warning and an empty list of processors to be
/// none (config.md, "Linux Process"), `oci-spec` makes both an error: only when parsing fails are such values looked for and
/// taken out, the first with a warning. `process` is the JSON pointer of the process in the document.
fn parse<T: DeserializeOwned>(text: &[u8], process: &str) -> Result<(T, Vec<String>), serde_json::Error> {
    let first = match serde_json::from_slice::<T>(text) {
        Ok(document) => return Ok((document, Vec::new())),
        Err(error) => error,
    };
    let Ok(mut document) = serde_json::from_slice::<serde_json::Value>(text) else { return Err(first) };
    let warnings = remove_unknown_capabilities(&mut document, process);
    let emptied = remove_empty_affinity(&mut document, process);
    if warnings.is_empty() && !emptied {
        return Err(first);
    }
    // Through text, because a second way into the same types would double the code that parses them. Another fault
    // keeps the first message, which has the line in the file.
    let text = serde_json::to_vec(&document)?;
    serde_json::from_slice(&text).map(|document| (document, warnings)).map_err(|_of_another_text| first)
}

fn remove_unknown_capabilities(document: &mut serde_json::Value, process: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    for set in ["bounding", "effective", "inheritable", "permitted", "ambient"] {
        let Some(names) = document.pointer_mut(&format!("{process}/capabilities/{set}")) else { continue };
        let Some(names) = names.as_array_mut() else { continue };
        names.retain(|name| {
            let known = !name.is_string() || serde_json::from_str::<Capability>(&name.to_string()).is_ok();
            if !known {
                warnings
                    .push(format!("process.capabilities.{set}: {name} is not a capability of Linux; it is left out"));
            }
            known
        });
    }
    warnings
}

fn remove_empty_affinity(document: &mut serde_json::Value, process: &str) -> bool {
    let affinity = document.pointer_mut(&format!("{process}/execCPUAffinity"));
    let Some(affinity) = affinity.and_then(serde_json::Value::as_object_mut) else { return false };
    let before = affinity.len();
    affinity.retain(|_, list| list != "");
    affinity.len() < before
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_capability_is_a_warning() {
        let text = br#"{"ociVersion":"1.0.2","process":{"cwd":"/","args":["a"],"user":{"uid":0,"gid":0},
            "capabilities":{"bounding":["CAP_KILL","CAP_FLY"],"effective":["CAP_FLY"]}},"root":{"path":"r"}}"#;
        let (spec, warnings): (Spec, _) = parse(text, "/process").unwrap();
        assert_eq!(warnings.len(), 2);
        assert!(warnings[0].contains("CAP_FLY"), "{warnings:?}");
        let capabilities = spec.process().as_ref().unwrap().capabilities().as_ref().unwrap().clone();
        assert_eq!(capabilities.bounding().as_ref().unwrap().len(), 1);
    }

    #[test]
    fn a_process_by_itself_is_read_alike() {
        let text = br#"{"cwd":"/","args":["a"],"user":{"uid":0,"gid":0},"capabilities":{"bounding":["CAP_FLY"]}}"#;
        let (process, warnings): (Process, _) = parse(text, "").unwrap();
        assert_eq!((process.args().as_ref().unwrap().len(), warnings.len()), (1, 1));
        assert!(parse::<Process>(b"{}", "").is_err());
    }

    #[test]
    fn an_empty_list_of_processors_is_none() {
        let text = br#"{"cwd":"/","args":["a"],"user":{},"execCPUAffinity":{"initial":"","final":"1"}}"#;
        let (process, warnings): (Process, _) = parse(text, "").unwrap();
        let affinity = process.exec_cpu_affinity().as_ref().unwrap();
        assert_eq!((affinity.initial(), affinity.cpu_affinity_final().as_deref()), (&None, Some("1")));
        assert!(warnings.is_empty(), "{warnings:?}");
    }

    #[test]
    fn other_faults_keep_their_line() {
        let error = parse::<Spec>(b"{\"ociVersion\":\"1.0.2\",\n\"root\":{\"path\":7}}", "/process").unwrap_err();
        assert_eq!(error.line(), 2);
        let text = b"{\"ociVersion\":\"1.0.2\",\n \"linux\":{\"namespaces\":[{\"type\":\"moon\"}]}}";
        let error = parse::<Spec>(text, "/process").unwrap_err();
        assert!(error.to_string().contains("moon"), "{error}");
    }
}
