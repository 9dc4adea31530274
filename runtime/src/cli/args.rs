//! From words to a typed command, without looking at the world. Flags are runc's, by hand, because a parser generator
//! costs a small program more start-up time than all of its other preparations.

mod exec;
mod update;
mod usage;

use crate::container::plans::Driver;
use crate::log::Format;
use lexopt::{Arg, Parser, ValueExt};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

pub(super) use exec::Exec;
pub(super) use update::{Source, Update};
pub(super) use usage::{overview, verb as verb_help, version};

/// Options before the verb.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Global {
    /// `--root`
    pub(super) root: Option<PathBuf>,
    /// `--log`
    pub(super) log: Option<PathBuf>,
    /// `--log-format`
    pub(super) log_format: Format,
    /// `--debug`
    pub(super) debug: bool,
    /// `--cgroup-manager`, crun's flag; `--systemd-cgroup`, runc's, is the same as `systemd`.
    pub(super) cgroups: Driver,
    /// `--rootless`, without `auto`
    pub(super) rootless: Option<bool>,
}

/// `create` and `run`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Make {
    /// The container's id as typed.
    pub(super) id: String,
    /// `--bundle`, the working directory without it.
    pub(super) bundle: PathBuf,
    /// `--config`, crun's flag
    pub(super) config: Option<PathBuf>,
    /// `--console-socket`
    pub(super) console_socket: Option<PathBuf>,
    /// `--pidfd-socket`
    pub(super) pidfd_socket: Option<PathBuf>,
    /// `--pid-file`
    pub(super) pid_file: Option<PathBuf>,
    /// `--no-pivot`
    pub(super) no_pivot: bool,
    /// `--no-new-keyring`
    pub(super) no_new_keyring: bool,
    /// `--preserve-fds`
    pub(super) preserve_fds: u32,
    /// `run --detach`
    pub(super) detach: bool,
    /// `run --keep`
    pub(super) keep: bool,
    /// `run --no-subreaper`
    pub(super) no_subreaper: bool,
}

/// `kill`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Kill {
    /// The container's id as typed.
    pub(super) id: String,
    /// `TERM` without one.
    pub(super) signal: Option<String>,
    /// `--all`
    pub(super) all: bool,
}

/// `events`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Events {
    /// The container's id as typed.
    pub(super) id: String,
    /// `--interval`
    pub(super) interval: Duration,
    /// `--stats`
    pub(super) stats: bool,
}

/// How `list` prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ListFormat {
    /// Columns for people.
    #[default]
    Table,
    /// An array of state documents.
    Json,
}

/// The verb and its own options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Text to print.
    Help(String),
    /// `--version`
    Version,
    /// `create`
    Create(Make),
    /// `run`
    Run(Make),
    /// `start`
    Start {
        /// The container's id as typed.
        id: String,
    },
    /// `state`
    State {
        /// The container's id as typed.
        id: String,
    },
    /// `exec`
    Exec(Exec),
    /// `kill`
    Kill(Kill),
    /// `delete`
    Delete {
        /// The container's id as typed.
        id: String,
        /// `--force`
        force: bool,
    },
    /// `list`
    List {
        /// `--format`
        format: ListFormat,
        /// `--quiet`
        quiet: bool,
    },
    /// `pause`
    Pause {
        /// The container's id as typed.
        id: String,
    },
    /// `resume`
    Resume {
        /// The container's id as typed.
        id: String,
    },
    /// `update`
    Update(Update),
    /// `ps`
    Ps {
        /// The container's id as typed.
        id: String,
        /// `--format`
        format: ListFormat,
        /// What ps(1) is given.
        options: Vec<OsString>,
    },
    /// `events`
    Events(Events),
    /// `spec`
    Spec {
        /// `--bundle`, the working directory without it.
        bundle: PathBuf,
        /// `--rootless`
        rootless: bool,
    },
    /// `features`
    Features,
}

/// A whole command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parsed {
    /// Options before the verb.
    pub(super) global: Global,
    /// The verb.
    pub(super) command: Command,
}

