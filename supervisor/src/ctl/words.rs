//! Numbers and foreign text as people read them. Pure.

use std::borrow::Cow;

/// Text of a container or a server, of which a terminal sees nothing but letters: whatever could move the cursor, change
/// colours or turn the direction of writing is shown as its escape.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let escape = |letter: char| if acts(letter) { letter.escape_default().to_string() } else { letter.to_string() };
    Cow::Owned(text.chars().map(escape).collect())
}

/// JSON in which no letter acts on a terminal; it means what it meant. Only ends of lines stay, which are between values.
pub(super) fn plain_json(json: &str) -> Cow<'_, str> {
    let acts = |letter: char| letter != '\n' && acts(letter);
    if !json.contains(acts) {
        return Cow::Borrowed(json);
    }
    // All that acts has four hexadecimal digits.
    let escape = |letter: char| if acts(letter) { format!("\\u{:04x}", u32::from(letter)) } else { letter.to_string() };
    Cow::Owned(json.chars().map(escape).collect())
}

/// Controls, ends of lines, and marks that turn the direction of writing.
fn acts(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A length of time in its two largest units, cut off.
pub(super) fn span(seconds: u64) -> String {
    let units = [("d", seconds / 86_400), ("h", seconds / 3600 % 24), ("m", seconds / 60 % 60), ("s", seconds % 60)];
    let first = units.iter().position(|(_, count)| *count > 0).unwrap_or(units.len() - 1);
    let told = units[first..].iter().take(2).enumerate();
    let told = told.filter(|(place, (_, count))| *place == 0 || *count > 0);
    told.map(|(_, (unit, count))| format!("{count}{unit}")).collect::<Vec<_>>().join(" ")
}

/// A short length of time with its tenths; a long one as [`span`].
pub(super) fn short_span(seconds: f64) -> String {
    if seconds < 10.0 { format!("{:.1}s", seconds.max(0.0)) } else { span(seconds as u64) }
}

/// A size in the words of a release: `512B`, `1.5K`, `64M`. One that is not whole has one digit after the point below ten.
pub(super) fn size(bytes: u64) -> String {
    let units = [("T", 1_u64 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)];
    let Some((unit, one)) = units.into_iter().find(|(_, one)| bytes >= *one) else { return format!("{bytes}B") };
    let (whole, tenth) = (bytes / one, bytes % one * 10 / one);
    if whole < 10 && tenth > 0 { format!("{whole}.{tenth}{unit}") } else { format!("{whole}{unit}") }
}

/// `1 instance`, `2 instances`.
pub(super) fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_only_has_letters() {
        for (text, shown) in [
            ("é is a letter", "é is a letter"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("\u{9b}31m\u{7f}", "\\u{9b}31m\\u{7f}"),
            ("a\r\nb\tc", "a\\r\\nb\\tc"),
            ("\u{202e}txt", "\\u{202e}txt"),
        ] {
            assert_eq!(plain(text), shown);
        }
    }

    #[test]
    fn json_means_the_same_afterwards() {
        let value = serde_json::json!({"text": "\u{1b}]0;x\u{7} \u{9b}2J \u{7f} \u{202e} é \n"});
        let text = serde_json::to_string_pretty(&value).unwrap();
        let shown = plain_json(&text);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
        assert!(!shown.chars().any(|letter| letter != '\n' && acts(letter)), "{shown}");
        assert_eq!(shown.lines().count(), 3);
    }

    #[test]
    fn spans() {
        for (seconds, shown) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (61, "1m 1s"),
            (3600, "1h"),
            (3661, "1h 1m"),
            (86_399, "23h 59m"),
            (90_000, "1d 1h"),
            (86_460, "1d"),
            (u64::MAX, "213503982334601d 7h"),
        ] {
            assert_eq!(span(seconds), shown);
        }
        for (seconds, shown) in [(0.04, "0.0s"), (-3.0, "0.0s"), (1.25, "1.2s"), (10.9, "10s"), (75.0, "1m 15s")] {
            assert_eq!(short_span(seconds), shown);
        }
    }

    #[test]
    fn sizes() {
        for (bytes, shown) in [
            (0, "0B"),
            (1023, "1023B"),
            (1536, "1.5K"),
            (64 << 20, "64M"),
            ((64 << 20) + 900_000, "64M"),
            (9 << 20, "9M"),
            ((2 << 30) + (1 << 29), "2.5G"),
            (u64::MAX, "16777215T"),
        ] {
            assert_eq!(size(bytes), shown);
        }
    }
}
