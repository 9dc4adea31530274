//! Mounts of file systems that the kernel makes: proc, sysfs, tmpfs, devpts, mqueue, overlay and all others.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags};

use super::options::Options;
use super::resolve::proc_path;

/// What mount(2) is told.
pub(super) struct Filesystem<'a> {
    pub(super) name: &'a str,
    pub(super) source: &'a str,
    pub(super) options: &'a Options,
    /// More words for the file system, beyond those of the options.
    pub(super) extra: Option<String>,
}

impl Filesystem<'_> {
    fn words(&self) -> impl Iterator<Item = &str> {
        self.options.data.iter().map(String::as_str).chain(self.extra.as_deref())
    }

    fn data(&self) -> Result<CString, Errno> {
        let words: Vec<&str> = self.words().collect();
        CString::new(words.join(",")).map_err(|_nul| Errno::INVAL)
    }

    /// Mounts onto a directory with one `mount(2)`. `.` is that directory whatever its name is by now, so that no path
    /// is looked at; five calls of the newer kind do the same a quarter slower.
    pub(super) fn mount_on(&self, target: &OwnedFd, flags: MountFlags) -> Result<(), Errno> {
        rustix::process::fchdir(target)?;
        self.mount(".", flags)
    }

    /// Mounts again with other options what is mounted on `target`.
    pub(super) fn remount(&self, target: &OwnedFd) -> Result<(), Errno> {
        let flags = self.options.mount_flags() | MountFlags::from_bits_retain(REMOUNT);
        self.mount(&proc_path(target), flags)
    }

    fn mount(&self, target: &str, flags: MountFlags) -> Result<(), Errno> {
        rustix::mount::mount(self.source, target, self.name, flags, self.data()?.as_c_str())
    }

    /// Makes a detached mount, for those that are worked on before they are seen.
    pub(super) fn detached(&self, attributes: u64) -> Result<OwnedFd, Errno> {
        let context = rustix::mount::fsopen(self.name, FsOpenFlags::FSOPEN_CLOEXEC)?;
        rustix::mount::fsconfig_set_string(context.as_fd(), "source", self.source)?;
        for word in self.words() {
            configure(&context, word)?;
        }
        for (flag, word) in SUPERBLOCK {
            if self.options.mount_flags().contains(flag) {
                rustix::mount::fsconfig_set_flag(context.as_fd(), word)?;
            }
        }
        rustix::mount::fsconfig_create(context.as_fd())?;
        let attributes = MountAttrFlags::from_bits_retain(u32::try_from(attributes).unwrap_or_default());
        rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
    }

    /// Which word the file system refuses, found by offering them one by one: `mount(2)` says only `EINVAL`. A kernel
    /// that takes no single words (before 5.2) leaves it at all of them.
    pub(super) fn refused_word(&self) -> Option<String> {
        let context = match rustix::mount::fsopen(self.name, FsOpenFlags::FSOPEN_CLOEXEC) {
            Ok(context) => context,
            Err(Errno::NOSYS) => {
                let all = self.words().collect::<Vec<_>>().join(",");
                return Some(all).filter(|words| !words.is_empty());
            }
            Err(_) => return None,
        };
        self.words().find(|word| configure(&context, word).is_err()).map(str::to_owned)
    }
}

/// `MS_REMOUNT`, which rustix keeps for its own function without a source.
const REMOUNT: u32 = 32;

/// The bits of a file system as a whole, by the names that fsconfig(2) has for them.
const SUPERBLOCK: [(MountFlags, &str); 4] = [
    (MountFlags::SYNCHRONOUS, "sync"),
    (MountFlags::DIRSYNC, "dirsync"),
    (MountFlags::LAZYTIME, "lazytime"),
    (MountFlags::PERMIT_MANDATORY_FILE_LOCKING, "mand"),
];

fn configure(context: &OwnedFd, word: &str) -> Result<(), Errno> {
    match word.split_once('=') {
        Some((key, value)) => rustix::mount::fsconfig_set_string(context.as_fd(), key, value),
        None => rustix::mount::fsconfig_set_flag(context.as_fd(), word),
    }
}
