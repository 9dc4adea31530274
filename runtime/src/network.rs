//! Interfaces of the host that a container gets (`linux.netDevices`, config-linux.md, "Network Devices"): `plan` decides from
//! the configuration alone, [`carry`] moves them, and what was moved can be brought back.
//!
//! An interface keeps its hardware address and MTU by itself. The kernel takes its addresses away on the way, so they are
//! given to it again, those that are permanent and of global scope, as in runc; its routes are not kept. When the container's
//! network namespace ends, the kernel gives physical interfaces back to the host and removes virtual ones; that is also what happens
//! when the runtime is killed among its work.

mod netlink;

use netlink::{Address, Link, Socket};
use nix::sched::{CloneFlags, setns};
use oci_spec::runtime::LinuxNetDevice;
use rustix::fs::{CWD, Mode, OFlags};
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// One interface to move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name in the runtime's network namespace.
    pub host: String,
    /// Its name in the container.
    pub name: String,
}

/// Why an interface cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no other namespace to move it to.
    #[error("`linux.netDevices` needs a `network` namespace in linux.namespaces that is not the runtime's own")]
    NoNamespace,
    /// Linux would not take it for a name (`dev_valid_name` in net/core/dev.c).
    #[error(
        "`linux.netDevices.{device}`: `{name}` is no name of an interface; it has 1 to 15 characters, none of them `/`, `:`, `%` or a space"
    )]
    Name {
        /// The member.
        device: String,
        /// The name.
        name: String,
    },
    /// Two would have the same name.
    #[error("`linux.netDevices.{device}`: the name `{name}` is given twice")]
    Twice {
        /// The member.
        device: String,
        /// The name.
        name: String,
    },
    /// It is not there.
    #[error("`linux.netDevices.{0}`: the host has no interface of this name")]
    Absent(String),
    /// Its name in the container is taken.
    #[error(
        "`linux.netDevices.{device}`: the container's network namespace has an interface `{name}` already; give another `name`"
    )]
    Taken {
        /// The member.
        device: String,
        /// The name.
        name: String,
    },
    /// A network namespace cannot be entered.
    #[error("cannot reach the container's network namespace for `linux.netDevices` (only root moves interfaces)")]
    Namespace(#[source] io::Error),
    /// The kernel refuses a step.
    #[error("`linux.netDevices.{device}`: cannot {operation}{hint}")]
    Step {
        /// The member.
        device: String,
        /// What was being done.
        operation: &'static str,
        /// A way out, or nothing.
        hint: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// The interfaces to move, in the order of their names.
///
/// # Errors
/// No namespace of the container's own, and bad or doubled names.
pub fn plan(asked: Option<&HashMap<String, LinuxNetDevice>>, own_namespace: bool) -> Result<Vec<Device>, Error> {
    let mut devices: Vec<Device> = asked
        .into_iter()
        .flatten()
        .map(|(host, device)| {
            let name = device.name().clone().filter(|name| !name.is_empty()).unwrap_or_else(|| host.clone());
            Device { host: host.clone(), name }
        })
        .collect();
    devices.sort_by(|one, other| one.host.cmp(&other.host));
    if !devices.is_empty() && !own_namespace {
        return Err(Error::NoNamespace);
    }
    let mut names = BTreeSet::new();
    for Device { host, name } in &devices {
        if let Some(bad) = [host, name].into_iter().find(|name| !is_name(name)) {
            return Err(Error::Name { device: host.clone(), name: bad.clone() });
        }
        if !names.insert(name) {
            return Err(Error::Twice { device: host.clone(), name: name.clone() });
        }
    }
    Ok(devices)
}

/// `%` would have the kernel number the names itself.
fn is_name(name: &str) -> bool {
    let letter = |letter: char| !letter.is_whitespace() && !letter.is_control() && !"/:%".contains(letter);
    (1..=15).contains(&name.len()) && name.chars().all(letter) && name != "." && name != ".."
}

/// Interfaces in the container, and what it takes to bring them back: that is done when this is dropped, unless they are left.
pub struct Carried {
    here: Socket,
    /// Keeps the container's network namespace: without its processes the kernel would remove virtual interfaces.
    there: Socket,
    own: OwnedFd,
    moved: Vec<Moved>,
}

struct Moved {
    device: Device,
    was: Link,
    addresses: Vec<Address>,
    /// The kernel has said that it is there, under its new name.
    arrived: bool,
}

/// Moves interfaces into the network namespace of process `pid`, a child that is not reaped. They are up then.
///
/// # Errors
/// See [`Error`]; those that were moved are back.
pub fn carry(devices: &[Device], pid: i32) -> Result<Carried, Error> {
    let open = |path: &str| {
        rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| Error::Namespace(errno.into()))
    };
    let (own, target) = (open("/proc/self/ns/net")?, open(&format!("/proc/{pid}/ns/net"))?);
    let enter = |namespace: &OwnedFd| {
        setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET).map_err(|errno| Error::Namespace(errno.into()))
    };
    let here = Socket::open().map_err(Error::Namespace)?;
    // A socket belongs to the namespace in which it is opened. We have one thread, so nobody else is where we are.
    enter(&target)?;
    let there = Socket::open().map_err(Error::Namespace);
    enter(&own)?;
    let mut carried = Carried { here, there: there?, own, moved: Vec::new() };
    for device in devices {
        carried.carry_one(device, &target)?;
    }
    Ok(carried)
}

