//! The only room with unsafe code.

mod signal;
mod watched;

pub(crate) use signal::signal;
pub(crate) use watched::watched;
