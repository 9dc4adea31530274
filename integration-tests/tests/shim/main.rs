//! The shim on a real kernel: a client of the raw task API drives the built binary over real runtimes and bundles, and
//! Debian's containerd does too.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod bad_input;
mod containerd;
mod crash;
mod events;
mod execs;
mod figures;
mod harness;
mod lifecycle;
mod listener;
mod raw;
mod start;
mod stdio;
mod survive;
mod systemd;
