//! The containerd shim of Skiff, `containerd-shim-skiff-v1`: the one process that holds a container, for containerd
//! and for `skiffd` alike.
//!
//! ```text
//!   containerd 1.6 to 2.x ──┐ start · delete · -info                 argv, exit code, log, pid file
//!                           ├──> cli ──> bootstrap                 ┌───────────────────────────────> skiff
//!   skiffd ─────────────────┘     │                                │
//!         │                       v serve                          │
//!         └── ttrpc ──────> service ──> task ──> runtime ──────────┘
//!             v2 and v3                  │ ^
//!                                        │ └── exits (one reaper), oom
//!                                        v
//!                         stdio · mounts · cgroup · stats · events ──> ttrpc, back to the caller
//! ```
//!
//! Rooms: `cli` (the command line, one file a verb), `bootstrap` (the four dialects of `start`, told apart without
//! guessing; groups; sockets), `serve` (the process that stays), `lifetime` (when it may go), `service` (both task
//! services on one socket, and what an error is called there), `task` (one table of states and events for a container
//! and its execs), `runtime` (calls of the OCI runtime), `options` (what a caller may choose about it), `exits` (one
//! reaper), `stdio` (fifos, files, rotated logs, terminals), `mounts` (a snapshotter's root), `cgroup` (where the
//! controllers are), `oom`, `stats` (cgroup v1 and v2), `events` (the ordered queue to the caller), `trace` (the
//! shim's own log), `chain` (an error with its causes), `sys` (the only room with unsafe code).
//!
//! Who calls it: containerd, and `skiffd` as a client of the same task API. It calls `skiff`, or any runtime with runc's
//! command line, by executing it.
//!
//! Invariants
//! - one process serves a whole pod or service; a slow call for one container never delays another's;
//! - what a call began is finished, even when the caller goes away in between;
//! - an exit is reported once and never invented, and a container's own exit is its last;
//! - nothing but the answer is written to standard output or error: `start`'s caller reads both as an address;
//! - sockets are paths in a folder that nobody else writes to, never abstract names (CVE-2020-15257).
//!
//! Deliberately absent: building a container (that is `skiff`), images and snapshots (containerd's and `skiffd`'s),
//! restart policy (`skiffd`'s), checkpoints, loggers as separate programs (`binary://`).
#![deny(unsafe_code)]

pub mod cli;

mod bootstrap;
mod cgroup;
mod chain;
mod events;
mod exits;
mod lifetime;
mod mounts;
mod oom;
mod options;
mod runtime;
mod serve;
mod service;
mod stats;
mod stdio;
#[allow(unsafe_code)]
mod sys;
mod task;
mod trace;
