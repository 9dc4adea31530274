//! The root that a snapshotter describes: mounted on the bundle's `rootfs` before the runtime looks, and taken off again
//! by whoever ends the container.

use containerd_shim_protos::api::Mount;
use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Why the root cannot be mounted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The place for it.
    #[error("`{path}` cannot be made")]
    Folder { path: PathBuf, source: io::Error },
    /// The kernel refused.
    #[error("`{source_name}` ({kind}, {options}) cannot be mounted on `{target}`")]
    Mount { source_name: String, kind: String, options: String, target: PathBuf, source: io::Error },
    /// What a mount says contains a NUL.
    #[error("the options of `{0}` contain a NUL")]
    Nul(String),
    /// Something is still used.
    #[error("`{path}` cannot be unmounted")]
    Unmount { path: PathBuf, source: io::Error },
}

/// What mount(2) is given for the words of an fstab.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Plan {
    flags: MountFlags,
    /// Flags that a bind takes in a second call only (mount(2)).
    remount: Option<MountFlags>,
    /// The options that are the file system's own.
    data: String,
    /// The folder from which relative paths in `data` are meant.
    from: Option<String>,
}

/// The longest options that the kernel takes is a page; some of it is kept for what it adds.
const LONGEST_DATA: usize = 3900;

/// Mounts all of `mounts`, one over the other, on `rootfs`. On failure nothing is left mounted.
///
/// # Errors
/// See [`Error`].
pub(crate) fn mount_all(mounts: &[Mount], rootfs: &Path) -> Result<(), Error> {
    if mounts.is_empty() {
        return Ok(());
    }
    match std::fs::create_dir(rootfs) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(Error::Folder { path: rootfs.to_owned(), source: error });
        }
        Ok(()) | Err(_) => {}
    }
    for entry in mounts {
        if let Err(error) = mount_one(entry, rootfs) {
            let _the_first_error_counts = unmount_all(rootfs);
            return Err(error);
        }
    }
    Ok(())
}

/// Takes off everything that is mounted on `rootfs`; nothing being mounted is fine.
///
/// # Errors
/// [`Error::Unmount`].
pub(crate) fn unmount_all(rootfs: &Path) -> Result<(), Error> {
    loop {
        let seen = match unmount(rootfs, UnmountFlags::NOFOLLOW) {
            // Somebody still looks at it: it disappears for everybody now and for them when they are done.
            Err(Errno::BUSY) => unmount(rootfs, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH),
            other => other,
        };
        match seen {
            Ok(()) => {}
            // Not a mount point, or not there at all.
            Err(Errno::INVAL | Errno::NOENT) => return Ok(()),
            Err(error) => return Err(Error::Unmount { path: rootfs.to_owned(), source: error.into() }),
        }
    }
}

/// [`unmount_all`] on a thread of its own: taking off a root that was written to waits for its disk, and other containers
/// are not to wait with it.
///
/// # Errors
/// [`Error::Unmount`].
pub(crate) async fn unmount_all_aside(rootfs: PathBuf) -> Result<(), Error> {
    let path = rootfs.clone();
    let ended = tokio::task::spawn_blocking(move || unmount_all(&rootfs)).await;
    ended.unwrap_or_else(|error| Err(Error::Unmount { path, source: error.into() }))
}

fn mount_one(entry: &Mount, rootfs: &Path) -> Result<(), Error> {
    let plan = plan(entry);
    let failed = |error: Errno| Error::Mount {
        source_name: entry.source.clone(),
        kind: entry.type_.clone(),
        options: entry.options.join(","),
        target: rootfs.join(entry.target.trim_start_matches('/')),
        source: error.into(),
    };
    let data = CString::new(plan.data.as_str()).map_err(|_| Error::Nul(entry.source.clone()))?;
    let target = Target::find(rootfs, &entry.target).map_err(failed)?;
    let mounted = from_folder(plan.from.as_deref(), || {
        mount(entry.source.as_str(), target.path(), entry.type_.as_str(), plan.flags, data.as_c_str())
    });
    mounted.map_err(failed)?;
    let Some(flags) = plan.remount else { return Ok(()) };
    // Again, because what was found before lies below the new mount.
    let target = Target::find(rootfs, &entry.target).map_err(failed)?;
    mount_remount(target.path(), flags, c"").map_err(failed)
}

