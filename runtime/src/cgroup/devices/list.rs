//! Turns the rules into the lines that bring the v1 `devices` controller to the same answers. The kernel keeps a default
//! and exact exceptions from it, and silently drops what it cannot express; that is refused here.

use super::{Access, DeviceKind, PROPERTY, Rule};
use crate::cgroup::Error;

const ALLOW: &str = "devices.allow";
const DENY: &str = "devices.deny";

/// What the kernel will hold: a default, and devices to which the opposite applies.
struct List {
    allow: bool,
    exceptions: Vec<Exception>,
}

#[derive(Clone, Copy)]
struct Exception {
    kind: DeviceKind,
    major: Option<u32>,
    minor: Option<u32>,
    access: Access,
}

/// Lines and the files they go to, in order (Documentation/admin-guide/cgroup-v1/devices.rst).
pub(in crate::cgroup) fn list(rules: &[Rule]) -> Result<Vec<(&'static str, String)>, Error> {
    let mut list = List { allow: false, exceptions: Vec::new() };
    for (index, rule) in rules.iter().enumerate() {
        if rule.is_total() {
            list = List { allow: rule.allow, exceptions: Vec::new() };
            continue;
        }
        let kinds = match rule.kind {
            Some(kind) => vec![kind],
            None => vec![DeviceKind::Block, DeviceKind::Char],
        };
        for kind in kinds {
            let exception = Exception { kind, major: rule.major, minor: rule.minor, access: rule.access };
            if rule.allow == list.allow { list.take_back(exception, index)? } else { list.add(exception) }
        }
    }
    let (first, rest) = if list.allow { (ALLOW, DENY) } else { (DENY, ALLOW) };
    let lines = list.exceptions.iter().map(|exception| (rest, exception.line()));
    Ok(std::iter::once((first, "a".to_owned())).chain(lines).collect())
}

impl List {
    fn add(&mut self, new: Exception) {
        match self.exceptions.iter_mut().find(|old| old.is_same_device(&new)) {
            Some(old) => old.access.0 |= new.access.0,
            None => self.exceptions.push(new),
        }
    }

    /// Ends the exceptions that the rule covers. One that reaches further cannot be cut by the kernel.
    fn take_back(&mut self, rule: Exception, index: usize) -> Result<(), Error> {
        for old in &mut self.exceptions {
            let shared = old.access.0 & rule.access.0;
            if shared == 0 || !old.overlaps(&rule) {
                continue;
            }
            if !rule.covers(old) {
                return Err(Error::Refused {
                    property: format!("{PROPERTY}[{index}]"),
                    reason: "cgroup v1 cannot except a device from a wider earlier rule; name the devices one by one",
                });
            }
            old.access.0 &= !shared;
        }
        self.exceptions.retain(|old| old.access.0 != 0);
        Ok(())
    }
}

impl Exception {
    fn is_same_device(&self, other: &Exception) -> bool {
        (self.kind, self.major, self.minor) == (other.kind, other.major, other.minor)
    }

    fn overlaps(&self, other: &Exception) -> bool {
        let meets = |one: Option<u32>, two: Option<u32>| one.is_none() || two.is_none() || one == two;
        self.kind == other.kind && meets(self.major, other.major) && meets(self.minor, other.minor)
    }

    fn covers(&self, other: &Exception) -> bool {
        let holds = |one: Option<u32>, two: Option<u32>| one.is_none() || one == two;
        self.kind == other.kind && holds(self.major, other.major) && holds(self.minor, other.minor)
    }

    fn line(&self) -> String {
        let kind = match self.kind {
            DeviceKind::Block => 'b',
            DeviceKind::Char => 'c',
        };
        let number = |number: Option<u32>| number.map_or("*".to_owned(), |number| number.to_string());
        let mut line = format!("{kind} {}:{} ", number(self.major), number(self.minor));
        for (access, letter) in [(Access::READ, 'r'), (Access::WRITE, 'w'), (Access::MKNOD, 'm')] {
            if self.access.0 & access.0 != 0 {
                line.push(letter);
            }
        }
        line
    }
}
