//! The change of the root directory, and what is closed after it.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use super::attach;
use super::build::Root;
use super::error::Error;
use super::options::Attributes;
use crate::sys::mount as kernel;

impl Root {
    /// Makes the container's root the root and working directory of this process; the host's mounts are gone from its
    /// namespace. With `no_pivot` the root is moved over the host's instead (for an initial ramdisk, where
    /// pivot_root(2) does not work); then the host's mounts are only hidden.
    ///
    /// # Errors
    /// [`Error::Enter`], naming the step.
    pub fn enter(&self, no_pivot: bool) -> Result<(), Error> {
        let step = |operation| move |source| Error::Enter { operation, source };
        if no_pivot {
            self.cover_host_views().map_err(step("cover the host's procfs and sysfs"))?;
        }
        rustix::process::fchdir(&self.fd).map_err(step("change into the root file system"))?;
        if no_pivot {
            self.move_over().map_err(step("move the root file system over `/`"))?;
        } else {
            // "." twice stacks the old root onto the new one, so that no directory for it is needed in the image;
            // pivot_root(2) describes it. Then "." names what is on top: the old root.
            rustix::process::pivot_root(".", ".").map_err(step("make the root file system the root (pivot_root)"))?;
            let down = MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM;
            if self.propagation.is_some() {
                // Shared mounts of the host would follow the unmount below.
                let old = rustix::fs::open("/..", PATH_DIRECTORY, rustix::fs::Mode::empty());
                let old = old.map_err(step("open the old root"))?;
                rustix::process::fchdir(&old).map_err(step("change into the old root"))?;
                rustix::mount::mount_change(".", down).map_err(step("part the old root from the host's peers"))?;
            }
            rustix::mount::unmount(".", UnmountFlags::DETACH).map_err(step("unmount the old root"))?;
        }
        rustix::process::chdir("/").map_err(step("change into the new root"))
    }

    fn move_over(&self) -> Result<(), Errno> {
        if self.place != Path::new("/") {
            rustix::mount::mount_move(".", "/")?;
        }
        rustix::process::chroot(".")
    }

    /// A chroot leaves the host's procfs and sysfs in the namespace. The kernel lets a user namespace mount a fresh,
    /// unmasked procfs only where it can see one: these would count.
    fn cover_host_views(&self) -> Result<(), Errno> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo")
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        for point in host_views(&mounts, &self.place) {
            match rustix::mount::unmount(&point, UnmountFlags::DETACH) {
                // Locked together by a user namespace: it cannot be taken away, but covered. ENOENT: it went with the
                // mount above it.
                Err(Errno::INVAL | Errno::PERM) => {
                    rustix::mount::mount("tmpfs", &point, "tmpfs", MountFlags::empty(), None)?;
                }
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// After [`Root::enter`]: sets `linux.rootfsPropagation`, and makes the root read-only if it is to be.
    ///
    /// # Errors
    /// [`Error::Enter`], naming the step.
    pub fn seal(&self) -> Result<(), Error> {
        let step = |operation| move |source| Error::Enter { operation, source };
        if let Some(propagation) = self.propagation {
            let change = kernel::Change { propagation: propagation.kind, ..kernel::Change::default() };
            match kernel::set_attributes(self.fd.as_fd(), propagation.recursive, change) {
                Err(Errno::NOSYS) => rustix::mount::mount_change("/", attach::propagation_flags(propagation)),
                result => result,
            }
            .map_err(step("set `linux.rootfsPropagation`"))?;
        }
        if self.readonly {
            let attributes = Attributes { set: libc::MOUNT_ATTR_RDONLY, clear: 0 };
            let change = kernel::Change { set: attributes.set, ..kernel::Change::default() };
            match kernel::set_attributes(self.fd.as_fd(), false, change) {
                // Not by /proc/self/fd, which is now whatever the image has there: `/` is the root by now.
                Err(Errno::NOSYS) => attach::remount(&self.fd, "/", attributes),
                result => result,
            }
            .map_err(step("make the root file system read-only"))?;
        }
        Ok(())
    }
}

const PATH_DIRECTORY: rustix::fs::OFlags =
    rustix::fs::OFlags::PATH.union(rustix::fs::OFlags::DIRECTORY).union(rustix::fs::OFlags::CLOEXEC);

/// The mount points of procfs and sysfs outside of `place`, deepest last, from the text of `/proc/self/mountinfo`
/// (proc_pid_mountinfo(5)). When the container's root lies on `/` itself, all are the host's but those on top of it,
/// which are reached only by descriptor.
fn host_views(mounts: &str, place: &Path) -> Vec<PathBuf> {
    let view = |line: &str| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let point = PathBuf::from(unescape(mount.split(' ').nth(4)?));
        let of_kernel = matches!(filesystem.split(' ').next(), Some("proc" | "sysfs"));
        (of_kernel && (place == Path::new("/") || !point.starts_with(place))).then_some(point)
    };
    mounts.lines().filter_map(view).collect()
}

/// Octal escapes of space, tab, newline and backslash.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_of_the_host() {
        let mounts = "22 27 0:21 / /proc rw - proc proc rw\n\
            23 27 0:22 / /sys rw shared:2 - sysfs sysfs rw\n\
            24 27 0:6 / /dev rw - devtmpfs devtmpfs rw\n\
            90 27 0:40 / /b\\040c/rootfs/proc rw - proc proc rw\n";
        let check = |place, wanted: &[&str]| {
            let views = host_views(mounts, Path::new(place));
            assert_eq!(views, wanted.iter().map(PathBuf::from).collect::<Vec<_>>(), "{place}");
        };
        check("/b c/rootfs", &["/proc", "/sys"]);
        check("/elsewhere", &["/proc", "/sys", "/b c/rootfs/proc"]);
    }
}
