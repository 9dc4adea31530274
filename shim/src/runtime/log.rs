//! The runtime's log: JSON lines, of which the last error is what went wrong.

use serde::Deserialize;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    level: String,
    #[serde(default)]
    msg: String,
}

/// How long the log is before a call, so that older lines are not taken for its own.
pub(super) fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// What the call said last: in its log from `start` on, or on its standard error.
pub(super) fn complaint(path: &Path, start: u64, stderr: &str) -> Option<String> {
    let mut text = String::new();
    if let Ok(mut file) = File::open(path) {
        let read = file.seek(SeekFrom::Start(start)).and_then(|_| file.take(1 << 20).read_to_string(&mut text));
        // A log that cannot be read leaves what was said on standard error.
        let _stderr_is_left = read;
    }
    last_error(&text).or_else(|| {
        let line = stderr.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
        Some(line.to_owned())
    })
}

fn last_error(text: &str) -> Option<String> {
    let lines = text.lines().rev().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    let mut errors = lines.filter(|line| matches!(line.level.as_str(), "error" | "fatal" | "panic"));
    errors.next().map(|line| line.msg).filter(|message| !message.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_counts() {
        let text = "{\"level\":\"error\",\"msg\":\"first\"}\nnot JSON\n{\"level\":\"error\",\"msg\":\"second\"}\n\
                    {\"level\":\"warning\",\"msg\":\"third\"}\n";
        assert_eq!(last_error(text).as_deref(), Some("second"));
        assert_eq!(last_error("{\"level\":\"info\",\"msg\":\"a\"}"), None);
        assert_eq!(last_error(""), None);
    }

    #[test]
    fn older_lines_are_not_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.json");
        std::fs::write(&path, "{\"level\":\"error\",\"msg\":\"old\"}\n").unwrap();
        assert_eq!(complaint(&path, 0, "").as_deref(), Some("old"));
        assert_eq!(complaint(&path, length(&path), "new\n\n").as_deref(), Some("new"));
        assert_eq!(complaint(&path, length(&path), " "), None);
        assert_eq!(complaint(Path::new("/does/not/exist"), 0, "said"), Some("said".to_owned()));
    }
}
