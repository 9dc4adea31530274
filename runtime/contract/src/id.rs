//! Container ids. An id becomes the name of a folder and of a cgroup, so it is checked once, here, and carried as a
//! type from then on.

use std::fmt;
use std::str::FromStr;

/// The longest id in bytes: `NAME_MAX` of Linux file systems, because the id names a folder.
pub const LONGEST: usize = 255;

/// A container id that is safe to use as one component of a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerId(String);

/// Why a text is not a container id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidId {
    /// There is nothing.
    #[error("container id cannot be empty")]
    Empty,
    /// Longer than [`LONGEST`] bytes.
    #[error("invalid container id: {0} bytes are too long; at most {LONGEST} are allowed")]
    TooLong(usize),
    /// `.` and `..` are places, not names.
    #[error("invalid container id `{0}`: it names a folder that always exists")]
    Reserved(String),
    /// A character outside the set that runc established.
    #[error("invalid container id `{id}`: `{character}` is not allowed; use letters, digits, `_`, `+`, `.` and `-`")]
    Character {
        /// The id as given.
        id: String,
        /// The first offending character.
        character: char,
    },
}

impl FromStr for ContainerId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        if text.is_empty() {
            return Err(InvalidId::Empty);
        }
        if text.len() > LONGEST {
            return Err(InvalidId::TooLong(text.len()));
        }
        if text == "." || text == ".." {
            return Err(InvalidId::Reserved(text.to_owned()));
        }
        let allowed = |character: &char| character.is_ascii_alphanumeric() || "_+.-".contains(*character);
        match text.chars().find(|character| !allowed(character)) {
            Some(character) => Err(InvalidId::Character { id: text.to_owned(), character }),
            None => Ok(Self(text.to_owned())),
        }
    }
}

impl ContainerId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_runc_accepts() {
        for text in ["a", "A-b_c+d.e", "0", "...", &"x".repeat(LONGEST)] {
            assert_eq!(text.parse::<ContainerId>().map(|id| id.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn refuses_paths_and_junk() {
        assert_eq!("".parse::<ContainerId>(), Err(InvalidId::Empty));
        assert_eq!(".".parse::<ContainerId>(), Err(InvalidId::Reserved(".".into())));
        assert_eq!("..".parse::<ContainerId>(), Err(InvalidId::Reserved("..".into())));
        assert_eq!("x".repeat(256).parse::<ContainerId>(), Err(InvalidId::TooLong(256)));
        for (text, character) in [("a/b", '/'), ("a b", ' '), ("é", 'é'), ("a\0", '\0'), ("a\n", '\n')] {
            assert_eq!(text.parse::<ContainerId>(), Err(InvalidId::Character { id: text.to_owned(), character }));
        }
    }
}
