//! Resource limits (`process.rlimits`) and the OOM score, either set by the process itself or by its parent: in a user
//! namespace only the parent still has the right to raise a hard limit or to lower the score.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write};

use oci_spec::runtime::{PosixRlimit, PosixRlimitType};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Resource, Rlimit};

use super::Error;

/// One `setrlimit(2)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Where it stands in the configuration: `process.rlimits[2] RLIMIT_NOFILE`.
    pub property: String,
    /// Which one.
    pub resource: Resource,
    /// In the unit of the resource (`getrlimit(2)`); `u64::MAX` is no limit.
    pub soft: u64,
    /// As `soft`.
    pub hard: u64,
}

/// The limits to set, in the order of the configuration.
///
/// # Errors
/// A type given twice (the OCI specification demands an error) or a soft limit above the hard one.
pub fn plan(limits: &[PosixRlimit]) -> Result<Vec<Limit>, Error> {
    let mut seen = HashSet::new();
    let mut planned = Vec::with_capacity(limits.len());
    for (index, limit) in limits.iter().enumerate() {
        let name = limit.typ().to_string();
        let property = format!("process.rlimits[{index}] {name}");
        if limit.soft() > limit.hard() {
            let problem = format!("has soft limit {} above hard limit {}", limit.soft(), limit.hard());
            return Err(Error::invalid(property, problem));
        }
        if !seen.insert(name) {
            return Err(Error::invalid(property, "is given twice; keep one entry for each type"));
        }
        let resource = resource(limit.typ());
        planned.push(Limit { property, resource, soft: limit.soft(), hard: limit.hard() });
    }
    Ok(planned)
}

/// Checks the range of `process.oomScoreAdj` (`proc_pid_oom_score_adj(5)`).
///
/// # Errors
/// Outside of -1000 to 1000.
pub fn oom_score(value: i32) -> Result<i32, Error> {
    if (-1000..=1000).contains(&value) {
        return Ok(value);
    }
    Err(Error::invalid("process.oomScoreAdj", format!("is {value}; it must be between -1000 and 1000")))
}

/// Sets the limits of `target`, or of this process.
///
/// # Errors
/// The first limit that the kernel refuses.
pub fn apply(limits: &[Limit], target: Option<Pid>) -> Result<(), Error> {
    for limit in limits {
        let new = Rlimit { current: Some(limit.soft), maximum: Some(limit.hard) };
        let _old = rustix::process::prlimit(target, limit.resource, new).map_err(|source| Error::Limit {
            property: limit.property.clone(),
            soft: limit.soft,
            hard: limit.hard,
            hint: match source {
                rustix::io::Errno::PERM => " (raising a hard limit, or RLIMIT_NOFILE above fs.nr_open, is not allowed)",
                _ => "",
            },
            source: source.into(),
        })?;
    }
    Ok(())
}

