//! `skiff list`: the containers of one state folder, as a table, as JSON, or as ids.

use super::args::{Global, ListFormat};
use super::state::document;
use super::{print, state_root};
use crate::container::observe::look;
use crate::log;
use crate::state::Store;
use skiff_contract::document::StateDocument;
use std::fmt::Write;
use std::process::ExitCode;

pub(super) fn list(global: &Global, format: ListFormat, quiet: bool) -> anyhow::Result<ExitCode> {
    let mut documents = Vec::new();
    if let Some(store) = Store::open(&state_root(global)?)? {
        for id in store.ids()? {
            // One container that cannot be read must not hide the others.
            match store.entry(&id).and_then(|entry| look(&entry)) {
                Ok(seen) => documents.push(document(&seen)),
                Err(error) => log::warn(&format!("{:#}", anyhow::Error::from(error))),
            }
        }
    }
    let text = match (quiet, format) {
        (true, _) => documents.iter().fold(String::new(), |text, document| text + &document.id + "\n"),
        (false, ListFormat::Json) => serde_json::to_string(&documents)? + "\n",
        (false, ListFormat::Table) => table(&documents),
    };
    print(&text)
}

/// Columns as wide as their widest cell, two spaces apart, in runc's order.
fn table(documents: &[StateDocument]) -> String {
    let head = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(String::from);
    let row = |document: &StateDocument| {
        [
            document.id.clone(),
            document.pid.to_string(),
            document.status.to_string(),
            document.bundle.display().to_string(),
            document.created.clone(),
            document.owner.clone(),
        ]
    };
    let rows: Vec<[String; 6]> = std::iter::once(head).chain(documents.iter().map(row)).collect();
    let widths: Vec<usize> = (0..5).map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &rows {
        for (cell, width) in row.iter().zip(&widths) {
            let _writing_to_a_string_cannot_fail = write!(text, "{cell:<width$}  ");
        }
        text.push_str(&row[5]);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_contract::status::Status;

    #[test]
    fn columns_line_up() {
        let document = StateDocument {
            oci_version: String::new(),
            id: "a-long-name".into(),
            pid: 12,
            status: Status::Running,
            bundle: "/b".into(),
            rootfs: "/r".into(),
            created: "T".into(),
            annotations: std::collections::BTreeMap::new(),
            owner: "root".into(),
        };
        assert_eq!(
            table(&[document]),
            "ID           PID  STATUS   BUNDLE  CREATED  OWNER\n\
             a-long-name  12   running  /b      T        root\n"
        );
    }
}
