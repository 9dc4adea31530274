//! A point in time of this boot, in milliseconds of CLOCK_BOOTTIME: it goes on in suspend and no one can set it.

use crate::span::Span;
use serde::{Deserialize, Serialize};

/// Milliseconds of CLOCK_BOOTTIME. Means nothing on another boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(pub u64);

impl Moment {
    /// This moment and a span later; the end of time where there is none.
    #[must_use]
    pub const fn plus(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.millis()))
    }

    /// From an earlier moment to this one; nothing if it is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Span {
        Span::from_millis(self.0.saturating_sub(earlier.0))
    }
}
