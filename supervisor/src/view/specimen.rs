//! A device for tests: one service that is on trial and half ready, one job that failed.

use super::Device;

/// The device of `specimen.json`.
pub(crate) fn device() -> Device {
    serde_json::from_str(include_str!("specimen.json")).unwrap()
}