/// Why the words are not a command.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// A flag or value that is not understood.
    #[error("{0} (see `skiff --help`)")]
    Words(lexopt::Error),
    /// No such verb.
    #[error("`{0}` is not a command of skiff; see `skiff --help`")]
    UnknownVerb(String),
    /// runc has it; skiff will not, or not yet.
    #[error("`{verb}` is not available: {reason}")]
    Refused {
        /// The verb or flag.
        verb: String,
        /// Why.
        reason: &'static str,
    },
    /// The id is missing.
    #[error("`skiff {0}` needs a container id; see `skiff {0} --help`")]
    NoId(&'static str),
    /// `exec` with neither.
    #[error("`skiff exec` needs a command after the container's id, or --process FILE")]
    ExecNothing,
    /// `exec` with both.
    #[error(
        "--process describes the whole process: a command, --cwd, --env, --user, --additional-gids, --cap, --apparmor and --no-new-privs cannot go with it; put them into its file"
    )]
    ExecTwice,
    /// `update` with a document and with flags.
    #[error("`--resources` and `--{0}` are both given; put everything into the document or into flags")]
    Twice(String),
    /// A value out of its range.
    #[error("`{flag} {value}` is not understood; {hint}")]
    Value {
        /// The flag.
        flag: &'static str,
        /// What was given.
        value: String,
        /// What is.
        hint: &'static str,
    },
}

/// Not a source of ours: its text is in the message, and who prints the chain of sources would print it twice.
impl From<lexopt::Error> for Error {
    fn from(error: lexopt::Error) -> Self {
        Self::Words(error)
    }
}

/// The most descriptors that `--preserve-fds` may name: the kernel's ceiling on open files (`fs.nr_open`'s default).
const MOST_DESCRIPTORS: u32 = 1 << 20;
const CRIU: &str = "skiff has neither checkpoint nor restore; delete the container and create it again";

/// Parses a command line, the program's name first.
pub(super) fn parse(words: impl Iterator<Item = OsString>) -> Result<Parsed, Error> {
    let mut parser = Parser::from_iter(words);
    let mut global = Global::default();
    let verb = loop {
        match parser.next()? {
            Some(Arg::Long("root")) => global.root = Some(parser.value()?.into()),
            Some(Arg::Long("log")) => global.log = Some(parser.value()?.into()).filter(|path| path != &PathBuf::new()),
            Some(Arg::Long("log-format")) => global.log_format = log_format(&parser.value()?.string()?)?,
            Some(Arg::Long("debug")) => global.debug = true,
            Some(Arg::Long("cgroup-manager")) => global.cgroups = cgroup_manager(&parser.value()?.string()?)?,
            Some(Arg::Long("systemd-cgroup")) => global.cgroups = Driver::Systemd,
            Some(Arg::Long("rootless")) => global.rootless = rootless(&parser.value()?.string()?)?,
            Some(Arg::Long("help") | Arg::Short('h')) => break None,
            Some(Arg::Long("version") | Arg::Short('v')) => return Ok(Parsed { global, command: Command::Version }),
            Some(Arg::Value(verb)) => break Some(verb.string()?),
            Some(other) => return Err(other.unexpected().into()),
            None => break None,
        }
    };
    let command = match verb {
        Some(verb) => command(&verb, &mut parser)?,
        None => Command::Help(overview()),
    };
    Ok(Parsed { global, command })
}

fn command(verb: &str, parser: &mut Parser) -> Result<Command, Error> {
    Ok(match verb {
        "create" => make("create", parser)?,
        "run" => make("run", parser)?,
        "start" => only_id("start", parser)?.map_or_else(help("start"), |id| Command::Start { id }),
        "state" => only_id("state", parser)?.map_or_else(help("state"), |id| Command::State { id }),
        "exec" => exec::parse(parser)?,
        "kill" => kill(parser)?,
        "delete" => delete(parser)?,
        "list" => list(parser)?,
        "pause" => only_id("pause", parser)?.map_or_else(help("pause"), |id| Command::Pause { id }),
        "resume" => only_id("resume", parser)?.map_or_else(help("resume"), |id| Command::Resume { id }),
        "update" => update::update(parser)?,
        "ps" => ps(parser)?,
        "events" => events(parser)?,
        "spec" => spec(parser)?,
        "features" => only_help("features", parser)?.unwrap_or(Command::Features),
        "help" => Command::Help(overview()),
        "checkpoint" | "restore" => return Err(Error::Refused { verb: verb.to_owned(), reason: CRIU }),
        other => return Err(Error::UnknownVerb(other.to_owned())),
    })
}

