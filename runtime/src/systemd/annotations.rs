//! Annotations `org.systemd.property.NAME` become properties of the container's unit, their text read as GVariant's
//! (runc, docs/systemd.md).

use super::{Error, Property};
use crate::dbus::{Value, parse};
use std::collections::BTreeMap;

const PREFIX: &str = "org.systemd.property.";
/// What the runtime stakes the container's place and its removal on.
const OURS: [&str; 5] = ["PIDs", "Slice", "Delegate", "DelegateControllers", "CollectMode"];

/// The properties, by name. A name that ends in `Sec` is of seconds: it is set as systemd's `USec`.
///
/// # Errors
/// [`Error::Annotation`].
pub fn properties<'a>(annotations: impl IntoIterator<Item = (&'a String, &'a String)>) -> Result<Vec<Property>, Error> {
    let ours = annotations.into_iter().filter_map(|(key, text)| Some((key.strip_prefix(PREFIX)?, text)));
    ours.collect::<BTreeMap<_, _>>().into_iter().map(|(name, text)| property(name, text)).collect()
}

fn property(name: &str, text: &str) -> Result<Property, Error> {
    let refuse = |reason: String| Error::Annotation { annotation: format!("{PREFIX}{name}"), reason };
    if name.len() < 3 || !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(refuse("this is not the name of a property, such as `TimeoutStopUSec`".into()));
    }
    if OURS.contains(&name) {
        return Err(refuse("this property is the runtime's own; remove the annotation".into()));
    }
    let value = || parse(text).map_err(|source| refuse(format!("`{text}` is not a GVariant in text form: {source}")));
    match name.strip_suffix("Sec") {
        Some(stem) if stem.ends_with(|letter: char| letter.is_ascii_lowercase()) => {
            let micros = match fraction(text.trim()) {
                Some(micros) => Some(micros),
                None => micros(&value()?),
            };
            let micros = micros.ok_or_else(|| refuse(format!("`{text}` is not a number of seconds")))?;
            Ok((format!("{stem}USec"), Value::Uint64(micros)))
        }
        _ => Ok((name.to_owned(), value()?)),
    }
}

/// `2.5` seconds in microseconds; what is less than one of those is cut off.
fn fraction(text: &str) -> Option<u64> {
    let text = text.strip_prefix("double ").unwrap_or(text).trim_start();
    let (whole, part) = text.split_once('.')?;
    if ![whole, part].iter().all(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.is_empty()) {
        return None;
    }
    let micros: u64 = format!("{part:0<6}")[..6].parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(micros)
}

fn micros(seconds: &Value) -> Option<u64> {
    let whole = |number: u64| number.checked_mul(1_000_000);
    match seconds {
        Value::Byte(number) => whole(u64::from(*number)),
        Value::Uint16(number) => whole(u64::from(*number)),
        Value::Uint32(number) => whole(u64::from(*number)),
        Value::Uint64(number) => whole(*number),
        Value::Int16(number) => whole(u64::try_from(*number).ok()?),
        Value::Int32(number) => whole(u64::try_from(*number).ok()?),
        Value::Int64(number) => whole(u64::try_from(*number).ok()?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<Vec<Property>, String> {
        properties([(&format!("{PREFIX}{name}"), &text.to_owned())]).map_err(|error| error.to_string())
    }

    #[test]
    fn properties_are_read() {
        let one = |name: &str, value| Ok(vec![(name.to_owned(), value)]);
        assert_eq!(read("TimeoutStopUSec", "uint64 5000000"), one("TimeoutStopUSec", Value::Uint64(5_000_000)));
        assert_eq!(read("TimeoutStopSec", "5"), one("TimeoutStopUSec", Value::Uint64(5_000_000)));
        assert_eq!(read("RuntimeMaxSec", "2.5"), one("RuntimeMaxUSec", Value::Uint64(2_500_000)));
        assert_eq!(read("RuntimeMaxSec", "double 0.0000019"), one("RuntimeMaxUSec", Value::Uint64(1)));
        assert_eq!(read("SendSIGHUP", "true"), one("SendSIGHUP", Value::Bool(true)));
        let array = Value::Array("s".into(), vec![Value::string("a.service")]);
        assert_eq!(read("After", "['a.service']"), one("After", array));
        let others = [("org.systemd.other".to_owned(), String::new()), ("x".to_owned(), String::new())];
        assert_eq!(properties(others.iter().map(|(key, text)| (key, text))).unwrap(), vec![]);
    }

    #[test]
    fn a_bad_one_is_named_with_its_reason() {
        let error = read("CPUWeight", "uint64").unwrap_err();
        assert!(
            error.starts_with("annotation `org.systemd.property.CPUWeight`: `uint64` is not a GVariant"),
            "{error}"
        );
        assert!(read("a b", "1").unwrap_err().contains("not the name of a property"));
        assert!(read("Slice", "'a.slice'").unwrap_err().contains("the runtime's own"));
        for text in ["'soon'", "-1", "true", "@t 18446744073709551615"] {
            assert!(read("TimeoutStopSec", text).unwrap_err().contains("not a number of seconds"), "{text}");
        }
        for text in ["-0.5", "1.", ".5", "1.5.2", "99999999999999999999.5"] {
            assert!(read("TimeoutStopSec", text).is_err(), "{text}");
        }
    }
}
