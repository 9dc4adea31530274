//! The environment of the program: `process.env` with the last of duplicates, what socket activation passes on, and
//! `HOME` from the container's own `/etc/passwd` when the configuration is silent.

use std::collections::HashSet;
use std::ffi::CString;
use std::fs::File;
use std::io::Read;

use rustix::fs::{FileType, Mode, OFlags};

use super::Error;

/// How much of `/etc/passwd` is read: an image must not make the runtime eat its memory.
const PASSWD_LIMIT: u64 = 1 << 20;
const DEFAULT_HOME: &str = "/";

/// Descriptors passed on from systemd (`sd_listen_fds(3)`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listen {
    /// `LISTEN_FDS` of the runtime's own environment: how many descriptors from 3 on.
    pub count: u32,
    /// `LISTEN_FDNAMES`, if set.
    pub names: Option<String>,
}

/// The environment block but for `HOME`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// `NAME=value`, in the order of the configuration.
    pub entries: Vec<CString>,
    /// The value of `PATH`, where programs without a slash are looked for.
    pub path: Option<String>,
    /// Whether `HOME` has a value already.
    pub has_home: bool,
}

/// The environment block but for `HOME`: of duplicates the last entry stays, at its own place.
///
/// # Errors
/// An entry without `=`, without a name, or with a NUL.
pub fn plan(env: &[String], listen: Option<&Listen>) -> Result<Environment, Error> {
    let mut all: Vec<(String, String)> = Vec::with_capacity(env.len() + 3);
    for (index, entry) in env.iter().enumerate() {
        let invalid = |problem: &str| Error::invalid(format!("process.env[{index}]"), problem);
        let (name, value) =
            entry.split_once('=').ok_or_else(|| invalid(&format!("has no `=`: `{}`", entry.escape_debug())))?;
        if name.is_empty() {
            return Err(invalid("has no name before its `=`"));
        }
        if entry.contains('\0') {
            return Err(invalid("contains a NUL character"));
        }
        all.push((name.to_owned(), value.to_owned()));
    }
    if let Some(listen) = listen {
        all.push(("LISTEN_FDS".to_owned(), listen.count.to_string()));
        all.extend(listen.names.clone().map(|names| ("LISTEN_FDNAMES".to_owned(), names)));
        // The receiver compares this with its own pid (sd_listen_fds(3)), which is 1 in its own pid namespace.
        all.push(("LISTEN_PID".to_owned(), "1".to_owned()));
    }
    Ok(assemble(all))
}

/// The whole block: `HOME` of `uid` is added from `/etc/passwd` of this process's root when it is absent or empty.
#[must_use]
pub fn complete(environment: &Environment, uid: u32) -> Vec<CString> {
    let mut entries = environment.entries.clone();
    if !environment.has_home {
        let home = read_passwd().and_then(|passwd| home_of(&passwd, uid)).unwrap_or_else(|| DEFAULT_HOME.to_owned());
        entries.extend(CString::new(format!("HOME={home}")));
    }
    entries
}

fn assemble(all: Vec<(String, String)>) -> Environment {
    let mut seen = HashSet::with_capacity(all.len());
    let mut environment = Environment::default();
    for (name, value) in all.into_iter().rev() {
        if !seen.insert(name.clone()) {
            continue;
        }
        // An empty HOME is as good as none: runc replaces it.
        if name == "HOME" && value.is_empty() {
            continue;
        }
        environment.has_home |= name == "HOME";
        environment.entries.extend(CString::new(format!("{name}={value}")));
        if name == "PATH" {
            environment.path = Some(value);
        }
    }
    environment.entries.reverse();
    environment
}

/// The container's `/etc/passwd`, if it is a regular file (a FIFO would hang us); what cannot be read has no users.
fn read_passwd() -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::open("/etc/passwd", flags, Mode::empty()).ok()?;
    let stat = rustix::fs::fstat(&file).ok()?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return None;
    }
    // Room for all of it and one byte more, which tells the end: one read(2) each.
    let size = u64::try_from(stat.st_size).unwrap_or(0).min(PASSWD_LIMIT);
    let mut text = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
    let _length = File::from(file).take(PASSWD_LIMIT).read_to_end(&mut text).ok()?;
    Some(text)
}

/// The sixth field of the first line of passwd(5) whose third is exactly `uid`.
fn home_of(passwd: &[u8], uid: u32) -> Option<String> {
    passwd.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = std::str::from_utf8(line).ok()?.split(':').skip(2);
        let found = fields.next()?;
        // `parse` alone would take "+0".
        let strict = !found.is_empty() && found.bytes().all(|byte| byte.is_ascii_digit());
        let matches = strict && found.parse() == Ok(uid);
        let home = fields.nth(2)?;
        (matches && !home.is_empty() && !home.contains('\0')).then(|| home.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(env: &[&str], listen: Option<Listen>) -> Result<Vec<String>, String> {
        let env: Vec<String> = env.iter().map(ToString::to_string).collect();
        plan(&env, listen.as_ref())
            .map(|found| found.entries.into_iter().map(|entry| entry.into_string().unwrap()).collect())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_last_of_duplicates_stays_at_its_place() {
        assert_eq!(block(&["A=1", "B=2", "A=3=x", "C="], None).unwrap(), ["B=2", "A=3=x", "C="]);
    }

    #[test]
    fn bad_entries_are_named() {
        assert_eq!(block(&["A=1", "B"], None).unwrap_err(), "`process.env[1]` has no `=`: `B`");
        assert_eq!(block(&["=1"], None).unwrap_err(), "`process.env[0]` has no name before its `=`");
        assert_eq!(block(&["A=\0"], None).unwrap_err(), "`process.env[0]` contains a NUL character");
    }

    #[test]
    fn socket_activation_passes_through() {
        let listen = Listen { count: 2, names: Some("a:b".to_owned()) };
        let expected = ["X=1", "LISTEN_FDS=2", "LISTEN_FDNAMES=a:b", "LISTEN_PID=1"];
        assert_eq!(block(&["LISTEN_PID=9", "X=1"], Some(listen)).unwrap(), expected);
    }

    #[test]
    fn path_and_home_are_noticed() {
        let found = plan(&["PATH=/a".to_owned(), "HOME=".to_owned(), "PATH=/b".to_owned()], None).unwrap();
        assert_eq!((found.path.as_deref(), found.has_home, found.entries.len()), (Some("/b"), false, 1));
        assert!(plan(&["HOME=/x".to_owned()], None).unwrap().has_home);
    }

    #[test]
    fn home_is_looked_up_strictly() {
        let passwd = b"bad\nplus:x:+7:7::/plus:/bin/sh\nroot:x:0:0:root:/root:/bin/sh\n\xff:x:8:8::/latin:\nu:x:7:7:,:/u:/s\nempty:x:9:9:::\n";
        assert_eq!(home_of(passwd, 0).as_deref(), Some("/root"));
        assert_eq!(home_of(passwd, 7).as_deref(), Some("/u"));
        assert_eq!(home_of(passwd, 8), None);
        assert_eq!(home_of(passwd, 9), None);
        assert_eq!(home_of(passwd, 1), None);
    }
}
