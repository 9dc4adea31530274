//! A session keyring of the container's own (`session-keyring(7)`), so that it cannot search its caller's.

use std::ffi::CString;

use super::Error;
use crate::sys::keyring;

/// What the kernel gives a new session keyring: all to its possessor, view, read and link to its user.
const DEFAULT_PERMISSIONS: u32 = 0x3f13_0000;
const USER_SEARCH: u32 = 0x0008_0000;
const OTHER_SEARCH: u32 = 0x0000_0008;

/// The keyring to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyring {
    /// `_ses.<container id>`: `exec` joins it by this name.
    pub name: CString,
    /// Permission bits of `keyctl_setperm(3)`.
    pub permissions: u32,
}

/// The keyring of container `id`. In a user namespace its user is "other" to the keyring's owner and needs the right
/// to search from there.
///
/// # Errors
/// An id with a NUL (the id was validated long before).
pub fn plan(id: &str, in_user_namespace: bool) -> Result<Keyring, Error> {
    let name = CString::new(format!("_ses.{id}")).map_err(|_nul| Error::invalid("id", "contains a NUL character"))?;
    let search = if in_user_namespace { OTHER_SEARCH } else { USER_SEARCH };
    Ok(Keyring { name, permissions: DEFAULT_PERMISSIONS | search })
}

/// Joins the keyring. Kernels without keyrings and sandboxes that forbid them (the filter of an outer container, whose
/// child inherits the ban) are passed over: the keyring is a second lock, as it is for runc, and not the first.
///
/// # Errors
/// Any other refusal (`EDQUOT`: too many keys).
pub fn apply(plan: &Keyring) -> Result<(), Error> {
    let failed = |source| Error::Keyring { name: plan.name.to_string_lossy().into_owned(), source };
    match keyring::join_session(&plan.name) {
        Ok(serial) => keyring::set_permissions(serial, plan.permissions).map_err(failed),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM | libc::EACCES)) => Ok(()),
        Err(source) => Err(failed(source)),
    }
}
