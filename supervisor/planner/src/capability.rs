//! Capabilities by name (capabilities(7)), and the eleven that a service has when it asks for nothing.

/// All that Linux has.
const ALL: [&str; 41] = [
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

/// What a service may have without asking: podman's set.
pub const DEFAULT: [&str; 11] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// `cap_drop: [ALL]`.
pub const EVERY: &str = "ALL";

/// The full name of `net_admin`, `NET_ADMIN` or `CAP_NET_ADMIN`; none if there is no such capability.
#[must_use]
pub fn name(text: &str) -> Option<String> {
    let upper = text.to_ascii_uppercase();
    let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
    ALL.contains(&short).then(|| format!("CAP_{short}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for text in ["NET_ADMIN", "net_admin", "CAP_NET_ADMIN"] {
            assert_eq!(name(text).as_deref(), Some("CAP_NET_ADMIN"));
        }
        for text in ["", "CAP_", "ALL", "CAP_CAP_CHOWN", "NET-ADMIN"] {
            assert_eq!(name(text), None, "{text}");
        }
        assert!(DEFAULT.iter().all(|known| name(known).as_deref() == Some(known)));
        assert!(ALL.is_sorted());
    }
}
