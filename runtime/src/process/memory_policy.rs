//! From which memory nodes the container's memory comes (`linux.memoryPolicy`, `set_mempolicy(2)`).

use oci_spec::runtime::{LinuxMemoryPolicy, MemoryPolicyFlagType as Flag, MemoryPolicyModeType as Mode};

use super::{Error, list};
use crate::sys::numa;

/// The modes, by the numbers of include/uapi/linux/mempolicy.h. `features` lists them.
pub const MODES: [(&str, Mode, u16); 7] = [
    ("MPOL_DEFAULT", Mode::MpolDefault, 0),
    ("MPOL_PREFERRED", Mode::MpolPreferred, 1),
    ("MPOL_BIND", Mode::MpolBind, 2),
    ("MPOL_INTERLEAVE", Mode::MpolInterleave, 3),
    ("MPOL_LOCAL", Mode::MpolLocal, 4),
    ("MPOL_PREFERRED_MANY", Mode::MpolPreferredMany, 5),
    ("MPOL_WEIGHTED_INTERLEAVE", Mode::MpolWeightedInterleave, 6),
];

/// The flags, by the bits of the same file.
pub const FLAGS: [(&str, Flag, u16); 3] = [
    ("MPOL_F_STATIC_NODES", Flag::MpolFStaticNodes, 1 << 15),
    ("MPOL_F_RELATIVE_NODES", Flag::MpolFRelativeNodes, 1 << 14),
    ("MPOL_F_NUMA_BALANCING", Flag::MpolFNumaBalancing, 1 << 13),
];

/// What `set_mempolicy(2)` takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The mode, with its flags.
    pub mode: u16,
    /// The nodes, in order.
    pub nodes: Vec<u32>,
}

/// Checks what the manual page says of each mode, so that the kernel's `EINVAL` is left for what depends on the machine.
///
/// # Errors
/// Nodes or flags that the mode has no use for, nodes that it needs, or no list.
pub fn plan(asked: &LinuxMemoryPolicy) -> Result<Policy, Error> {
    let mode = asked.mode();
    let text = asked.nodes().as_deref().unwrap_or_default();
    let nodes = if text.is_empty() {
        Vec::new()
    } else {
        list::parse(text).map_err(|problem| Error::invalid("linux.memoryPolicy.nodes", problem))?
    };
    let without_nodes = matches!(mode, Mode::MpolDefault | Mode::MpolLocal);
    if without_nodes && !nodes.is_empty() {
        return Err(Error::invalid("linux.memoryPolicy.nodes", format!("is set, but {mode} takes none")));
    }
    if nodes.is_empty() && !without_nodes && mode != Mode::MpolPreferred {
        return Err(Error::invalid("linux.memoryPolicy.nodes", format!("is missing; {mode} needs at least one")));
    }
    let flags = asked.flags().as_deref().unwrap_or_default();
    if let (true, Some(flag)) = (nodes.is_empty(), flags.first()) {
        let problem = format!("has {flag}, which is about nodes, and there are none");
        return Err(Error::invalid("linux.memoryPolicy.flags", problem));
    }
    if flags.contains(&Flag::MpolFStaticNodes) && flags.contains(&Flag::MpolFRelativeNodes) {
        return Err(Error::invalid(
            "linux.memoryPolicy.flags",
            "has MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES, which exclude each other",
        ));
    }
    let number = MODES.iter().find(|(_, known, _)| *known == mode).map_or(0, |(_, _, number)| *number);
    let bits = FLAGS.iter().filter(|(_, flag, _)| flags.contains(flag)).fold(0, |bits, (_, _, bit)| bits | bit);
    Ok(Policy { mode: number | bits, nodes })
}

/// Sets the policy of this process and of those that it makes. The cgroup's `cpuset.mems` must be what it is to be: the
/// kernel would move a policy along with a later change.
///
/// # Errors
/// The kernel's refusal.
pub fn apply(policy: &Policy) -> Result<(), Error> {
    numa::set_policy(policy.mode, &policy.nodes).map_err(|source| Error::Apply {
        property: "linux.memoryPolicy",
        hint: match source.raw_os_error() {
            Some(libc::ENOSYS) => " (this kernel is built without NUMA; leave it out)",
            Some(libc::EINVAL) => {
                " (none of the nodes has memory and is in the cgroup's cpuset, or the mode or a flag is newer than this kernel)"
            }
            _ => "",
        },
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, expected: Result<(u16, &[u32]), &str>) {
        let found = plan(&serde_json::from_str(json).unwrap());
        match expected {
            Ok((mode, nodes)) => assert_eq!(found.unwrap(), Policy { mode, nodes: nodes.to_vec() }, "{json}"),
            Err(said) => {
                let text = found.unwrap_err().to_string();
                assert!(text.starts_with("`linux.memoryPolicy.") && text.contains(said), "{json}: {text}");
            }
        }
    }

    #[test]
    fn policies() {
        check(r#"{"mode":"MPOL_DEFAULT"}"#, Ok((0, &[])));
        check(r#"{"mode":"MPOL_PREFERRED"}"#, Ok((1, &[])));
        check(r#"{"mode":"MPOL_BIND","nodes":"0,2-3","flags":["MPOL_F_STATIC_NODES"]}"#, Ok((2 | 1 << 15, &[0, 2, 3])));
        check(r#"{"mode":"MPOL_WEIGHTED_INTERLEAVE","nodes":"1"}"#, Ok((6, &[1])));
        check(r#"{"mode":"MPOL_LOCAL","nodes":"0"}"#, Err("MPOL_LOCAL takes none"));
        check(r#"{"mode":"MPOL_DEFAULT","nodes":"0"}"#, Err("MPOL_DEFAULT takes none"));
        check(r#"{"mode":"MPOL_BIND","nodes":""}"#, Err("MPOL_BIND needs at least one"));
        check(r#"{"mode":"MPOL_BIND","nodes":"x"}"#, Err("has `x`"));
        check(r#"{"mode":"MPOL_DEFAULT","flags":["MPOL_F_STATIC_NODES"]}"#, Err("about nodes"));
        let both = r#"{"mode":"MPOL_BIND","nodes":"0","flags":["MPOL_F_STATIC_NODES","MPOL_F_RELATIVE_NODES"]}"#;
        check(both, Err("exclude each other"));
    }
}
