//! The five capability sets (`capabilities(7)`). What cannot be granted is left out with a warning, as the OCI
//! specification prescribes; what is not asked for is surely gone, and no set at all means no capability at all.

use std::io;
use std::str::FromStr;

use caps::Capability;
use oci_spec::runtime::{Capabilities, LinuxCapabilities};
use rustix::thread::{self, CapabilitySet, CapabilitySets};

use super::Error;

/// The sets to apply, each within what can be granted; a bit is a capability's number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sets {
    /// What no program in the container can ever gain.
    pub bounding: u64,
    /// What is in force now.
    pub effective: u64,
    /// Kept over `execve(2)` for files with inheritable capabilities; empty unless the configuration asks.
    pub inheritable: u64,
    /// What can be in force.
    pub permitted: u64,
    /// Kept over `execve(2)` of any file.
    pub ambient: u64,
}

/// What the process will hold when the sets are applied, as far as it was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Capabilities in the permitted set.
    pub permitted: u64,
    /// Capabilities in the bounding set, hence known to the kernel.
    pub bounding: u64,
}

impl Held {
    /// Looks what a container process asking for `wanted` will hold: all that the kernel knows in a user namespace
    /// (its first process starts with full sets, as does who joins it), else what this process holds.
    ///
    /// # Errors
    /// `capget(2)` failed.
    pub fn observe(wanted: Option<&LinuxCapabilities>, user_namespace: bool) -> io::Result<Self> {
        let Some(wanted) = wanted else { return Ok(Self::default()) };
        let sets = [wanted.bounding(), wanted.effective(), wanted.inheritable(), wanted.permitted(), wanted.ambient()];
        let asked = sets.into_iter().map(|set| mask(set.as_ref())).fold(0, |all, set| all | set);
        let mut held = Self::default();
        for bit in bits(asked) {
            // EINVAL is the kernel's way to say that it knows no such capability.
            if let Ok(bounding) = thread::capability_is_in_bounding_set(CapabilitySet::from_bits_retain(bit)) {
                held.permitted |= bit;
                held.bounding |= if bounding || user_namespace { bit } else { 0 };
            }
        }
        if !user_namespace {
            held.permitted &= thread::capabilities(None)?.permitted.bits();
        }
        Ok(held)
    }
}

/// The sets to apply, and a warning that names what was left out.
#[must_use]
pub fn plan(wanted: Option<&LinuxCapabilities>, held: Held) -> (Sets, Option<String>) {
    let Some(wanted) = wanted else { return (Sets::default(), None) };
    let mut left_out = Vec::new();
    let mut grant = |name: &str, set: &Option<Capabilities>, available: u64| {
        let asked = mask(set.as_ref());
        if asked & !available != 0 {
            left_out.push(format!("{} ({name})", names(asked & !available)));
        }
        asked & available
    };
    let bounding = grant("bounding", wanted.bounding(), held.bounding);
    let permitted = grant("permitted", wanted.permitted(), held.permitted);
    // The kernel's rules for what one set can hold given the others: capabilities(7), "Programmatically adjusting
    // capability sets"; a set beyond them would be refused whole with EPERM.
    let effective = grant("effective", wanted.effective(), permitted);
    let inheritable = grant("inheritable", wanted.inheritable(), bounding & held.permitted);
    let ambient = grant("ambient", wanted.ambient(), permitted & inheritable);
    let warning = (!left_out.is_empty())
        .then(|| format!("`process.capabilities`: left out what cannot be granted: {}", left_out.join("; ")));
    (Sets { bounding, effective, inheritable, permitted, ambient }, warning)
}

/// Drops from the bounding set all that is not in it by plan. Before the user changes: it takes `CAP_SETPCAP`.
///
/// # Errors
/// The kernel refused to drop one.
pub fn apply_bounding(sets: &Sets) -> Result<(), Error> {
    for number in (0..u64::BITS).filter(|number| sets.bounding & (1 << number) == 0) {
        match thread::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            Ok(()) => {}
            // Past the last capability that this kernel knows.
            Err(rustix::io::Errno::INVAL) => return Ok(()),
            Err(source) => return Err(Error::Capabilities { set: "bounding", source: source.into() }),
        }
    }
    Ok(())
}