/// Where something is mounted.
struct Target {
    path: PathBuf,
    _held: Option<OwnedFd>,
}

impl Target {
    /// A place inside the root is sought with the root as `/`: links in an image must not lead out of it.
    fn find(rootfs: &Path, name: &str) -> Result<Self, Errno> {
        let name = name.trim_matches('/');
        if name.is_empty() {
            return Ok(Self { path: rootfs.to_owned(), _held: None });
        }
        let root = open(rootfs, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let ways = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let held = openat2(&root, name, flags, Mode::empty(), ways)?;
        Ok(Self { path: format!("/proc/self/fd/{}", held.as_raw_fd()).into(), _held: Some(held) })
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

/// Performs one call with another working directory. Nothing else in this process goes by a relative path.
fn from_folder<T>(folder: Option<&str>, call: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
    let Some(folder) = folder else { return call() };
    rustix::process::chdir(folder)?;
    let result = call();
    rustix::process::chdir("/")?;
    result
}

fn plan(entry: &Mount) -> Plan {
    let mut flags = MountFlags::empty();
    let mut data: Vec<&str> = Vec::new();
    for option in &entry.options {
        match flag(option) {
            Some(Change::Set(flag)) => flags |= flag,
            Some(Change::Clear(flag)) => flags -= flag,
            Some(Change::Nothing) => {}
            None => data.push(option),
        }
    }
    if entry.type_ == "bind" {
        flags |= MountFlags::BIND;
    }
    let rest = flags - MountFlags::BIND - MountFlags::REC;
    let remount = (flags.contains(MountFlags::BIND) && !rest.is_empty()).then(|| rest | MountFlags::BIND);
    let (data, from) = shorten(data.join(","));
    Plan { flags: if remount.is_some() { flags - rest } else { flags }, remount, data, from }
}

enum Change {
    Set(MountFlags),
    Clear(MountFlags),
    Nothing,
}

fn flag(option: &str) -> Option<Change> {
    Some(match option {
        "defaults" | "loop" => Change::Nothing,
        "bind" => Change::Set(MountFlags::BIND),
        "rbind" => Change::Set(MountFlags::BIND | MountFlags::REC),
        "ro" => Change::Set(MountFlags::RDONLY),
        "rw" => Change::Clear(MountFlags::RDONLY),
        "nosuid" => Change::Set(MountFlags::NOSUID),
        "suid" => Change::Clear(MountFlags::NOSUID),
        "nodev" => Change::Set(MountFlags::NODEV),
        "dev" => Change::Clear(MountFlags::NODEV),
        "noexec" => Change::Set(MountFlags::NOEXEC),
        "exec" => Change::Clear(MountFlags::NOEXEC),
        "noatime" => Change::Set(MountFlags::NOATIME),
        "atime" => Change::Clear(MountFlags::NOATIME),
        "nodiratime" => Change::Set(MountFlags::NODIRATIME),
        "relatime" => Change::Set(MountFlags::RELATIME),
        "strictatime" => Change::Set(MountFlags::STRICTATIME),
        "sync" => Change::Set(MountFlags::SYNCHRONOUS),
        "dirsync" => Change::Set(MountFlags::DIRSYNC),
        _ => return None,
    })
}

/// Options longer than a page are an overlay's with many layers: what the layers' paths have in common becomes the
/// working directory.
fn shorten(data: String) -> (String, Option<String>) {
    if data.len() <= LONGEST_DATA {
        return (data, None);
    }
    let mut options: Vec<String> = data.split(',').map(str::to_owned).collect();
    let Some(lower) = options.iter_mut().find(|option| option.starts_with("lowerdir=")) else { return (data, None) };
    let layers: Vec<&str> = lower["lowerdir=".len()..].split(':').collect();
    let Some(folder) = shared_folder(&layers) else { return (data, None) };
    let short: Vec<&str> = layers.iter().map(|layer| &layer[folder.len()..]).collect();
    *lower = format!("lowerdir={}", short.join(":"));
    (options.join(","), Some(folder))
}

/// The longest beginning that ends with a slash and leaves something of each.
fn shared_folder(paths: &[&str]) -> Option<String> {
    let first = paths.first()?;
    let ends = first.match_indices('/').map(|(at, _)| at + 1).rev();
    let mut folders = ends.map(|end| &first[..end]);
    let shared = |folder: &&str| paths.iter().all(|path| path.starts_with(folder) && path.len() > folder.len());
    folders.find(shared).filter(|folder| folder.len() > 1).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: &str, options: &[&str]) -> Mount {
        let options = options.iter().map(|&option| option.to_owned()).collect();
        Mount { type_: kind.to_owned(), options, ..Mount::default() }
    }

    #[test]
    fn words_become_flags_and_the_rest_is_the_file_systems() {
        let bind = plan(&entry("bind", &["rbind", "rw"]));
        assert_eq!((bind.flags, bind.remount), (MountFlags::BIND | MountFlags::REC, None));
        let read_only = plan(&entry("bind", &["rbind", "ro"]));
        assert_eq!(read_only.flags, MountFlags::BIND | MountFlags::REC);
        assert_eq!(read_only.remount, Some(MountFlags::BIND | MountFlags::RDONLY));
        let overlay = plan(&entry("overlay", &["index=off", "workdir=/w", "ro", "lowerdir=/a:/b"]));
        assert_eq!((overlay.flags, overlay.remount), (MountFlags::RDONLY, None));
        assert_eq!(overlay.data, "index=off,workdir=/w,lowerdir=/a:/b");
        assert_eq!(plan(&entry("tmpfs", &["ro", "rw", "noexec", "exec"])).flags, MountFlags::empty());
    }

    #[test]
    fn many_layers_are_named_from_the_folder_they_share() {
        let layers: Vec<_> = (0..200).map(|number| format!("/var/lib/snapshots/{number}/fs")).collect();
        let lower = format!("lowerdir={}", layers.join(":"));
        let long = plan(&entry("overlay", &["workdir=/w", &lower]));
        assert_eq!(long.from.as_deref(), Some("/var/lib/snapshots/"));
        assert!(long.data.starts_with("workdir=/w,lowerdir=0/fs:1/fs:") && long.data.len() < LONGEST_DATA);
        assert_eq!(shared_folder(&["/a", "/b"]), None);
        assert_eq!(shared_folder(&["/a/b", "/a/b/c"]), Some("/a/".to_owned()));
    }

    #[test]
    fn a_link_inside_the_root_does_not_lead_out_of_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("etc")).unwrap();
        for (link, to) in [("absolute", "/etc"), ("relative", "../../../../../../etc")] {
            std::os::unix::fs::symlink(to, folder.path().join(link)).unwrap();
        }
        for name in ["/absolute", "relative", "/../etc/"] {
            let target = Target::find(folder.path(), name).unwrap();
            assert_eq!(std::fs::read_link(target.path()).unwrap(), folder.path().join("etc"), "{name}");
        }
        assert_eq!(Target::find(folder.path(), "/").unwrap().path(), folder.path());
    }

    #[test]
    fn nothing_mounted_is_unmounted() {
        let folder = tempfile::tempdir().unwrap();
        mount_all(&[], folder.path()).unwrap();
        unmount_all(&folder.path().join("absent")).unwrap();
    }
}
