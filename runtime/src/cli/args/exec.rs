//! The words of `skiff exec`: its own flags come before the container's id, everything after it is the command.

use super::{Command, Error, descriptors, non_empty, usage};
use crate::cgroup::Below;
use crate::container::exec::{Command as Program, What};
use lexopt::{Arg, Parser, ValueExt};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// `exec`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Exec {
    /// The container's id as typed.
    pub(in crate::cli) id: String,
    /// `--process`, or the command with the flags that describe it.
    pub(in crate::cli) what: What,
    /// `--tty`
    pub(in crate::cli) tty: bool,
    /// `--detach`
    pub(in crate::cli) detach: bool,
    /// `--pid-file`
    pub(in crate::cli) pid_file: Option<PathBuf>,
    /// `--console-socket`
    pub(in crate::cli) console_socket: Option<PathBuf>,
    /// `--pidfd-socket`
    pub(in crate::cli) pidfd_socket: Option<PathBuf>,
    /// `--preserve-fds`
    pub(in crate::cli) preserve_fds: u32,
    /// `--ignore-paused`
    pub(in crate::cli) ignore_paused: bool,
    /// `--cgroup`
    pub(in crate::cli) cgroups: Vec<Below>,
}

const SELINUX: &str = "SELinux is not built in; leave it out";
const USER: &str = "give UID or UID:GID as numbers, at most 4294967294";
const GROUP: &str = "give a number, at most 4294967294";

pub(super) fn parse(parser: &mut Parser) -> Result<Command, Error> {
    let mut exec = Exec {
        id: String::new(),
        what: What::Command(Program::default()),
        tty: false,
        detach: false,
        pid_file: None,
        console_socket: None,
        pidfd_socket: None,
        preserve_fds: 0,
        ignore_paused: false,
        cgroups: Vec::new(),
    };
    let (mut file, mut program) = (None, Program::default());
    loop {
        let Some(arg) = parser.next()? else { return Err(Error::NoId("exec")) };
        match arg {
            Arg::Long("process") | Arg::Short('p') => file = non_empty(parser.value()?),
            Arg::Long("detach") | Arg::Short('d') => exec.detach = true,
            Arg::Long("tty") | Arg::Short('t') => exec.tty = true,
            Arg::Long("pid-file") => exec.pid_file = non_empty(parser.value()?),
            Arg::Long("console-socket") => exec.console_socket = non_empty(parser.value()?),
            Arg::Long("pidfd-socket") => exec.pidfd_socket = non_empty(parser.value()?),
            Arg::Long("preserve-fds") => exec.preserve_fds = descriptors(&parser.value()?.string()?)?,
            Arg::Long("ignore-paused") => exec.ignore_paused = true,
            Arg::Long("cwd") => program.cwd = non_empty(parser.value()?),
            Arg::Long("env") | Arg::Short('e') => program.env.push(parser.value()?.string()?),
            Arg::Long("user") | Arg::Short('u') => program.user = Some(user(&parser.value()?.string()?)?),
            Arg::Long("additional-gids") | Arg::Short('g') => {
                program.additional_gids.push(group(&parser.value()?.string()?)?);
            }
            Arg::Long("cap") | Arg::Short('c') => program.capabilities.push(parser.value()?.string()?),
            Arg::Long("no-new-privs") => program.no_new_privileges = Some(truth(parser.optional_value())?),
            Arg::Long("apparmor") => program.apparmor = Some(parser.value()?.string()?).filter(|name| !name.is_empty()),
            Arg::Long("process-label") => refuse("exec --process-label", &parser.value()?, SELINUX)?,
            Arg::Long("cgroup") => {
                let text = parser.value()?.string()?;
                exec.cgroups.extend(Some(text).filter(|text| !text.is_empty()).map(|text| Below::parse(&text)));
            }
            Arg::Long("help") | Arg::Short('h') => return Ok(Command::Help(usage::verb("exec"))),
            Arg::Value(id) => {
                exec.id = id.string()?;
                break;
            }
            other => return Err(other.unexpected().into()),
        }
    }
    program.args = parser.raw_args()?.map(ValueExt::string).collect::<Result<_, _>>()?;
    // What separates them elsewhere is no program.
    if program.args.first().is_some_and(|word| word == "--") {
        program.args.remove(0);
    }
    exec.what = what(file, program)?;
    Ok(Command::Exec(exec))
}

/// What a file says is not changed by flags: they would have to be ignored, or to win without being seen.
fn what(file: Option<PathBuf>, program: Program) -> Result<What, Error> {
    match file {
        Some(file) if program == Program::default() => Ok(What::File(file)),
        Some(_) => Err(Error::ExecTwice),
        None if program.args.is_empty() => Err(Error::ExecNothing),
        None => Ok(What::Command(program)),
    }
}

/// Callers pass an empty value where they have none.
fn refuse(flag: &str, value: &OsStr, reason: &'static str) -> Result<(), Error> {
    if value.is_empty() { Ok(()) } else { Err(Error::Refused { verb: flag.to_owned(), reason }) }
}

/// Digits and nothing else: what is half understood must not become root (CVE-2026-30892).
fn user(text: &str) -> Result<(u32, Option<u32>), Error> {
    let refuse = || Error::Value { flag: "--user", value: text.to_owned(), hint: USER };
    match text.split_once(':') {
        Some((uid, gid)) => Ok((id(uid).ok_or_else(refuse)?, Some(id(gid).ok_or_else(refuse)?))),
        None => Ok((id(text).ok_or_else(refuse)?, None)),
    }
}

fn group(text: &str) -> Result<u32, Error> {
    id(text).ok_or_else(|| Error::Value { flag: "--additional-gids", value: text.to_owned(), hint: GROUP })
}

fn id(text: &str) -> Option<u32> {
    // `parse` alone would take "+0"; the largest number means "no change" to the kernel.
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|id| digits && *id != u32::MAX)
}

fn truth(value: Option<OsString>) -> Result<bool, Error> {
    match value.map(ValueExt::string).transpose()?.as_deref() {
        None | Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(other) => {
            Err(Error::Value { flag: "--no-new-privs", value: other.to_owned(), hint: "use `true` or `false`" })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_digits() {
        assert_eq!(user("0").ok(), Some((0, None)));
        assert_eq!(user("1000:50").ok(), Some((1000, Some(50))));
        for bad in ["", ":", "1:", ":1", "+1", "-1", "1 ", "root", "1:x", "0x0", "1:2:3", "4294967295", "99999999999"] {
            assert!(user(bad).is_err(), "{bad}");
        }
        assert!(group("4294967294").is_ok() && group("a").is_err());
    }
}
