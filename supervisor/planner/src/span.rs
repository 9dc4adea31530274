//! A length of time as people write it in Compose files: `1h30m`, `10s`, `500ms`.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A length of time in whole milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(u64);

/// A text that is not a length of time.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a length of time; write it as `500ms`, `10s`, `1m30s` or `12h`")]
pub struct InvalidSpan(String);

/// Units, the longest first, in milliseconds.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

impl Span {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// So many milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// So many seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// In milliseconds.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// As the standard library has it.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl FromStr for Span {
    type Err = InvalidSpan;

    fn from_str(text: &str) -> Result<Self, InvalidSpan> {
        parse(text).map(Self).ok_or_else(|| InvalidSpan(text.to_owned()))
    }
}

/// Numbers with units, each unit at most once and the longer first.
fn parse(text: &str) -> Option<u64> {
    let (mut rest, mut total, mut units) = (text, 0_u64, &UNITS[..]);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let word = &rest[..rest.find(|character: char| character.is_ascii_digit()).unwrap_or(rest.len())];
        let at = units.iter().position(|(unit, _)| *unit == word)?;
        total = total.checked_add(number.checked_mul(units[at].1)?)?;
        units = &units[at + 1..];
        rest = &rest[word.len()..];
    }
    Some(total)
}

impl TryFrom<String> for Span {
    type Error = InvalidSpan;

    fn try_from(text: String) -> Result<Self, InvalidSpan> {
        text.parse()
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.to_string()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return formatter.pad("0s");
        }
        let (mut rest, mut text) = (self.0, String::new());
        for (unit, millis) in UNITS {
            if rest >= millis {
                text += &format!("{}{unit}", rest / millis);
                rest %= millis;
            }
        }
        formatter.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        let cases = [("0s", 0), ("500ms", 500), ("10s", 10_000), ("1m30s", 90_000), ("1d1h", 90_000_000)];
        for (text, millis) in cases {
            assert_eq!(text.parse(), Ok(Span(millis)));
            assert_eq!(Span(millis).to_string(), text);
        }
        for text in
            ["", "10", "s", "-1s", "1.5s", "1s1m", "1s1s", "1 s", "1y", "99999999999999999999s", "9999999999999999d"]
        {
            assert_eq!(text.parse::<Span>(), Err(InvalidSpan(text.to_owned())));
        }
    }
}
