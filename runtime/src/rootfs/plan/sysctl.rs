//! Which kernel parameters a container may set: those that belong to a namespace of its own, as runc's validator has
//! them. Any other would change the machine.

use std::collections::HashMap;
use std::path::PathBuf;

use super::super::error::Error;
use super::Facts;

/// One parameter to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sysctl {
    /// As written in the configuration.
    pub key: String,
    /// Below `/proc`: `sys/net/ipv4/ip_forward`.
    pub path: PathBuf,
    /// What to write.
    pub value: String,
}

const IPC: [&str; 8] = [
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_rmid_forced",
];

pub(super) fn plan(asked: Option<&HashMap<String, String>>, facts: &Facts) -> Result<Vec<Sysctl>, Error> {
    let mut sysctls = Vec::new();
    for (key, value) in asked.into_iter().flatten() {
        let path = slashes(key);
        if let Some(rule) = objection(&path, facts) {
            return Err(Error::Invalid { property: "linux.sysctl".into(), value: key.clone(), rule });
        }
        sysctls.push(Sysctl { key: key.clone(), path: PathBuf::from("sys").join(path), value: value.clone() });
    }
    // A map has no order; the same configuration must give the same plan.
    sysctls.sort_by(|one, other| one.key.cmp(&other.key));
    Ok(sysctls)
}

/// sysctl(8): the first separator decides which one is in use, the other is then part of a name
/// (`net.ipv4.conf.eth0/7.forwarding`).
fn slashes(key: &str) -> String {
    match key.find(['.', '/']) {
        Some(at) if key.as_bytes()[at] == b'/' => key.to_owned(),
        _dots => key
            .chars()
            .map(|letter| match letter {
                '.' => '/',
                '/' => '.',
                other => other,
            })
            .collect(),
    }
}

fn objection(path: &str, facts: &Facts) -> Option<&'static str> {
    let odd = |name: &str| name.is_empty() || name == "." || name == "..";
    if path.contains('\0') || path.split('/').any(odd) {
        return Some("which is not the name of a kernel parameter");
    }
    if path == "kernel/hostname" {
        return Some("which conflicts with `hostname`; use that");
    }
    let (allowed, rule) = match path.split('/').next() {
        Some("net") => (facts.network_namespace, "which needs a network namespace of its own"),
        Some("user") => (facts.user_namespace, "which needs a user namespace of its own"),
        _other if path == "kernel/domainname" => (facts.uts_namespace, "which needs a uts namespace of its own"),
        _other if path.starts_with("fs/mqueue/") || IPC.contains(&path) => {
            (facts.ipc_namespace, "which needs an ipc namespace of its own")
        }
        _other => (false, "which is not separate for each container"),
    };
    (!allowed).then_some(rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_paths() {
        let check = |key, path| assert_eq!(slashes(key), path);
        check("net.ipv4.ip_forward", "net/ipv4/ip_forward");
        check("net/ipv4/conf/eth0.7/forwarding", "net/ipv4/conf/eth0.7/forwarding");
        check("net.ipv4.conf.eth0/7.forwarding", "net/ipv4/conf/eth0.7/forwarding");
        check("kernel", "kernel");
    }

    #[test]
    fn only_what_is_separate() {
        let all = Facts {
            ipc_namespace: true,
            uts_namespace: true,
            network_namespace: true,
            user_namespace: true,
            ..Facts::default()
        };
        for path in ["kernel/shmmax", "fs/mqueue/msg_max", "net/core/somaxconn", "kernel/domainname", "user/max_x"] {
            assert_eq!(objection(path, &all), None, "{path}");
            assert!(objection(path, &Facts::default()).is_some(), "{path}");
        }
        for path in ["kernel/hostname", "vm/swappiness", "kernel/core_pattern", "net/../kernel/core_pattern", "net//x"]
        {
            assert!(objection(path, &all).is_some(), "{path}");
        }
    }
}
