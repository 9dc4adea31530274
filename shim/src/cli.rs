//! From words to an invocation, and on to the verb. The flags are those of Go's `flag` package, because containerd
//! wrote the command line: one dash or two, the value after `=` or as the next word.

mod delete;
mod info;
mod start;

use crate::serve;
use anyhow::{Context, bail};
use skiff_contract::id::ContainerId;
use std::ffi::OsString;
use std::path::PathBuf;

/// What a caller says about itself and the container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    /// `-namespace`: containerd's, not Linux's.
    pub(crate) containerd_namespace: String,
    /// `-address`: the caller's own socket; it tells two callers on one machine apart.
    pub(crate) address: String,
    /// `-id`
    pub(crate) id: String,
    /// `-bundle`, the working directory without it.
    pub(crate) bundle: Option<PathBuf>,
    /// `-socket`: of the shim itself; said by `start` to the process that stays.
    pub(crate) socket: Option<PathBuf>,
    /// `-debug`
    pub(crate) debug: bool,
}

/// The verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Start,
    Delete,
    /// What `start` leaves behind; the listening socket is its standard input.
    Serve,
    Version,
    Info,
}

/// Does what a command line asks for; the program's own name is not among the words.
///
/// # Errors
/// Whatever made it impossible, as a chain of causes.
pub fn run(words: impl Iterator<Item = OsString>) -> anyhow::Result<()> {
    let (flags, action) = parse(words)?;
    match action {
        Action::Start => start::start(&flags),
        Action::Delete => delete::delete(&flags),
        Action::Serve => serve::serve(&flags),
        Action::Info => info::info(),
        Action::Version => {
            println!("containerd-shim-skiff-v1:\n  Version:  {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    }
}

fn parse(words: impl Iterator<Item = OsString>) -> anyhow::Result<(Flags, Action)> {
    let mut words = words.map(|word| word.into_string().map_err(|word| anyhow::anyhow!("{word:?} is not UTF-8")));
    let mut flags = Flags::default();
    let mut verb = None;
    while let Some(word) = words.next().transpose()? {
        let Some(flag) = word.strip_prefix('-').map(|rest| rest.strip_prefix('-').unwrap_or(rest)) else {
            if let Some(first) = verb.replace(word) {
                bail!("one verb is expected, and `{first}` is not the only one");
            }
            continue;
        };
        let (name, attached) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        let mut value = || match attached.clone() {
            Some(value) => Ok(value),
            None => words.next().transpose()?.with_context(|| format!("`-{name}` needs a value")),
        };
        match name {
            "namespace" => flags.containerd_namespace = value()?,
            "address" => flags.address = value()?,
            "id" => flags.id = value()?,
            "bundle" => flags.bundle = Some(value()?.into()),
            "socket" => flags.socket = Some(value()?.into()),
            // Asked of the caller's program when events cannot go by ttrpc; ours always do.
            "publish-binary" => drop(value()?),
            "debug" => flags.debug = attached.as_deref().is_none_or(|word| word == "true"),
            "v" | "version" => return Ok((flags, Action::Version)),
            "info" => return Ok((flags, Action::Info)),
            _ => bail!("`-{name}` is not a flag of this shim"),
        }
    }
    let action = match verb.as_deref() {
        Some("start") => Action::Start,
        Some("delete") => Action::Delete,
        Some("serve") => Action::Serve,
        Some(other) => bail!("`{other}` is not a verb of this shim; there are `start` and `delete`"),
        None => bail!("a verb is needed: `start` or `delete`, as containerd calls it; or `-v`, or `-info`"),
    };
    check(&flags)?;
    Ok((flags, action))
}

/// Both become names of folders.
fn check(flags: &Flags) -> anyhow::Result<()> {
    flags.id.parse::<ContainerId>().context("`-id`")?;
    flags.containerd_namespace.parse::<ContainerId>().context("`-namespace`")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> anyhow::Result<(Flags, Action)> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn flags_are_read_as_go_reads_them() {
        let (flags, action) =
            parsed("-namespace default --address=/c.sock -publish-binary /bin/containerd -id web-0 -debug start")
                .unwrap();
        assert_eq!(action, Action::Start);
        assert_eq!((flags.containerd_namespace.as_str(), flags.address.as_str()), ("default", "/c.sock"));
        assert_eq!((flags.id.as_str(), flags.debug, flags.bundle), ("web-0", true, None));
        let (flags, action) = parsed("--namespace=n --id=a -bundle /b -debug=false delete").unwrap();
        assert_eq!((action, flags.bundle, flags.debug), (Action::Delete, Some("/b".into()), false));
        assert_eq!(parsed("-v").unwrap().1, Action::Version);
        assert_eq!(parsed("-info").unwrap().1, Action::Info);
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        for (line, word) in [
            ("", "verb"),
            ("-namespace n -id a", "verb"),
            ("-namespace n -id a stop", "`stop`"),
            ("-namespace n -id a start start", "`start`"),
            ("-namespace n -id a -colour red start", "`-colour`"),
            ("-namespace n start -id", "`-id`"),
            ("-namespace n -id ../a start", "`-id`"),
            ("-namespace ../n -id a start", "`-namespace`"),
            ("-id a start", "`-namespace`"),
        ] {
            let said = format!("{:#}", parsed(line).unwrap_err());
            assert!(said.contains(word), "{line}: {said}");
        }
    }
}
