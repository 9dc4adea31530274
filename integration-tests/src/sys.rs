//! What of the kernel no library wraps.

pub mod notify;
