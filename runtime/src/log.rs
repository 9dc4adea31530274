//! Log lines in the shape that containerd, CRI-O and podman read: `{"level","msg","time"}` or runc's text form.
//! There is no subscriber: nothing is set up when nothing is logged, and a line is one `write(2)`.

use std::fs::File;
use std::io::Write;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// How a line is laid out (`--log-format`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `time="…" level=error msg="…"`.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How grave a line is; the names are logrus's, which the callers of runtimes match on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Shown with `--debug` only.
    Debug,
    /// Something the specification asks us to say and go on.
    Warning,
    /// The command failed.
    Error,
}

impl Level {
    const fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

struct Sink {
    file: Option<File>,
    format: Format,
    debug: bool,
}

static SINK: OnceLock<Sink> = OnceLock::new();

/// Says where lines go: to `file`, or to standard error without one. Later calls change nothing.
pub fn configure(file: Option<File>, format: Format, debug: bool) {
    let _already_configured = SINK.set(Sink { file, format, debug });
}

/// Whether lines go to a file (`--log`); then errors are shown on standard error as well, as runc does.
#[must_use]
pub fn has_file() -> bool {
    SINK.get().is_some_and(|sink| sink.file.is_some())
}

/// A debug line; its text is built only when somebody reads it.
pub fn debug(message: impl FnOnce() -> String) {
    if SINK.get().is_some_and(|sink| sink.debug) {
        emit(Level::Debug, &message());
    }
}

/// A warning line.
pub fn warn(message: &str) {
    emit(Level::Warning, message);
}

/// An error line.
pub fn error(message: &str) {
    emit(Level::Error, message);
}

fn emit(level: Level, message: &str) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
    let format = SINK.get().map_or(Format::Text, |sink| sink.format);
    let line = render(format, level, message, &rfc3339(now));
    // A log line that cannot be written has nowhere to be reported to.
    let _unreportable = match SINK.get().and_then(|sink| sink.file.as_ref()) {
        Some(mut file) => file.write_all(line.as_bytes()),
        None => std::io::stderr().write_all(line.as_bytes()),
    };
}

fn render(format: Format, level: Level, message: &str, time: &str) -> String {
    let quoted = serde_json::Value::from(message).to_string();
    match format {
        Format::Json => format!("{{\"level\":\"{}\",\"msg\":{quoted},\"time\":\"{time}\"}}\n", level.name()),
        Format::Text => format!("time=\"{time}\" level={} msg={quoted}\n", level.name()),
    }
}

/// Seconds since 1970 as RFC 3339 in UTC, by the civil-from-days method (proleptic Gregorian calendar).
#[must_use]
pub fn rfc3339(seconds: u64) -> String {
    let days = i64::try_from(seconds / 86_400).unwrap_or(0);
    let rest = seconds % 86_400;
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3_600, rest % 3_600 / 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_the_shape_that_callers_parse() {
        assert_eq!(
            render(Format::Json, Level::Error, "a \"b\"\nc", "T"),
            "{\"level\":\"error\",\"msg\":\"a \\\"b\\\"\\nc\",\"time\":\"T\"}\n"
        );
        assert_eq!(render(Format::Text, Level::Warning, "x", "T"), "time=\"T\" level=warning msg=\"x\"\n");
    }

    #[test]
    fn time_is_rfc3339() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(4_102_444_799), "2099-12-31T23:59:59Z");
    }
}
