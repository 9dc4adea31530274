//! Drives the built binaries on real kernels: builds bundles, runs them through `skiff` and through the reference
//! runtimes, and compares what the containers see.
//!
//! Rooms: `bundle` (what goes in), `command` (every program is started here, with a deadline), `runtime` (who is
//! driven, and the guard that removes a container), `compare` (the same bundle through every runtime), `leftovers`
//! (what a run may not leave on the host), `cgroups` (where the kernel keeps the limits), `console` (the far end of a
//! console socket), `agent` (who decides about system calls), `device` (one device of a fleet), `image` (what callers with images run), `kernel` (what it lacks here), `lane` (where the tests run),
//! `strace` (making a system call fail or kill), `skip` (what could not be tested here, and why).
//!
//! Environment: `SKIFF_RUNTIMES` (comma-separated subset of `skiff,runc,crun,reference`; `crun:cgroups` is for tests marked so), `SKIFF_BIN`,
//! `SKIFF_REFERENCE_BIN`, `SKIFF_SHIM_BIN`, `SKIFF_SKIP_LOG` (file that receives one line per skip),
//! `SKIFF_TEST_TIMEOUT` (seconds), `SKIFF_SWEEP` (`quick` or `full`), `SKIFF_ROUNDS` (most repetitions of what is tried often), `SKIFF_EXEMPT=none` (references run where they
//! are exempt too, to see whether they still must be), `SKIFF_TEST_USER_NAMESPACE` (each container gets one).
// The bans of clippy.toml protect the runtime (one thread, no path of a container's root followed); the tests are
// ordinary threaded programs on directories of their own, and a failed expectation here is a failed test.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

pub mod agent;
pub mod bundle;
pub mod cgroups;
pub mod command;
pub mod compare;
pub mod console;
pub mod device;
pub mod image;
pub mod kernel;
pub mod lane;
pub mod leftovers;
pub mod runtime;
pub mod skip;
pub mod strace;
pub mod sys;

/// How often to try what goes wrong seldom: `usual` times, or what `SKIFF_ROUNDS` says if that is less.
#[must_use]
pub fn rounds(usual: usize) -> usize {
    let most = std::env::var("SKIFF_ROUNDS").ok().map(|text| text.parse().expect("SKIFF_ROUNDS is a number"));
    most.map_or(usual, |most: usize| usual.min(most))
}

/// Whether everything is to be tried, however long it takes (`SKIFF_SWEEP=full`).
#[must_use]
pub fn is_full_sweep() -> bool {
    std::env::var("SKIFF_SWEEP").is_ok_and(|word| word == "full")
}
