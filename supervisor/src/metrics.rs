//! Figures for Prometheus: a page in the text of OpenMetrics 1.0. Pure. Containers have cAdvisor's names and labels
//! (`containers`), and what only skiffd knows has names in `skiff_` (`daemon`); `exposition` writes both.
//!
//! Labels are bounded by what the device runs: no text for people, no process ids, no times.

mod containers;
mod daemon;
mod exposition;

use crate::clock::rfc3339;
use crate::view::Device;
use exposition::{Page, Value};
use std::time::SystemTime;

/// What the page is, in the words of HTTP.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The whole page.
#[must_use]
pub fn text(device: &Device) -> String {
    let mut page = Page::default();
    daemon::write(&mut page, device);
    containers::write(&mut page, device);
    page.end()
}

/// RFC 3339 in seconds since 1970; nothing for what is no time.
fn seconds(time: &str) -> Option<Value> {
    let time = rfc3339::parse(time)?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(Value::Count(time.as_secs()))
}

#[cfg(test)]
mod tests;
