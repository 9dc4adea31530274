//! The text of OpenMetrics 1.0: families of samples, each with its kind, unit and help. What would make a page invalid cannot
//! be said here: a family is written as a whole, one without samples is not written, and suffixes follow from the kind.

use std::fmt::Write as _;

/// What kind of figures a family has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It only grows, but for a fresh start: its samples end in `_total`.
    Counter,
    /// It goes up and down.
    Gauge,
    /// It is always 1, and says something with its labels: its samples end in `_info`.
    Info,
}

/// A family without its samples.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    /// Without the suffix of its kind.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// The end of the name, or nothing.
    pub(super) unit: &'static str,
    pub(super) help: &'static str,
}

impl Family {
    pub(super) const fn counter(name: &'static str, unit: &'static str, help: &'static str) -> Self {
        Self { name, kind: Kind::Counter, unit, help }
    }

    pub(super) const fn gauge(name: &'static str, unit: &'static str, help: &'static str) -> Self {
        Self { name, kind: Kind::Gauge, unit, help }
    }

    pub(super) const fn info(name: &'static str, help: &'static str) -> Self {
        Self { name, kind: Kind::Info, unit: "", help }
    }
}

/// A figure. Counts are exact, however large.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    Count(u64),
    Real(f64),
}

/// The labels of one sample, in the order in which they are written.
pub(super) type Labels = Vec<(&'static str, String)>;

/// A page that is being written.
#[derive(Debug, Default)]
pub(super) struct Page(String);

impl Page {
    /// Adds a family, if it has samples. No family is added twice.
    pub(super) fn family(&mut self, family: Family, samples: impl IntoIterator<Item = (Labels, Value)>) {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return;
        }
        let Family { name, kind, unit, help } = family;
        let (word, suffix) = match kind {
            Kind::Counter => ("counter", "_total"),
            Kind::Gauge => ("gauge", ""),
            Kind::Info => ("info", "_info"),
        };
        self.line(format_args!("# TYPE {name} {word}"));
        if !unit.is_empty() {
            self.line(format_args!("# UNIT {name} {unit}"));
        }
        self.line(format_args!("# HELP {name} {}", escape(help)));
        for (labels, value) in samples {
            let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            match value {
                Value::Count(value) => self.line(format_args!("{name}{suffix}{labels} {value}")),
                Value::Real(value) => self.line(format_args!("{name}{suffix}{labels} {}", real(value))),
            }
        }
    }

    /// The whole page.
    pub(super) fn end(mut self) -> String {
        self.line(format_args!("# EOF"));
        self.0
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to memory does not fail.
        let _written = writeln!(self.0, "{line}");
    }
}

/// The three characters that would end a label's value or a line.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// What is no number has names of its own.
fn real(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_written_as_a_whole() {
        let mut page = Page::default();
        page.family(
            Family::counter("a_seconds", "seconds", "Says \"a\"."),
            [
                (vec![("name", "x\"\\\ny".into()), ("other", String::new())], Value::Real(1.5)),
                (vec![], Value::Count(2)),
            ],
        );
        page.family(Family::gauge("nothing", "", "Has no samples."), []);
        page.family(Family::info("b", "Is one."), [(vec![("c", "d".into())], Value::Count(1))]);
        let expected = r##"# TYPE a_seconds counter
# UNIT a_seconds seconds
# HELP a_seconds Says \"a\".
a_seconds_total{name="x\"\\\ny",other=""} 1.5
a_seconds_total 2
# TYPE b info
# HELP b Is one.
b_info{c="d"} 1
# EOF
"##;
        assert_eq!(page.end(), expected);
    }

    #[test]
    fn numbers() {
        for (value, text) in
            [(0.0, "0"), (1.5, "1.5"), (f64::NAN, "NaN"), (f64::INFINITY, "+Inf"), (1e-9, "0.000000001")]
        {
            assert_eq!(real(value), text);
        }
        assert_eq!(real(f64::NEG_INFINITY), "-Inf");
    }
}
