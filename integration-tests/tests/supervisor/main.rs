//! The main job from end to end, on real processes and sockets: a fleet document over HTTP becomes running, limited,
//! restarted, reported containers. Each test is a device of its own (see `device`), with services that no other test has.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod bad_input;
mod faults;
mod fleet;
mod life;
mod report;
mod rollout;
mod survival;
mod systemd;
