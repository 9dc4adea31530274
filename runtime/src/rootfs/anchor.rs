//! The container's procfs and sysfs, held by descriptor from the moment they are mounted: what is to be masked or made
//! read-only below them is looked for in them, wherever a neighbour who shares the root has moved their mount points since
//! (CVE-2019-19921).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;

use super::attach::{self, Identity};
use super::error::Error;
use super::plan::{Kind, Step};
use super::prepare::Origin;

/// The two places whose protection is the runtime's task.
const PLACES: [&str; 2] = ["/proc", "/sys"];

/// What is mounted on them by now.
#[derive(Debug, Default)]
pub(super) struct Anchors(Vec<(&'static str, OwnedFd)>);

impl Anchors {
    /// Holds what `step` has mounted, if that is one of the places; `reopen` finds it by its name, once more.
    pub(super) fn hold(
        &mut self,
        step: &Step,
        origin: Option<&Origin>,
        reopen: impl FnOnce() -> Result<OwnedFd, Errno>,
    ) -> Result<(), Error> {
        let Some(place) = PLACES.into_iter().find(|place| step.destination == Path::new(place)) else { return Ok(()) };
        if step.options.remount {
            return Ok(());
        }
        self.0.retain(|(held, _)| *held != place);
        let failed = |source| Error::Mount {
            property: step.property.clone(),
            destination: step.destination.clone(),
            operation: "look at the mount",
            source,
        };
        let refused = |_gone| Error::Refused {
            property: step.property.clone(),
            path: step.destination.clone(),
            reason: "it was exchanged while it was mounted",
        };
        let wanted = match &step.kind {
            Kind::FileSystem { name, .. } if name == "proc" => Wanted::On(attach::PROC_SUPER_MAGIC),
            Kind::FileSystem { name, .. } if name == "sysfs" => Wanted::On(attach::SYSFS_MAGIC),
            Kind::Bind { .. } => Wanted::Is(origin.map(|origin| origin.identity)),
            // Nothing of the kernel's to protect.
            Kind::FileSystem { .. } | Kind::Cgroup => return Ok(()),
        };
        let mount = reopen().map_err(refused)?;
        let good = match wanted {
            Wanted::On(magic) => attach::is_on(&mount, magic),
            Wanted::Is(identity) => Identity::of_fd(&mount).map(|found| identity == Some(found)),
        };
        if !good.map_err(failed)? {
            return Err(refused(Errno::STALE));
        }
        self.0.push((place, mount));
        Ok(())
    }

    /// One of the places has been covered with another view of itself.
    pub(super) fn renew(&mut self, path: &Path, mount: OwnedFd) {
        if let Some((_, held)) = self.0.iter_mut().find(|(place, _)| path == Path::new(place)) {
            *held = mount;
        }
    }

    /// Where to look for a path of the configuration: from which directory, and by which name.
    pub(super) fn base<'a>(&'a self, root: &'a OwnedFd, path: &'a Path) -> (BorrowedFd<'a>, &'a Path) {
        for (place, mount) in &self.0 {
            match path.strip_prefix(place) {
                Ok(rest) if rest != Path::new("") => return (mount.as_fd(), rest),
                _elsewhere => {}
            }
        }
        (root.as_fd(), path)
    }
}

/// By what a mount is known.
enum Wanted {
    /// Its type of file system.
    On(u64),
    /// The very file that was bound.
    Is(Option<Identity>),
}
