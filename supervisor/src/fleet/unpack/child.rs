//! `skiffd unpack`: the process that reads archives, and has nothing but one archive and one empty folder. It keeps root's
//! number, and of root's rights the three that owners and permissions need.

use super::entry::{self, Limits, Refusal};
use super::place::{self, Place};
use super::{Said, Words};
use crate::fleet::children;
use crate::fleet::confine::{self, Filter, Keep};
use anyhow::Context as _;
use rustix::thread::CapabilitySet;
use std::io::{self, BufReader, Write as _};
use std::process::ExitCode;

/// Bytes of address space: nothing of an archive is held but one name and one piece.
const MEMORY: u64 = 256 << 20;

/// Runs the child. The archive is its standard input, the folder the one it stands in.
pub fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("skiffd unpack: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let words: Words = children::words().context("this command is skiffd's own")?;
    let root = place::here().context("cannot open the folder")?;
    let keep = Keep {
        read: &[],
        read_folder: None,
        write_folder: Some(&root),
        user: None,
        capabilities: CapabilitySet::CHOWN | CapabilitySet::FOWNER | CapabilitySet::FSETID,
        memory: MEMORY,
        file: words.bytes,
        filter: Filter::Files,
    };
    let not_enforced = confine::confine(&keep)?;
    let limits = Limits { entries: words.entries, bytes: words.bytes, archive: words.archive };
    let mut place = Place::new(root, rustix::process::geteuid().is_root());
    let archive = BufReader::with_capacity(64 << 10, io::stdin().lock());
    let made = entry::each(archive, limits, |entry, bytes| place.make(entry, bytes));
    let said = match made.and_then(|()| place.finish()) {
        Ok(()) => Said::Done { not_enforced },
        Err(Refusal::Make { name, source }) => Said::Failed(format!("cannot make `{name}`: {source}")),
        Err(refusal) => Said::Refused(refusal.to_string()),
    };
    let line = serde_json::to_string(&said).context("the outcome cannot be put into words")?;
    writeln!(io::stdout(), "{line}").context("skiffd is gone")
}