fn help(verb: &'static str) -> impl FnOnce() -> Command {
    move || Command::Help(usage::verb(verb))
}

fn make(verb: &'static str, parser: &mut Parser) -> Result<Command, Error> {
    let mut options = Make { bundle: PathBuf::from("."), ..Make::default() };
    let mut id = None;
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("bundle") | Arg::Short('b') => options.bundle = parser.value()?.into(),
            Arg::Long("config") => options.config = non_empty(parser.value()?),
            Arg::Long("console-socket") => options.console_socket = non_empty(parser.value()?),
            Arg::Long("pidfd-socket") => options.pidfd_socket = non_empty(parser.value()?),
            Arg::Long("pid-file") => options.pid_file = non_empty(parser.value()?),
            Arg::Long("no-pivot") => options.no_pivot = true,
            Arg::Long("no-new-keyring") => options.no_new_keyring = true,
            Arg::Long("preserve-fds") => options.preserve_fds = descriptors(&parser.value()?.string()?)?,
            Arg::Long("detach") | Arg::Short('d') if verb == "run" => options.detach = true,
            Arg::Long("keep") if verb == "run" => options.keep = true,
            Arg::Long("no-subreaper") if verb == "run" => options.no_subreaper = true,
            Arg::Long("help") | Arg::Short('h') => return Ok(Command::Help(usage::verb(verb))),
            Arg::Value(value) if id.is_none() => id = Some(value.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    options.id = id.ok_or(Error::NoId(verb))?;
    Ok(if verb == "run" { Command::Run(options) } else { Command::Create(options) })
}

fn only_id(verb: &'static str, parser: &mut Parser) -> Result<Option<String>, Error> {
    let mut id = None;
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("help") | Arg::Short('h') => return Ok(None),
            Arg::Value(value) if id.is_none() => id = Some(value.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    id.ok_or(Error::NoId(verb)).map(Some)
}

fn only_help(verb: &'static str, parser: &mut Parser) -> Result<Option<Command>, Error> {
    match parser.next()? {
        None => Ok(None),
        Some(Arg::Long("help") | Arg::Short('h')) => Ok(Some(Command::Help(usage::verb(verb)))),
        Some(other) => Err(other.unexpected().into()),
    }
}

fn kill(parser: &mut Parser) -> Result<Command, Error> {
    let mut options = Kill::default();
    let mut values = Vec::new();
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("all") | Arg::Short('a') => options.all = true,
            Arg::Long("help") | Arg::Short('h') => return Ok(Command::Help(usage::verb("kill"))),
            Arg::Value(value) if values.len() < 2 => values.push(value.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let mut values = values.into_iter();
    options.id = values.next().ok_or(Error::NoId("kill"))?;
    options.signal = values.next();
    Ok(Command::Kill(options))
}

fn delete(parser: &mut Parser) -> Result<Command, Error> {
    let (mut id, mut force) = (None, false);
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("force") | Arg::Short('f') => force = true,
            Arg::Long("help") | Arg::Short('h') => return Ok(Command::Help(usage::verb("delete"))),
            Arg::Value(value) if id.is_none() => id = Some(value.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Command::Delete { id: id.ok_or(Error::NoId("delete"))?, force })
}

fn list(parser: &mut Parser) -> Result<Command, Error> {
    let (mut format, mut quiet) = (ListFormat::Table, false);
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("quiet") | Arg::Short('q') => quiet = true,
            Arg::Long("format") | Arg::Short('f') => format = list_format(&parser.value()?.string()?)?,
            Arg::Long("help") | Arg::Short('h') => return Ok(Command::Help(usage::verb("list"))),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Command::List { format, quiet })
}

/// Everything after the id is for ps(1), whatever it looks like.
fn ps(parser: &mut Parser) -> Result<Command, Error> {
    let mut format = ListFormat::Table;
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("format") | Arg::Short('f') => format = list_format(&parser.value()?.string()?)?,
            Arg::Long("help") | Arg::Short('h') => return Ok(Command::Help(usage::verb("ps"))),
            Arg::Value(id) => {
                return Ok(Command::Ps { id: id.string()?, format, options: parser.raw_args()?.collect() });
            }
            other => return Err(other.unexpected().into()),
        }
    }
    Err(Error::NoId("ps"))
}

