//! What skiffd and its fetching child say to one another over two pipes. skiffd sends one line of JSON for each request. The
//! child answers with a line of JSON, and, where a body follows, with chunks: a length in four bytes, the first the
//! highest, and so many bytes; length 0 ends the body, and the highest length says that it broke off, with a line of why.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The longest line on either pipe, in bytes: a report with everything in it.
pub(super) const LONGEST_LINE: u64 = 1 << 20;
/// The longest chunk.
pub(super) const LONGEST_CHUNK: u32 = 64 << 10;
/// In place of a length: the body broke off.
pub(super) const BROKEN: u32 = u32::MAX;

/// What the child is told before it is confined.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Words {
    /// Whose user it becomes.
    pub(super) user: String,
    /// Certificates in place of those built in.
    pub(super) ca: Option<PathBuf>,
    /// The folder of `file://` addresses.
    pub(super) folder: Option<PathBuf>,
}

/// The child's first line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Ready {
    /// Of its confinement, what this machine could not enforce.
    pub(super) not_enforced: Vec<String>,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Request {
    /// Where.
    pub(super) url: String,
    /// Sent as the body of a PUT, which is JSON; without it this is a GET.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) put: Option<String>,
    /// Answered with 304 while the server's name for what is there is this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) etag: Option<String>,
    /// Bytes of a body; of a longer one nothing is kept.
    pub(super) limit: u64,
    /// Until the connection is there, in milliseconds.
    pub(super) connect: u64,
    /// Until all is there, in milliseconds.
    pub(super) total: u64,
}

/// The line that answers a request.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Answer {
    /// A server answered; a body follows with statuses 200 to 299.
    Status(Head),
    /// None did, or not so that it can be understood.
    Failure(Broken),
}

/// What a server said before the body.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Head {
    /// As in HTTP.
    pub(super) status: u16,
    /// The server's name for this edition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) etag: Option<String>,
    /// How long the server asks to be left alone, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) retry_after: Option<u64>,
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Broken {
    /// One word.
    pub(super) reason: Reason,
    /// For people.
    pub(super) text: String,
}

/// What went wrong on the way, as the metric has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The name of the server means nothing here.
    Dns,
    /// Nobody takes the connection, or it broke.
    Connection,
    /// It took too long.
    Timeout,
    /// The server is not who it should be, or does not speak TLS.
    Tls,
    /// What came is not HTTP.
    Protocol,
    /// A status that is no success.
    Status,
    /// The server sends elsewhere, and there is no following.
    Redirect,
    /// More than is taken.
    TooLarge,
    /// Less than was announced.
    CutOff,
    /// There is no such file, or it cannot be read.
    File,
    /// What came cannot be kept here.
    Disk,
    /// The address is none.
    Url,
    /// The child ended, or said what it should not.
    Child,
}

impl Reason {
    /// The word for the metric.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connection => "connection",
            Self::Timeout => "timeout",
            Self::Tls => "tls",
            Self::Protocol => "protocol",
            Self::Status => "status",
            Self::Redirect => "redirect",
            Self::TooLarge => "too_large",
            Self::CutOff => "cut_off",
            Self::File => "file",
            Self::Disk => "disk",
            Self::Url => "url",
            Self::Child => "child",
        }
    }
}
