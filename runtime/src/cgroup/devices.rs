//! Device rules: `linux.resources.devices` in order, then the devices every container has. The last rule that speaks of
//! a device and a kind of access decides; what no rule speaks of is denied.

mod list;
mod program;

pub(super) use list::list;
pub(super) use program::program;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use super::Error;

/// The property all device rules come from.
pub(super) const PROPERTY: &str = "linux.resources.devices";

/// Kinds of access as a set of bits, in the kernel's numbers (`BPF_DEVCG_ACC_*` of linux/bpf.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Access(pub u8);

impl Access {
    /// Making a node, mknod(2).
    pub const MKNOD: Access = Access(1);
    /// Opening for reading.
    pub const READ: Access = Access(2);
    /// Opening for writing.
    pub const WRITE: Access = Access(4);
    /// All of them.
    pub const ALL: Access = Access(7);
}

/// Kinds of device node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeviceKind {
    /// Block devices.
    Block,
    /// Character devices.
    Char,
}

/// One rule; `None` stands for every kind or every number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Whether what it speaks of is allowed.
    pub allow: bool,
    /// Which nodes.
    pub kind: Option<DeviceKind>,
    /// The major number.
    pub major: Option<u32>,
    /// The minor number.
    pub minor: Option<u32>,
    /// Which access.
    pub access: Access,
}

/// What every container may do, appended to its rules as runc (since 1.2) does: make any node, and use null, zero, full,
/// random, urandom, tty, ptmx and every pseudoterminal. The host's console (5:1) is not among them: a container's
/// /dev/console is a pseudoterminal.
const ALWAYS: [Rule; 10] = [
    usual(None, None, Access::MKNOD, DeviceKind::Char),
    usual(None, None, Access::MKNOD, DeviceKind::Block),
    usual(Some(1), Some(3), Access::ALL, DeviceKind::Char),
    usual(Some(1), Some(5), Access::ALL, DeviceKind::Char),
    usual(Some(1), Some(7), Access::ALL, DeviceKind::Char),
    usual(Some(1), Some(8), Access::ALL, DeviceKind::Char),
    usual(Some(1), Some(9), Access::ALL, DeviceKind::Char),
    usual(Some(5), Some(0), Access::ALL, DeviceKind::Char),
    usual(Some(5), Some(2), Access::ALL, DeviceKind::Char),
    usual(Some(136), None, Access::ALL, DeviceKind::Char),
];

const fn usual(major: Option<u32>, minor: Option<u32>, access: Access, kind: DeviceKind) -> Rule {
    Rule { allow: true, kind: Some(kind), major, minor, access }
}

impl Rule {
    /// Speaks of every device and every access: all rules before it are void.
    pub(super) fn is_total(&self) -> bool {
        self.kind.is_none() && self.major.is_none() && self.minor.is_none() && self.access == Access::ALL
    }
}

/// The rules of a container, in order. Errors name the rule.
pub(super) fn rules(devices: Option<&[LinuxDeviceCgroup]>) -> Result<Vec<Rule>, Error> {
    let mut rules = Vec::new();
    for (index, device) in devices.unwrap_or_default().iter().enumerate() {
        let refuse = |field, reason| Error::Refused { property: format!("{PROPERTY}[{index}].{field}"), reason };
        rules.push(parse(device).map_err(|(field, reason)| refuse(field, reason))?);
    }
    rules.extend(ALWAYS);
    Ok(rules)
}

/// The rules as a list of what is allowed, in systemd's words (`DeviceAllow=` of systemd.resource-control(5)): path or
/// group, and letters. `None` where they are not such a list, or more than systemd can say.
pub fn allowed(devices: Option<&[LinuxDeviceCgroup]>) -> Result<Option<Vec<(String, String)>>, Error> {
    let rules = rules(devices)?;
    // The list of v1 is a default and exceptions from it. What is refused there may well be a program of v2.
    let Ok(lines) = list(&rules) else { return Ok(None) };
    let mut lines = lines.into_iter();
    match lines.next() {
        Some(("devices.deny", _)) => Ok(lines.map(|(_, line)| systemds_words(&line)).collect()),
        _ => Ok(None),
    }
}

/// From `c 1:3 rwm`, `c 136:* rwm` or `b *:* m`.
fn systemds_words(line: &str) -> Option<(String, String)> {
    let mut words = line.split(' ');
    let (kind, numbers, access) = (words.next()?, words.next()?, words.next()?);
    let kind = if kind == "b" { "block" } else { "char" };
    let path = match numbers.split_once(':')? {
        ("*", "*") => format!("{kind}-*"),
        ("*", _) => return None,
        (major, "*") => format!("{kind}-{major}"),
        (major, minor) => format!("/dev/{kind}/{major}:{minor}"),
    };
    Some((path, access.to_owned()))
}

/// Says which field is wrong, and why.
fn parse(device: &LinuxDeviceCgroup) -> Result<Rule, (&'static str, &'static str)> {
    let kind = match device.typ() {
        None | Some(LinuxDeviceType::A) => None,
        Some(LinuxDeviceType::B) => Some(DeviceKind::Block),
        Some(LinuxDeviceType::C) => Some(DeviceKind::Char),
        Some(LinuxDeviceType::U | LinuxDeviceType::P) => return Err(("type", "it is one of `a`, `b` and `c`")),
    };
    let mut access = 0;
    for letter in device.access().as_deref().unwrap_or("").chars() {
        access |= match letter {
            'r' => Access::READ.0,
            'w' => Access::WRITE.0,
            'm' => Access::MKNOD.0,
            _ => return Err(("access", "it is made of the letters `r`, `w` and `m`")),
        };
    }
    if access == 0 {
        return Err(("access", "it is empty; give some of the letters `r`, `w` and `m`"));
    }
    let (major, minor) = (number(device.major(), "major")?, number(device.minor(), "minor")?);
    Ok(Rule { allow: device.allow(), kind, major, minor, access: Access(access) })
}

/// -1 is how Go programs write "every number".
fn number(number: Option<i64>, field: &'static str) -> Result<Option<u32>, (&'static str, &'static str)> {
    match number {
        None | Some(-1) => Ok(None),
        Some(number @ 0..=0x7fff_ffff) => Ok(u32::try_from(number).ok()),
        Some(_) => Err((field, "it is not the number of a device")),
    }
}

#[cfg(test)]
mod tests;
