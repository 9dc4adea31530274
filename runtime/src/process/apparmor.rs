//! The AppArmor profile of the program (`process.apparmorProfile`): the kernel is told beforehand, and confines at the exec
//! (apparmor(7), `aa_change_onexec(2)`).

use std::path::Path;

use oci_spec::runtime::Process;
use rustix::io::Errno;

use super::Error;
use crate::rootfs::procfs::{self, Procfs};

const PROPERTY: &str = "process.apparmorProfile";
const ENABLED: &str = "/sys/module/apparmor/parameters/enabled";

/// The profile asked for, if any; an empty name is none.
pub(super) fn asked(process: &Process) -> Option<&String> {
    process.apparmor_profile().as_ref().filter(|profile| !profile.is_empty())
}

/// Whether the kernel has AppArmor and it is enabled. The file is read only where a profile is asked for.
#[must_use]
pub fn observe(process: &Process) -> bool {
    asked(process).is_some() && std::fs::read(ENABLED).is_ok_and(|text| text.first() == Some(&b'Y'))
}

/// The name of the profile.
///
/// # Errors
/// A profile where the kernel enforces none, or a name that none can have.
pub fn plan(process: &Process, enabled: bool) -> Result<Option<String>, Error> {
    let Some(profile) = asked(process) else { return Ok(None) };
    if profile.contains(['\0', '\n']) {
        return Err(Error::invalid(PROPERTY, "has a NUL or a line break, which no name of a profile has"));
    }
    if !enabled {
        return Err(Error::Unsupported {
            property: PROPERTY,
            reason: "AppArmor is not enabled in this kernel (/sys/module/apparmor/parameters/enabled); remove it, or boot with apparmor=1",
        });
    }
    Ok(Some(profile.clone()))
}

/// Tells the kernel to confine this process at its next exec, and likewise the processes that it makes. Call it while the
/// host's `/proc` is there, and before a hook of the runtime's could be confined instead.
///
/// # Errors
/// [`Error::AppArmor`]: the profile is not loaded, or we are confined ourselves and may not change to it.
pub fn apply(profile: &str) -> Result<(), Error> {
    tell(profile).map_err(|errno| Error::AppArmor {
        profile: profile.to_owned(),
        hint: match errno {
            Errno::NOENT => " (it is not loaded; apparmor_parser(8) loads profiles)",
            Errno::ACCESS => " (the profile of the runtime itself does not allow it)",
            _ => "",
        },
        source: errno.into(),
    })
}

fn tell(profile: &str) -> Result<(), Errno> {
    let procfs = Procfs::open()?;
    let own = procfs.own()?;
    let file = match procfs.open_to_write(&own.join(Path::new("attr/apparmor/exec"))) {
        // Before Linux 5.8, whose one place belongs to the first of the security modules.
        Err(Errno::NOENT) => procfs.open_to_write(&own.join("attr/exec"))?,
        result => result?,
    };
    procfs::write_whole(&file, &format!("exec {profile}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan_of(profile: &str, enabled: bool) -> Result<Option<String>, Error> {
        let mut process = Process::default();
        process.set_apparmor_profile(Some(profile.to_owned()));
        plan(&process, enabled)
    }

    #[test]
    fn a_profile_needs_a_kernel_that_enforces_it() {
        assert_eq!(plan_of("cri-default", true).unwrap().as_deref(), Some("cri-default"));
        assert_eq!(plan_of("", false).unwrap(), None);
        let text = plan_of("cri-default", false).unwrap_err().to_string();
        assert!(text.starts_with("`process.apparmorProfile` is not supported: AppArmor is not enabled"), "{text}");
        assert!(plan_of("a\nb", true).is_err());
    }
}
