//! Kernel parameters, written through a procfs that nobody else can see ([`Procfs`]).

use super::error::Error;
use super::plan::Sysctl;
use super::procfs::{self, Procfs};

/// Sets all parameters. The caller is in the namespaces that they belong to.
pub(super) fn write(sysctls: &[Sysctl]) -> Result<(), Error> {
    let Some(first) = sysctls.first() else { return Ok(()) };
    let failed =
        |sysctl: &Sysctl, source| Error::Sysctl { key: sysctl.key.clone(), value: sysctl.value.clone(), source };
    let procfs = Procfs::open().map_err(|source| failed(first, source))?;
    for sysctl in sysctls {
        let written = procfs.open_to_write(&sysctl.path).and_then(|file| procfs::write_whole(&file, &sysctl.value));
        written.map_err(|source| failed(sysctl, source))?;
    }
    Ok(())
}
