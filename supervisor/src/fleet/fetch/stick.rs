//! `file://`: the same questions, asked of a folder, for a stick or a disk that somebody carried here. The folder is opened
//! before the child is confined, and everything in it is reached name by name from there, through no link.

use super::wire::{Broken, Head, Reason, Request};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

/// A folder of fleet files.
pub(super) struct Stick {
    /// As it stands in addresses.
    url: String,
    /// Nothing while it is not plugged in.
    folder: Option<OwnedFd>,
}

impl Stick {
    /// Opens the folder, if it is there.
    pub(super) fn open(path: &Path) -> Self {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(CWD, path, flags, Mode::empty()).ok();
        Self { url: format!("file://{}/", path.display()), folder }
    }

    /// The folder, to be kept through confinement.
    pub(super) fn folder(&self) -> Option<&OwnedFd> {
        self.folder.as_ref()
    }

    /// Answers as a server would. The name of an edition is made of inode, size and time.
    pub(super) fn ask(&self, request: &Request) -> Result<(Head, Option<File>), Broken> {
        let broken = |reason, text: String| Broken { reason, text };
        let inside = request.url.strip_prefix(&self.url);
        let path = inside.ok_or_else(|| broken(Reason::Url, format!("`{}` is not on this medium", request.url)))?;
        if request.put.is_some() {
            return Err(broken(Reason::Url, "a medium takes no reports".to_owned()));
        }
        let file = match self.find(path) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok((Head { status: 404, ..Head::default() }, None)),
            Err(errno) => return Err(broken(Reason::File, format!("cannot open `{}`: {errno}", request.url))),
        };
        let stat = rustix::fs::fstat(&file)
            .map_err(|errno| broken(Reason::File, format!("cannot look at `{}`: {errno}", request.url)))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(broken(Reason::File, format!("`{}` is no file", request.url)));
        }
        let etag = format!("\"{:x}-{:x}-{:x}.{:x}\"", stat.st_ino, stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
        if request.etag.as_ref() == Some(&etag) {
            return Ok((Head { status: 304, ..Head::default() }, None));
        }
        Ok((Head { status: 200, etag: Some(etag), retry_after: None }, Some(file.into())))
    }

    fn find(&self, path: &str) -> Result<OwnedFd, Errno> {
        let folder = self.folder.as_ref().ok_or(Errno::NOENT)?;
        let mut at = folder.try_clone().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::MFILE))?;
        let mut names = path.split('/').peekable();
        while let Some(name) = names.next() {
            if matches!(name, "" | "." | "..") {
                return Err(Errno::INVAL);
            }
            // A pipe would make opening wait for its other end.
            let kind = if names.peek().is_some() { OFlags::DIRECTORY } else { OFlags::NONBLOCK };
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | kind;
            at = rustix::fs::openat(&at, name, flags, Mode::empty())?;
        }
        Ok(at)
    }
}