impl Carried {
    fn carry_one(&mut self, device: &Device, target: &OwnedFd) -> Result<(), Error> {
        let Device { host, name } = device;
        let was = self.here.link(host).map_err(|source| match source.raw_os_error() {
            Some(libc::ENODEV) => Error::Absent(host.clone()),
            _ => failed(device, "look at the interface")(source),
        })?;
        let addresses = self.here.addresses(was.index).map_err(failed(device, "read its addresses"))?;
        match self.there.link(name) {
            Ok(_) => return Err(Error::Taken { device: host.clone(), name: name.clone() }),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
            Err(error) => return Err(failed(device, "look for its name in the container")(error)),
        }
        // Before it is moved: the kernel may move it and then refuse the name.
        self.moved.push(Moved { device: device.clone(), was, addresses: addresses.clone(), arrived: false });
        let sent = self.here.send_away(was.index, name, target.as_raw_fd());
        sent.map_err(failed(device, "move it to the container's network namespace"))?;
        self.moved.iter_mut().last().into_iter().for_each(|moved| moved.arrived = true);
        settle(&mut self.there, name, &addresses, true).map_err(|(operation, source)| failed(device, operation)(source))
    }

    /// The container keeps them.
    pub fn leave(mut self) {
        self.moved.clear();
    }

    fn bring_one_back(&mut self, moved: &Moved) -> Result<(), (&'static str, io::Error)> {
        let Moved { device: Device { host, name }, was, addresses, arrived } = moved;
        if self.here.link(host).is_ok_and(|link| link.index == was.index) {
            return Ok(());
        }
        // One that the kernel moved and would not rename has its old name; the other is somebody else's.
        let link = self.there.link(if *arrived { name } else { host });
        let sent = link.and_then(|link| self.there.send_away(link.index, host, self.own.as_raw_fd()));
        sent.map_err(|error| ("bring it back to the host", error))?;
        settle(&mut self.here, host, addresses, was.up)
    }
}

impl Drop for Carried {
    /// With their names and addresses, and up if they were. What the kernel refuses is a warning: there is an error to tell
    /// already.
    fn drop(&mut self) {
        while let Some(moved) = self.moved.pop() {
            if let Err((operation, error)) = self.bring_one_back(&moved) {
                let host = &moved.device.host;
                crate::log::warn(&format!("interface `{host}` is not as it was: cannot {operation}: {error}"));
            }
        }
    }
}

/// Gives an interface that has just arrived its addresses, and brings it up.
fn settle(socket: &mut Socket, name: &str, addresses: &[Address], up: bool) -> Result<(), (&'static str, io::Error)> {
    let link = socket.link(name).map_err(|error| ("find it where it was moved to", error))?;
    for address in addresses {
        socket.add_address(link.index, address).map_err(|error| ("give it its addresses again", error))?;
    }
    if up { socket.raise(link.index).map_err(|error| ("bring it up", error)) } else { Ok(()) }
}

fn failed(device: &Device, operation: &'static str) -> impl FnOnce(io::Error) -> Error {
    let device = device.host.clone();
    move |source| Error::Step {
        device,
        operation,
        hint: match source.raw_os_error() {
            Some(libc::EINVAL) => " (loopback devices and bridges, among others, cannot leave their namespace)",
            Some(libc::EPERM) => " (it takes CAP_NET_ADMIN on the host)",
            _ => "",
        },
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan_of(json: &str, own_namespace: bool) -> Result<Vec<Device>, String> {
        plan(Some(&serde_json::from_str(json).unwrap()), own_namespace).map_err(|error| error.to_string())
    }

    #[test]
    fn interfaces_in_the_order_of_their_names() {
        let device = |host: &str, name: &str| Device { host: host.into(), name: name.into() };
        let found = plan_of(r#"{"wg0":{"name":""},"eth1":{"name":"eth0"}}"#, true).unwrap();
        assert_eq!(found, [device("eth1", "eth0"), device("wg0", "wg0")]);
        assert!(plan(None, false).unwrap().is_empty() && plan_of("{}", false).unwrap().is_empty());
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (json, said) in [
            (r#"{"a/b":{}}"#, "`a/b` is no name"),
            (r#"{"eth0":{"name":"a b"}}"#, "`linux.netDevices.eth0`: `a b`"),
            (r#"{"eth0":{"name":"eth%d"}}"#, "`eth%d`"),
            (r#"{"eth0":{"name":".."}}"#, "`..`"),
            (r#"{"sixteen-letters!":{}}"#, "1 to 15"),
            (r#"{"a":{"name":"b"},"b":{}}"#, "`linux.netDevices.b`: the name `b` is given twice"),
        ] {
            let text = plan_of(json, true).unwrap_err();
            assert!(text.contains(said), "{json}: {text}");
        }
        assert!(plan_of(r#"{"eth0":{}}"#, false).unwrap_err().contains("linux.namespaces"));
    }
}
