//! Which member of a JSON document a line and a column are in, so that a parser's complaint can name the property.

use std::fmt::Write;

/// One level of nesting.
enum Level {
    Object(String),
    Array(usize),
}

/// The path of the member at `line` and `column` (both from 1, as `serde_json` counts), such as
/// `linux.devices[0].type`; empty at the top, and best effort where the text is not JSON at all.
pub(super) fn member_at(text: &[u8], line: usize, column: usize) -> String {
    let starts_of_lines = text.split_inclusive(|byte| *byte == b'\n').scan(0, |start, line| {
        let this = *start;
        *start += line.len();
        Some(this)
    });
    let start = starts_of_lines.into_iter().nth(line.saturating_sub(1)).unwrap_or(text.len());
    let end = start.saturating_add(column).min(text.len());
    let mut levels: Vec<Level> = Vec::new();
    // Inside an object, before the colon: the next string is a key.
    let mut expects_key = false;
    let mut at = 0;
    while at < end {
        match text[at] {
            b'"' => {
                let close = string_end(text, at + 1);
                if let (true, Some(Level::Object(key))) = (expects_key, levels.last_mut()) {
                    *key = String::from_utf8_lossy(&text[at + 1..close]).into_owned();
                }
                at = close;
            }
            b'{' => {
                levels.push(Level::Object(String::new()));
                expects_key = true;
            }
            b'[' => {
                levels.push(Level::Array(0));
                expects_key = false;
            }
            // The bracket that ends what is complained about is the last byte: its member is the one that it closes.
            b'}' | b']' if at + 1 < end => {
                levels.pop();
                expects_key = false;
            }
            b':' => expects_key = false,
            b',' if at + 1 < end => match levels.last_mut() {
                Some(Level::Array(index)) => *index += 1,
                Some(Level::Object(_)) => expects_key = true,
                None => {}
            },
            _ => {}
        }
        at += 1;
    }
    render(&levels)
}

/// Where the string that begins at `at` has its closing quote.
fn string_end(text: &[u8], mut at: usize) -> usize {
    while at < text.len() && text[at] != b'"' {
        at += if text[at] == b'\\' { 2 } else { 1 };
    }
    at.min(text.len())
}

fn render(levels: &[Level]) -> String {
    let mut path = String::new();
    for level in levels {
        let _writing_to_a_string_cannot_fail = match level {
            Level::Object(key) if key.is_empty() => Ok(()),
            Level::Object(key) if path.is_empty() => write!(path, "{key}"),
            Level::Object(key) => write!(path, ".{key}"),
            Level::Array(index) => write!(path, "[{index}]"),
        };
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::Spec;

    fn check(text: &str, path: &str) {
        let error = serde_json::from_str::<Spec>(text).unwrap_err();
        assert_eq!(member_at(text.as_bytes(), error.line(), error.column()), path, "{error}");
    }

    #[test]
    fn the_member_is_named() {
        check("{\"ociVersion\":\"1.0.2\",\n \"root\":{\"path\":7}}", "root.path");
        check(
            "{\"ociVersion\":\"1.0.2\",\n \"linux\":{\"namespaces\":[{\"type\":\"moon\"}]}}",
            "linux.namespaces[0].type",
        );
        check(
            "{\"ociVersion\":\"1.0.2\",\"linux\":{\"devices\":[{\"path\":\"/a,]}\\\"\",\"type\":\"c\",\"major\":1},\n{\"type\":\"x\"}]}}",
            "linux.devices[1].type",
        );
        check(
            "{\"ociVersion\":\"1.0.2\",\"mounts\":[{\"destination\":\"/\"},\n{\"source\":\"s\"}]}",
            "mounts[1].source",
        );
        check("{\"ociVersion\":\"1.0.2\",\"process\":{\"user\":{\"uid\":-1}}}", "process.user.uid");
        check("[", "[0]");
    }

    #[test]
    fn nonsense_does_no_harm() {
        for (line, column) in [(0, 0), (1, 1), (9, 9), (usize::MAX, usize::MAX)] {
            let _any_text_will_do = member_at(b"}]\"\\", line, column);
        }
        assert_eq!(member_at(b"", 1, 1), "");
    }
}
