//! `skiff state`: one state document.

use super::args::Global;
use super::{print, state_root};
use crate::container::observe::{Seen, look};
use crate::state::{Error, Store};
use skiff_contract::document::StateDocument;
use skiff_contract::id::ContainerId;
use std::path::Path;
use std::process::ExitCode;

pub(super) fn state(global: &Global, id: &str) -> anyhow::Result<ExitCode> {
    let entry = open(global, id)?;
    let document = document(&look(&entry)?);
    print(&format!("{}\n", serde_json::to_string_pretty(&document)?))
}

/// The folder of a container that must exist.
pub(super) fn open(global: &Global, id: &str) -> anyhow::Result<crate::state::Entry> {
    let id: ContainerId = id.parse()?;
    match Store::open(&state_root(global)?)? {
        Some(store) => Ok(store.entry(&id)?),
        None => Err(Error::Absent(id.to_string()).into()),
    }
}

/// The document with the owner's name in place of the number, as runc prints it.
pub(super) fn document(seen: &Seen) -> StateDocument {
    let mut document = seen.record.document(seen.status);
    if let Some(name) =
        std::fs::read_to_string(Path::new("/etc/passwd")).ok().and_then(|text| user(&text, seen.record.owner))
    {
        document.owner = name;
    }
    document
}

fn user(passwd: &str, uid: u32) -> Option<String> {
    let mut users = passwd.lines().map(|line| line.split(':'));
    users.find_map(|mut fields| {
        let name = fields.next()?;
        (fields.nth(1)?.parse::<u32>().ok()? == uid).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_number() {
        let text = "root:x:0:0:root:/root:/bin/sh\nbroken\nweb:x:33:33::/:/bin/false\n";
        assert_eq!(user(text, 33).as_deref(), Some("web"));
        assert_eq!(user(text, 1), None);
    }
}