/// Writes the OOM score of `target`, or of this process, through a descriptor that is surely on a procfs.
///
/// # Errors
/// /proc is not a procfs, or the kernel refuses the value.
pub fn apply_oom_score(value: i32, target: Option<Pid>) -> Result<(), Error> {
    let path = match target {
        Some(pid) => format!("/proc/{}/oom_score_adj", pid.as_raw_nonzero()),
        None => "/proc/self/oom_score_adj".to_owned(),
    };
    let failed = |source: io::Error| Error::OomScoreAdj {
        value,
        hint: match source.raw_os_error() {
            Some(libc::EACCES | libc::EPERM) => " (lowering it takes CAP_SYS_RESOURCE)",
            _ => "",
        },
        source,
    };
    let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::open(&path, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
    let kind = rustix::fs::fstatfs(&file).map_err(|errno| failed(errno.into()))?.f_type;
    if kind != rustix::fs::PROC_SUPER_MAGIC {
        return Err(Error::NotProcfs { path });
    }
    File::from(file).write_all(value.to_string().as_bytes()).map_err(failed)
}

const fn resource(kind: PosixRlimitType) -> Resource {
    match kind {
        PosixRlimitType::RlimitCpu => Resource::Cpu,
        PosixRlimitType::RlimitFsize => Resource::Fsize,
        PosixRlimitType::RlimitData => Resource::Data,
        PosixRlimitType::RlimitStack => Resource::Stack,
        PosixRlimitType::RlimitCore => Resource::Core,
        PosixRlimitType::RlimitRss => Resource::Rss,
        PosixRlimitType::RlimitNproc => Resource::Nproc,
        PosixRlimitType::RlimitNofile => Resource::Nofile,
        PosixRlimitType::RlimitMemlock => Resource::Memlock,
        PosixRlimitType::RlimitAs => Resource::As,
        PosixRlimitType::RlimitLocks => Resource::Locks,
        PosixRlimitType::RlimitSigpending => Resource::Sigpending,
        PosixRlimitType::RlimitMsgqueue => Resource::Msgqueue,
        PosixRlimitType::RlimitNice => Resource::Nice,
        PosixRlimitType::RlimitRtprio => Resource::Rtprio,
        PosixRlimitType::RlimitRttime => Resource::Rttime,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Vec<Limit>, Error> {
        plan(&serde_json::from_str::<Vec<PosixRlimit>>(json).unwrap())
    }

    #[test]
    fn limits_keep_their_order_and_name_their_place() {
        let limits = parse(
            r#"[{"type":"RLIMIT_NOFILE","soft":1,"hard":2},{"type":"RLIMIT_CORE","soft":0,"hard":18446744073709551615}]"#,
        )
        .unwrap();
        assert_eq!(limits[0].resource, Resource::Nofile);
        assert_eq!(limits[1].property, "process.rlimits[1] RLIMIT_CORE");
        assert_eq!(limits[1].hard, u64::MAX);
    }

    /// setrlimit(2) has the width of the machine, prlimit(2) has 64 bits; a 32-bit kernel takes all beyond 4 GiB as none.
    #[test]
    fn limits_beyond_32_bits_arrive() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        let limits = parse(
            r#"[{"type":"RLIMIT_FSIZE","soft":5368709120,"hard":18446744073709551615},
                {"type":"RLIMIT_CPU","soft":4294967296,"hard":4294967297}]"#,
        );
        let done = apply(&limits.unwrap(), pid);
        let text = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        done.unwrap();
        let line = |name: &str| {
            let rest = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            rest.split_whitespace().take(2).map(|word| word.parse().unwrap_or(u64::MAX)).collect::<Vec<_>>()
        };
        let narrow_kernel = rustix::system::uname().machine().to_bytes().starts_with(b"armv7");
        for (name, set) in [("Max file size", [5 << 30, u64::MAX]), ("Max cpu time", [1 << 32, (1 << 32) + 1])] {
            let shown = line(name);
            assert!(shown == set || narrow_kernel && shown == [u64::MAX; 2], "{name}: {shown:?}");
        }
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let twice = r#"[{"type":"RLIMIT_CPU","soft":1,"hard":2},{"type":"RLIMIT_CPU","soft":1,"hard":2}]"#;
        assert_eq!(
            parse(twice).unwrap_err().to_string(),
            "`process.rlimits[1] RLIMIT_CPU` is given twice; keep one entry for each type"
        );
        assert_eq!(
            parse(r#"[{"type":"RLIMIT_CPU","soft":3,"hard":2}]"#).unwrap_err().to_string(),
            "`process.rlimits[0] RLIMIT_CPU` has soft limit 3 above hard limit 2"
        );
        assert_eq!(oom_score(-1000).unwrap(), -1000);
        assert_eq!(
            oom_score(1001).unwrap_err().to_string(),
            "`process.oomScoreAdj` is 1001; it must be between -1000 and 1000"
        );
    }
}