fn events(parser: &mut Parser) -> Result<Command, Error> {
    let (mut id, mut interval, mut stats) = (None, Duration::from_secs(5), false);
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("interval") => interval = duration(&parser.value()?.string()?)?,
            Arg::Long("stats") => stats = true,
            Arg::Long("help") | Arg::Short('h') => return Ok(Command::Help(usage::verb("events"))),
            Arg::Value(value) if id.is_none() => id = Some(value.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Command::Events(Events { id: id.ok_or(Error::NoId("events"))?, interval, stats }))
}

const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);
const LONGEST_INTERVAL: Duration = Duration::from_secs(1000 * 3600);

/// As runc takes them: numbers with units, one after the other (`1m30s`, `500ms`).
fn duration(value: &str) -> Result<Duration, Error> {
    let refuse = || Error::Value {
        flag: "--interval",
        value: value.to_owned(),
        hint: "give a time from 1ms to 1000h with its unit, such as 5s, 1m30s or 500ms",
    };
    let mut rest = value;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(refuse)?;
        let number = &rest[..digits];
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let milliseconds = match &rest[..end] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(refuse()),
        };
        rest = &rest[end..];
        // Thousandths of a unit: no timer of ours is finer.
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let part: u64 = format!("{part:0<3}").get(..3).and_then(|part| part.parse().ok()).ok_or_else(refuse)?;
        let whole: u64 = whole.parse().map_err(|_not_one| refuse())?;
        let thousandths = whole.checked_mul(1000).and_then(|whole| whole.checked_add(part)).ok_or_else(refuse)?;
        let part = Duration::from_micros(thousandths.checked_mul(milliseconds).ok_or_else(refuse)?);
        total = total.checked_add(part).ok_or_else(refuse)?;
    }
    Some(total).filter(|total| (SHORTEST_INTERVAL..=LONGEST_INTERVAL).contains(total)).ok_or_else(refuse)
}

fn spec(parser: &mut Parser) -> Result<Command, Error> {
    let (mut bundle, mut rootless) = (PathBuf::from("."), false);
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("bundle") | Arg::Short('b') => bundle = parser.value()?.into(),
            Arg::Long("rootless") => rootless = true,
            Arg::Long("help") | Arg::Short('h') => return Ok(Command::Help(usage::verb("spec"))),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Command::Spec { bundle, rootless })
}

/// Callers pass an empty path where they have none.
fn non_empty(value: OsString) -> Option<PathBuf> {
    Some(value).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn log_format(value: &str) -> Result<Format, Error> {
    match value {
        "text" | "" => Ok(Format::Text),
        "json" => Ok(Format::Json),
        other => Err(Error::Value { flag: "--log-format", value: other.to_owned(), hint: "use `text` or `json`" }),
    }
}

fn list_format(value: &str) -> Result<ListFormat, Error> {
    match value {
        "table" | "" => Ok(ListFormat::Table),
        "json" => Ok(ListFormat::Json),
        other => Err(Error::Value { flag: "--format", value: other.to_owned(), hint: "use `table` or `json`" }),
    }
}

fn rootless(value: &str) -> Result<Option<bool>, Error> {
    match value {
        "auto" => Ok(None),
        "true" => Ok(Some(true)),
        "false" => Ok(Some(false)),
        other => {
            Err(Error::Value { flag: "--rootless", value: other.to_owned(), hint: "use `true`, `false` or `auto`" })
        }
    }
}

fn cgroup_manager(value: &str) -> Result<Driver, Error> {
    match value {
        "cgroupfs" => Ok(Driver::Cgroupfs),
        "systemd" => Ok(Driver::Systemd),
        "disabled" => Ok(Driver::Disabled),
        other => Err(Error::Value {
            flag: "--cgroup-manager",
            value: other.to_owned(),
            hint: "use `cgroupfs`, `systemd` or `disabled`",
        }),
    }
}

fn descriptors(value: &str) -> Result<u32, Error> {
    let hint = "give the number of descriptors after standard error to pass on, at most 1048576";
    let refuse = || Error::Value { flag: "--preserve-fds", value: value.to_owned(), hint };
    value.parse().ok().filter(|count| *count <= MOST_DESCRIPTORS).ok_or_else(refuse)
}

#[cfg(test)]
mod tests;
