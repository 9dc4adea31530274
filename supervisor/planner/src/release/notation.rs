//! The ways in which Compose lets people write the same thing: a list or a text, a map or a list. Each module is a pair of
//! functions for serde; what is written back is always the one long form.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;

/// A scalar as people write values of variables: `PORT: 80` means the text `80`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Whole(i64),
    Fraction(f64),
    Truth(bool),
}

impl Scalar {
    fn text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Whole(number) => number.to_string(),
            Self::Fraction(number) => number.to_string(),
            Self::Truth(truth) => truth.to_string(),
        }
    }
}

/// `command`: a list, or a text that is split into words.
pub(super) mod command {
    use super::{Deserialize, Deserializer, Serialize, Serializer, words};
    use serde::de::Error as _;

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        List(Vec<String>),
        Text(String),
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<String>>, D::Error> {
        let words = match Written::deserialize(from)? {
            Written::List(list) => list,
            Written::Text(text) => words(&text).map_err(D::Error::custom)?,
        };
        if words.is_empty() {
            return Err(D::Error::custom("`command` is empty; leave it out to run what the bundle has"));
        }
        Ok(Some(words))
    }

    pub(in super::super) fn serialize<S: Serializer>(value: &Option<Vec<String>>, to: S) -> Result<S::Ok, S::Error> {
        value.serialize(to)
    }
}

/// `healthcheck.test`: a list that begins with `CMD` or `CMD-SHELL`, or a text, which is the latter.
pub(super) mod test {
    use super::{Deserialize, Deserializer, Serialize, Serializer};
    use serde::de::Error as _;

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        List(Vec<String>),
        Text(String),
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
        let list = match Written::deserialize(from)? {
            Written::List(list) => list,
            Written::Text(text) => vec!["CMD-SHELL".into(), text],
        };
        match (list.first().map(String::as_str), list.len()) {
            (Some("CMD"), 2..) | (Some("CMD-SHELL"), 2) => Ok(list),
            _ => Err(D::Error::custom(
                "`test` is not understood; write [\"CMD\", program, argument…] or [\"CMD-SHELL\", text]",
            )),
        }
    }

    pub(in super::super) fn serialize<S: Serializer>(value: &[String], to: S) -> Result<S::Ok, S::Error> {
        value.serialize(to)
    }
}

/// `environment`: a map, or a list of `NAME=value`.
pub(super) mod environment {
    use super::{BTreeMap, Deserialize, Deserializer, Scalar, Serialize, Serializer};
    use serde::de::Error as _;

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Map(BTreeMap<String, Scalar>),
        List(Vec<String>),
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<String, String>, D::Error> {
        let pairs: Vec<(String, String)> = match Written::deserialize(from)? {
            Written::Map(map) => map.into_iter().map(|(name, value)| (name, value.text())).collect(),
            Written::List(list) => list
                .into_iter()
                .map(|line| match line.split_once('=') {
                    Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
                    None => Err(D::Error::custom(format!(
                        "environment `{line}` has no value; a device's own environment is not passed on: write `{line}=…`"
                    ))),
                })
                .collect::<Result<_, _>>()?,
        };
        for (name, value) in &pairs {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                return Err(D::Error::custom(format!("environment `{name}` is not a variable's name and value")));
            }
        }
        Ok(pairs.into_iter().collect())
    }

    pub(in super::super) fn serialize<S: Serializer>(
        value: &BTreeMap<String, String>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        value.serialize(to)
    }
}

/// `user`: `uid` or `uid:gid`, as numbers.
pub(super) mod user {
    use super::super::User;
    use super::{Deserialize, Deserializer, Scalar, Serializer};
    use serde::de::Error as _;

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<User>, D::Error> {
        let text = Scalar::deserialize(from)?.text();
        let number = |text: &str| text.parse::<u32>().ok().filter(|id| *id != u32::MAX && !text.starts_with('+'));
        let (uid, gid) = text.split_once(':').unwrap_or((&text, "0"));
        match (number(uid), number(gid)) {
            (Some(uid), Some(gid)) => Ok(Some(User { uid, gid })),
            _ => Err(D::Error::custom(format!("user `{text}` is not understood; write numbers: `uid` or `uid:gid`"))),
        }
    }

    pub(in super::super) fn serialize<S: Serializer>(value: &Option<User>, to: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(user) => to.serialize_str(&format!("{}:{}", user.uid, user.gid)),
            None => to.serialize_none(),
        }
    }
}

