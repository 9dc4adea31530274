//! The user of the process: ids that exist in its user namespace, umask, groups, and the changing over itself.

use std::os::fd::AsFd;

use oci_spec::runtime::{LinuxIdMapping, User};
use rustix::fs::{FileType, Mode};
use rustix::io::Errno;
use rustix::thread::{Gid, Uid};

use super::{Error, capabilities};

/// The id that means "no change" to `setresuid(2)`, so that asking for it would keep root.
const NO_ID: u32 = u32::MAX;
/// runc's umask for a configuration without one.
const DEFAULT_UMASK: u32 = 0o022;
const DEV_NULL: (u32, u32) = (1, 3);

/// Whose ids the configuration speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserNamespace<'a> {
    /// The caller's: every id exists as far as we know.
    Caller,
    /// One made for the container, with these mappings.
    New {
        /// `linux.uidMappings`.
        uids: &'a [LinuxIdMapping],
        /// `linux.gidMappings`.
        gids: &'a [LinuxIdMapping],
    },
    /// One that exists already; only the kernel knows its mappings.
    Joined,
}

/// The user to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// In the container's user namespace.
    pub uid: u32,
    /// In the container's user namespace.
    pub gid: u32,
    /// Supplementary groups; no others stay.
    pub additional_gids: Vec<u32>,
    /// File mode creation mask.
    pub umask: u32,
    /// Whether this is another user namespace than the caller's, where `setgroups(2)` may be denied for good.
    pub in_user_namespace: bool,
}

/// The user to become.
///
/// # Errors
/// An id out of range or not mapped, a umask beyond 0777, a user name.
pub fn plan(user: &User, namespace: UserNamespace<'_>) -> Result<Identity, Error> {
    if user.username().as_ref().is_some_and(|name| !name.is_empty()) {
        let reason = "it is for Windows; give uid and gid";
        return Err(Error::Unsupported { property: "process.user.username", reason });
    }
    check_id("process.user.uid", user.uid(), "linux.uidMappings", uids(namespace))?;
    check_id("process.user.gid", user.gid(), "linux.gidMappings", gids(namespace))?;
    let additional_gids = user.additional_gids().clone().unwrap_or_default();
    for (index, gid) in additional_gids.iter().enumerate() {
        let property = format!("process.user.additionalGids[{index}]");
        check_id(&property, *gid, "linux.gidMappings", gids(namespace))?;
    }
    let umask = user.umask().unwrap_or(DEFAULT_UMASK);
    if umask > 0o777 {
        return Err(Error::invalid("process.user.umask", format!("is {umask:#o}; it must be at most 0o777")));
    }
    let in_user_namespace = namespace != UserNamespace::Caller;
    Ok(Identity { uid: user.uid(), gid: user.gid(), additional_gids, umask, in_user_namespace })
}

/// Sets the umask, drops the bounding set, gives the standard streams to the user and becomes it, with the permitted
/// capabilities kept for [`capabilities::apply`]. In this order: each step takes a right the next one may lose.
///
/// # Errors
/// The first step the kernel refuses.
pub fn apply(identity: &Identity, sets: &capabilities::Sets) -> Result<(), Error> {
    let _previous_mask = rustix::process::umask(Mode::from_raw_mode(identity.umask));
    capabilities::apply_bounding(sets)?;
    own_standard_streams(identity.uid)?;
    set_groups(identity)?;
    let gid = Gid::from_raw(identity.gid);
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(|errno| Error::Identity {
        kind: "gid",
        id: identity.gid,
        property: "process.user.gid",
        hint: not_mapped(errno, " (is it mapped in the user namespace?)"),
        source: errno.into(),
    })?;
    let uid = Uid::from_raw(identity.uid);
    if !uid.is_root() {
        // Only leaving uid 0 clears the permitted set; execve(2) clears the flag again.
        rustix::thread::set_keep_capabilities(true)
            .map_err(|errno| Error::Capabilities { set: "permitted", source: errno.into() })?;
    }
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(|errno| Error::Identity {
        kind: "uid",
        id: identity.uid,
        property: "process.user.uid",
        hint: not_mapped(errno, " (is it mapped in the user namespace?)"),
        source: errno.into(),
    })
}

/// Gives descriptors 0 to 2 to the user, so that it can open `/dev/stdout` again; `/dev/null` belongs to everybody.
fn own_standard_streams(uid: u32) -> Result<(), Error> {
    let (input, output, error) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let streams = [(0, input.as_fd()), (1, output.as_fd()), (2, error.as_fd())];
    for (descriptor, stream) in streams {
        // A closed standard descriptor has nobody to be given to.
        let Ok(stat) = rustix::fs::fstat(stream) else { continue };
        let device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        let is_null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && device == DEV_NULL;
        if stat.st_uid == uid || is_null {
            continue;
        }
        match rustix::fs::fchown(stream, Some(Uid::from_raw(uid)), None) {
            // The group or the present owner is not mapped here, or the stream is on a read-only file system; runc
            // leaves the stream alone then, and so do we: the descriptor itself works.
            Ok(()) | Err(Errno::INVAL | Errno::PERM | Errno::ROFS) => {}
            Err(errno) => return Err(Error::Stdio { descriptor, uid, source: errno.into() }),
        }
    }
    Ok(())
}

