//! Kernel parameters, written through a procfs that nobody else can see: the container's own `/proc` could be dressed
//! by its mounts to lead a write elsewhere (CVE-2025-52881).

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use super::attach;
use super::error::Error;
use super::plan::Sysctl;
use super::resolve;

/// Sets all parameters. The caller is in the namespaces that they belong to.
pub(super) fn write(sysctls: &[Sysctl]) -> Result<(), Error> {
    let Some(first) = sysctls.first() else { return Ok(()) };
    let failed =
        |sysctl: &Sysctl, source| Error::Sysctl { key: sysctl.key.clone(), value: sysctl.value.clone(), source };
    let procfs = open_procfs().map_err(|source| failed(first, source))?;
    for sysctl in sysctls {
        set(&procfs, sysctl).map_err(|source| failed(sysctl, source))?;
    }
    Ok(())
}

fn set(procfs: &OwnedFd, sysctl: &Sysctl) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
    let file = match rustix::fs::openat2(procfs, &sysctl.path, flags, Mode::empty(), resolve) {
        Err(Errno::NOSYS) => resolve::open(procfs.as_fd(), &sysctl.path, resolve::Links::Refuse, OFlags::WRONLY)?,
        result => result?,
    };
    if !attach::is_on(&file, attach::PROC_SUPER_MAGIC)? {
        return Err(Errno::XDEV);
    }
    // One write: the kernel takes a parameter's text as a whole, and a rest would be a second value.
    let written = rustix::io::write(&file, sysctl.value.as_bytes())?;
    if written == sysctl.value.len() { Ok(()) } else { Err(Errno::IO) }
}

fn open_procfs() -> Result<OwnedFd, Errno> {
    match private_procfs() {
        // Before Linux 5.2, or where the kernel shows a user namespace no procfs beyond the host's: that one serves
        // as well here, before the root is changed, when it is procfs.
        Err(Errno::NOSYS | Errno::PERM) => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let procfs = rustix::fs::open("/proc", flags, Mode::empty())?;
            if attach::is_on(&procfs, attach::PROC_SUPER_MAGIC)? { Ok(procfs) } else { Err(Errno::XDEV) }
        }
        result => result,
    }
}

fn private_procfs() -> Result<OwnedFd, Errno> {
    let context = rustix::mount::fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_create(context.as_fd())?;
    let attributes =
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}