/// `depends_on`: a list of names, or a map to conditions.
pub(super) mod depends_on {
    use super::super::Condition;
    use super::{BTreeMap, Deserialize, Deserializer, Serialize, Serializer};
    use crate::name::ServiceName;

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        List(Vec<ServiceName>),
        Map(BTreeMap<ServiceName, Entry>),
    }

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Entry {
        condition: Condition,
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<ServiceName, Condition>, D::Error> {
        Ok(match Written::deserialize(from)? {
            Written::List(list) => list.into_iter().map(|name| (name, Condition::ServiceStarted)).collect(),
            Written::Map(map) => map.into_iter().map(|(name, entry)| (name, entry.condition)).collect(),
        })
    }

    pub(in super::super) fn serialize<S: Serializer>(
        value: &BTreeMap<ServiceName, Condition>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_map(value.iter().map(|(name, condition)| (name, Entry { condition: *condition })))
    }
}

/// `restart`: `no`, `always`, `unless-stopped`, `on-failure` or `on-failure:N`.
pub(super) mod restart {
    use super::super::RestartPolicy;
    use super::{Deserialize, Deserializer, Scalar, Serializer};
    use serde::de::Error as _;

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<RestartPolicy>, D::Error> {
        let text = match Scalar::deserialize(from)? {
            // YAML 1.1 reads a bare `no` as false.
            Scalar::Truth(false) => "no".to_owned(),
            other => other.text(),
        };
        Ok(Some(match text.as_str() {
            "no" => RestartPolicy::No,
            "always" => RestartPolicy::Always,
            "unless-stopped" => RestartPolicy::UnlessStopped,
            "on-failure" => RestartPolicy::OnFailure(None),
            other => match other.strip_prefix("on-failure:").and_then(|number| number.parse().ok()) {
                Some(number) => RestartPolicy::OnFailure(Some(number)),
                None => {
                    return Err(D::Error::custom(format!(
                        "restart `{text}` is not understood; write `no`, `always`, `on-failure`, `on-failure:3` or `unless-stopped`"
                    )));
                }
            },
        }))
    }

    pub(in super::super) fn serialize<S: Serializer>(value: &Option<RestartPolicy>, to: S) -> Result<S::Ok, S::Error> {
        match value {
            None => to.serialize_none(),
            Some(RestartPolicy::No) => to.serialize_str("no"),
            Some(RestartPolicy::Always) => to.serialize_str("always"),
            Some(RestartPolicy::UnlessStopped) => to.serialize_str("unless-stopped"),
            Some(RestartPolicy::OnFailure(None)) => to.serialize_str("on-failure"),
            Some(RestartPolicy::OnFailure(Some(number))) => to.serialize_str(&format!("on-failure:{number}")),
        }
    }
}

/// `cpus`: a decimal number, as a text or bare, to a thousandth.
pub(super) mod cpus {
    use super::super::MilliCpus;
    use super::{Deserialize, Deserializer, Scalar, Serializer};
    use serde::de::Error as _;

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<MilliCpus>, D::Error> {
        let text = Scalar::deserialize(from)?.text();
        parse(&text).map(Some).ok_or_else(|| {
            D::Error::custom(format!("cpus `{text}` is not understood; write a number above 0 such as `0.5`"))
        })
    }

    fn parse(text: &str) -> Option<MilliCpus> {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.len() > 6 || part.len() > 3 || !digits(whole) || !digits(part) || (whole.is_empty() && part.is_empty())
        {
            return None;
        }
        let whole: u32 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let part: u32 = format!("{part:0<3}").parse().ok()?;
        Some(MilliCpus(whole * 1000 + part)).filter(|cpus| cpus.0 > 0)
    }

    pub(in super::super) fn serialize<S: Serializer>(value: &Option<MilliCpus>, to: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(cpus) => to.serialize_str(&format!("{}.{:03}", cpus.0 / 1000, cpus.0 % 1000)),
            None => to.serialize_none(),
        }
    }
}

/// Words as a shell splits them: blanks separate, both quotes and the backslash protect. Nothing is expanded.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            blank if blank.is_whitespace() => words.extend(word.take()),
            '\\' => word.get_or_insert_default().push(characters.next().ok_or("ends with a backslash")?),
            quote @ ('"' | '\'') => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next() {
                        None => return Err(format!("`{text}` has a quote that is not closed")),
                        Some(end) if end == quote => break,
                        Some('\\') if quote == '"' => word.push(characters.next().ok_or("ends with a backslash")?),
                        Some(other) => word.push(other),
                    }
                }
            }
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Ok(words)
}
