//! The id maps of a new user namespace (user_namespaces(7)): written by us where the kernel lets us, by the setuid
//! helpers newuidmap(1) and newgidmap(1) where only they may.

use crate::namespaces::Plan;
use oci_spec::runtime::LinuxIdMapping;
use std::io;
use std::process::{Command, Stdio};

/// Why the maps cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refuses the map.
    #[error("`{property}` cannot be written to `/proc/{pid}/{file}`")]
    Write {
        /// `linux.uidMappings` or `linux.gidMappings`.
        property: &'static str,
        /// The process that holds the namespace.
        pid: i32,
        /// `uid_map`, `gid_map` or `setgroups`.
        file: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The helper is not there.
    #[error("`{property}` needs `{helper}`, which cannot be run (Debian has it in the package uidmap)")]
    NoHelper {
        /// `linux.uidMappings` or `linux.gidMappings`.
        property: &'static str,
        /// The program.
        helper: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The helper refuses.
    #[error("`{property}`: `{helper}` refused: {said} (see subuid(5))")]
    Helper {
        /// `linux.uidMappings` or `linux.gidMappings`.
        property: &'static str,
        /// The program.
        helper: &'static str,
        /// What it said.
        said: String,
    },
}

/// One of the two maps.
#[derive(Clone, Copy)]
struct Side {
    property: &'static str,
    file: &'static str,
    helper: &'static str,
}

const UID: Side = Side { property: "linux.uidMappings", file: "uid_map", helper: "newuidmap" };
const GID: Side = Side { property: "linux.gidMappings", file: "gid_map", helper: "newgidmap" };

/// Who may write a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    /// We, being root.
    Direct,
    /// We, because it maps nothing but ourselves; groups must be given up first (CVE-2014-8989).
    Own,
    /// The setuid helper.
    Helper,
}

/// Writes both maps for the process that made the namespace.
///
/// # Errors
/// See [`Error`].
pub(super) fn write(pid: i32, plan: &Plan) -> Result<(), Error> {
    let root = rustix::process::geteuid().is_root();
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    let gid_route = route(root, gid, &plan.gid_mappings);
    if gid_route == Route::Own {
        put(pid, GID, "setgroups", "deny")?;
    }
    write_one(pid, GID, gid_route, &plan.gid_mappings)?;
    write_one(pid, UID, route(root, uid, &plan.uid_mappings), &plan.uid_mappings)
}

fn route(root: bool, own: u32, mappings: &[LinuxIdMapping]) -> Route {
    match (root, mappings) {
        (true, _) => Route::Direct,
        (false, [only]) if only.size() == 1 && only.host_id() == own => Route::Own,
        (false, _) => Route::Helper,
    }
}

fn write_one(pid: i32, side: Side, route: Route, mappings: &[LinuxIdMapping]) -> Result<(), Error> {
    match route {
        Route::Direct | Route::Own => put(pid, side, side.file, &lines(mappings)),
        Route::Helper => help(pid, side, mappings),
    }
}

fn lines(mappings: &[LinuxIdMapping]) -> String {
    let line =
        |mapping: &LinuxIdMapping| format!("{} {} {}\n", mapping.container_id(), mapping.host_id(), mapping.size());
    mappings.iter().map(line).collect()
}

fn put(pid: i32, side: Side, file: &'static str, text: &str) -> Result<(), Error> {
    std::fs::write(format!("/proc/{pid}/{file}"), text).map_err(|source| Error::Write {
        property: side.property,
        pid,
        file,
        source,
    })
}

fn help(pid: i32, side: Side, mappings: &[LinuxIdMapping]) -> Result<(), Error> {
    let numbers = mappings.iter().flat_map(|it| [it.container_id(), it.host_id(), it.size()]).map(|it| it.to_string());
    let output = Command::new(side.helper)
        .arg(pid.to_string())
        .args(numbers)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| Error::NoHelper { property: side.property, helper: side.helper, source })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " ");
    Err(Error::Helper { property: side.property, helper: side.helper, said })
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::LinuxIdMappingBuilder;

    fn mapping(container: u32, host: u32, size: u32) -> LinuxIdMapping {
        LinuxIdMappingBuilder::default().container_id(container).host_id(host).size(size).build().unwrap()
    }

    #[test]
    fn who_writes() {
        let own = [mapping(0, 1000, 1)];
        let range = [mapping(0, 1000, 1), mapping(1, 100_000, 65_536)];
        assert_eq!(route(true, 0, &range), Route::Direct);
        assert_eq!(route(false, 1000, &own), Route::Own);
        assert_eq!(route(false, 1001, &own), Route::Helper);
        assert_eq!(route(false, 1000, &range), Route::Helper);
        assert_eq!(lines(&range), "0 1000 1\n1 100000 65536\n");
    }
}