fn set_groups(identity: &Identity) -> Result<(), Error> {
    let groups: Vec<Gid> = identity.additional_gids.iter().map(|gid| Gid::from_raw(*gid)).collect();
    match rustix::thread::set_thread_groups(&groups) {
        Ok(()) => Ok(()),
        // user_namespaces(7): /proc/pid/setgroups says "deny", for ever; there is nothing to drop the groups with.
        Err(Errno::PERM) if identity.in_user_namespace && groups.is_empty() => Ok(()),
        Err(errno) => Err(Error::Apply {
            property: "process.user.additionalGids",
            hint: match errno {
                Errno::PERM if identity.in_user_namespace => " (the user namespace denies setgroups; leave them out)",
                errno => not_mapped(errno, " (are they mapped in the user namespace?)"),
            },
            source: errno.into(),
        }),
    }
}

fn not_mapped(errno: Errno, hint: &'static str) -> &'static str {
    if errno == Errno::INVAL { hint } else { "" }
}

const fn uids<'a>(namespace: UserNamespace<'a>) -> Option<&'a [LinuxIdMapping]> {
    match namespace {
        UserNamespace::New { uids, .. } => Some(uids),
        _ => None,
    }
}

const fn gids<'a>(namespace: UserNamespace<'a>) -> Option<&'a [LinuxIdMapping]> {
    match namespace {
        UserNamespace::New { gids, .. } => Some(gids),
        _ => None,
    }
}

fn check_id(property: &str, id: u32, table: &str, mappings: Option<&[LinuxIdMapping]>) -> Result<(), Error> {
    if id == NO_ID {
        return Err(Error::invalid(property, format!("is {id}; the largest id is {}", NO_ID - 1)));
    }
    let covers = |mapping: &LinuxIdMapping| {
        id >= mapping.container_id() && u64::from(id) < u64::from(mapping.container_id()) + u64::from(mapping.size())
    };
    match mappings {
        Some(mappings) if !mappings.iter().any(covers) => {
            Err(Error::invalid(property, format!("is {id}, which is not mapped in `{table}`")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, namespace: UserNamespace<'_>, expected: Result<(u32, u32, u32), &str>) {
        match (plan(&serde_json::from_str(json).unwrap(), namespace), expected) {
            (Ok(found), Ok(wanted)) => assert_eq!((found.uid, found.gid, found.umask), wanted, "{json}"),
            (Err(found), Err(wanted)) => assert_eq!(found.to_string(), wanted, "{json}"),
            (found, wanted) => panic!("{json}: {found:?}, not {wanted:?}"),
        }
    }

    #[test]
    fn ids_of_the_caller() {
        use UserNamespace::Caller;
        check(r#"{"uid":0,"gid":0}"#, Caller, Ok((0, 0, 0o22)));
        check(r#"{"uid":4294967294,"gid":5,"umask":63}"#, Caller, Ok((4_294_967_294, 5, 0o77)));
        check(r#"{"uid":4294967295}"#, Caller, Err("`process.user.uid` is 4294967295; the largest id is 4294967294"));
        check(
            r#"{"additionalGids":[1,4294967295]}"#,
            Caller,
            Err("`process.user.additionalGids[1]` is 4294967295; the largest id is 4294967294"),
        );
        check(r#"{"umask":512}"#, Caller, Err("`process.user.umask` is 0o1000; it must be at most 0o777"));
        check(
            r#"{"username":"me"}"#,
            Caller,
            Err("`process.user.username` is not supported: it is for Windows; give uid and gid"),
        );
    }

    #[test]
    fn ids_of_a_new_user_namespace_must_be_mapped() {
        let map: Vec<LinuxIdMapping> =
            serde_json::from_str(r#"[{"containerID":10,"hostID":1,"size":2},{"containerID":20,"hostID":9,"size":1}]"#)
                .unwrap();
        let namespace = UserNamespace::New { uids: &map, gids: &map };
        check(r#"{"uid":11,"gid":20}"#, namespace, Ok((11, 20, 0o22)));
        check(
            r#"{"uid":12,"gid":20}"#,
            namespace,
            Err("`process.user.uid` is 12, which is not mapped in `linux.uidMappings`"),
        );
        check(
            r#"{"uid":10,"gid":10,"additionalGids":[21]}"#,
            namespace,
            Err("`process.user.additionalGids[0]` is 21, which is not mapped in `linux.gidMappings`"),
        );
        check(r#"{"uid":12,"gid":20}"#, UserNamespace::Joined, Ok((12, 20, 0o22)));
    }
}