/// What loading a system call filter takes without `no_new_privs`.
pub const SYS_ADMIN: u64 = 1 << Capability::CAP_SYS_ADMIN as u8;

/// Applies the other four sets, after the user has changed. `besides` stays permitted and in effect, until the exec at most:
/// it is in no set from which the program gets any.
///
/// # Errors
/// The kernel refused a set.
pub fn apply(sets: &Sets, besides: u64) -> Result<(), Error> {
    let failed = |set| move |source: rustix::io::Errno| Error::Capabilities { set, source: source.into() };
    let of = CapabilitySet::from_bits_retain;
    let new = CapabilitySets {
        effective: of(sets.effective | besides),
        permitted: of(sets.permitted | besides),
        inheritable: of(sets.inheritable),
    };
    // The caller's ambient set may overlap with what the container may hold; start from none.
    thread::clear_ambient_capability_set().map_err(failed("ambient"))?;
    thread::set_capabilities(None, new).map_err(failed("permitted"))?;
    for bit in bits(sets.ambient) {
        thread::configure_capability_in_ambient_set(of(bit), true).map_err(failed("ambient"))?;
    }
    Ok(())
}

fn mask(set: Option<&Capabilities>) -> u64 {
    // A name that `caps` does not have cannot occur: both crates know the kernel's 41; if one day it does, the
    // capability is not granted, which is the safe side.
    set.into_iter()
        .flatten()
        .filter_map(|capability| Capability::from_str(&format!("CAP_{capability}")).ok())
        .fold(0, |all, capability| all | capability.bitmask())
}

fn bits(mask: u64) -> impl Iterator<Item = u64> {
    (0..u64::BITS).map(|number| 1 << number).filter(move |bit| mask & bit != 0)
}

fn names(mask: u64) -> String {
    let mut known: Vec<Capability> = caps::all().into_iter().filter(|known| known.bitmask() & mask != 0).collect();
    known.sort_unstable_by_key(Capability::index);
    known.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KILL: u64 = 1 << 5;
    const CHOWN: u64 = 1;

    fn check(json: &str, held: Held, sets: Sets, warning: Option<&str>) {
        let wanted: LinuxCapabilities = serde_json::from_str(json).unwrap();
        assert_eq!(plan(Some(&wanted), held), (sets, warning.map(str::to_owned)), "{json}");
    }

    #[test]
    fn every_name_of_the_specification_has_a_number() {
        let all: Vec<String> = caps::all().iter().map(|known| format!("\"{known}\"")).collect();
        let set: Capabilities = serde_json::from_str(&format!("[{}]", all.join(","))).unwrap();
        assert_eq!(mask(Some(&set)), (1 << 41) - 1);
    }

    #[test]
    fn absent_capabilities_are_none() {
        assert_eq!(plan(None, Held { permitted: !0, bounding: !0 }), (Sets::default(), None));
    }

    #[test]
    fn what_is_asked_for_is_granted_and_no_more() {
        let all = Held { permitted: !0, bounding: !0 };
        check(
            r#"{"bounding":["CAP_KILL","CAP_CHOWN"],"permitted":["CAP_KILL"],"effective":["CAP_KILL"]}"#,
            all,
            Sets { bounding: KILL | CHOWN, permitted: KILL, effective: KILL, ..Sets::default() },
            None,
        );
    }

    #[test]
    fn what_cannot_be_granted_is_left_out_with_a_warning() {
        let held = Held { permitted: KILL, bounding: KILL };
        check(
            r#"{"bounding":["CAP_KILL","CAP_CHOWN"],"permitted":["CAP_KILL","CAP_BPF","CAP_CHOWN"]}"#,
            held,
            Sets { bounding: KILL, permitted: KILL, ..Sets::default() },
            Some(
                "`process.capabilities`: left out what cannot be granted: CAP_CHOWN (bounding); CAP_CHOWN, CAP_BPF (permitted)",
            ),
        );
        check(
            r#"{"effective":["CAP_KILL"],"inheritable":["CAP_KILL"],"ambient":["CAP_KILL"]}"#,
            held,
            Sets::default(),
            Some(
                "`process.capabilities`: left out what cannot be granted: CAP_KILL (effective); CAP_KILL (inheritable); CAP_KILL (ambient)",
            ),
        );
    }
}
