//! What services, their instances and releases are called. Names become folders, container ids, unit names and metric
//! labels, so they are checked once, here, and carried as types from then on.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The longest service name in bytes: with a replica's number it stays below what a DNS label and a unit name allow.
pub const LONGEST: usize = 48;

/// A service's name: lower-case letters, digits, `-`, `_` and `.`, beginning with a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServiceName(String);

/// Why a text is not a name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidName {
    /// Not a service name.
    #[error(
        "`{0}` is not a service name; use 1 to {LONGEST} lower-case letters, digits, `-`, `_` and `.`, beginning with a letter or digit"
    )]
    Service(String),
    /// Not an instance id.
    #[error("`{0}` is not an instance; an instance is a service's name and a number, as in `web-0`")]
    Instance(String),
    /// Not a digest.
    #[error("`{0}` is not a digest; a digest is `sha256:` and 64 lower-case hexadecimal digits")]
    Digest(String),
}

impl TryFrom<String> for ServiceName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let allowed = |byte: u8| plain(byte) || b"-_.".contains(&byte);
        let begins = text.as_bytes().first().is_some_and(|byte| plain(*byte));
        if begins && text.len() <= LONGEST && text.bytes().all(allowed) {
            Ok(Self(text))
        } else {
            Err(InvalidName::Service(text))
        }
    }
}

impl FromStr for ServiceName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        text.to_owned().try_into()
    }
}

impl From<ServiceName> for String {
    fn from(name: ServiceName) -> Self {
        name.0
    }
}

impl ServiceName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

/// One replica of a service, `web-0`: the id of its container, so that a second of the same name cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InstanceId {
    /// Of which service.
    pub service: ServiceName,
    /// Which one, from 0.
    pub replica: u16,
}

impl FromStr for InstanceId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let invalid = || InvalidName::Instance(text.to_owned());
        let (service, replica) = text.rsplit_once('-').ok_or_else(invalid)?;
        let replica: u16 = replica.parse().map_err(|_| invalid())?;
        let id = Self { service: service.parse().map_err(|_| invalid())?, replica };
        // `web-00` and `web-+0` would be a second spelling of the same instance.
        if id.to_string() == text { Ok(id) } else { Err(invalid()) }
    }
}

impl TryFrom<String> for InstanceId {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<InstanceId> for String {
    fn from(id: InstanceId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&format!("{}-{}", self.service.0, self.replica))
    }
}

/// The digest of a file, `sha256:` and 64 lower-case hexadecimal digits: the name of whatever is immutable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl TryFrom<String> for Digest {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        match text.strip_prefix("sha256:") {
            Some(digits) if digits.len() == 64 && digits.bytes().all(hex) => Ok(Self(text)),
            _ => Err(InvalidName::Digest(text)),
        }
    }
}

impl FromStr for Digest {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        text.to_owned().try_into()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl Digest {
    /// `sha256:…`
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the file that holds it, beside the fleet document and on the device: `sha256-…`.
    #[must_use]
    pub fn file_name(&self) -> String {
        self.0.replacen(':', "-", 1)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

/// One release, by what people call it and by what it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseId {
    /// `metadata.version`
    pub version: String,
    /// The digest of the release document's bytes.
    pub digest: Digest,
}

impl fmt::Display for ReleaseId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services() {
        for text in ["web", "0", "a-b_c.d", &"x".repeat(LONGEST)] {
            assert_eq!(text.parse::<ServiceName>().map(String::from), Ok(text.to_owned()));
        }
        for text in ["", "-a", ".", "Web", "a/b", "a b", "é", &"x".repeat(LONGEST + 1)] {
            assert_eq!(text.parse::<ServiceName>(), Err(InvalidName::Service(text.to_owned())));
        }
    }

    #[test]
    fn instances_have_one_spelling() {
        for text in ["web-0", "a-b-12", "0-65535"] {
            assert_eq!(text.parse::<InstanceId>().map(String::from), Ok(text.to_owned()));
        }
        for text in ["web", "web-", "web-00", "web-+1", "web-65536", "-0", "Web-0"] {
            assert_eq!(text.parse::<InstanceId>(), Err(InvalidName::Instance(text.to_owned())));
        }
    }

    #[test]
    fn digests() {
        let good = format!("sha256:{}", "0a".repeat(32));
        assert_eq!(good.parse::<Digest>().map(|digest| digest.file_name()), Ok(good.replace(':', "-")));
        for text in ["", "sha256:", &good[1..], &good.to_uppercase(), &format!("{good}0")] {
            assert_eq!(text.parse::<Digest>(), Err(InvalidName::Digest(text.to_owned())));
        }
    }
}
