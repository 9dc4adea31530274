//! The containerd shim of Skiff, `containerd-shim-skiff-v1`: the one process that holds a container, for containerd
//! and for `skiffd` alike. **Not built yet**: this binary says so and exits 1; what follows is the map.
//!
//! ```text
//!   containerd 1.6 to 2.x ──┐  start · delete · -info                   argv, exit code, state JSON
//!                           ├──> bootstrap ──> service ──> task ──────────────────────────────────> skiff
//!   skiffd ─────────────────┘  ttrpc: task v2 and v3    │   │
//!                                                       v   v
//!                                     stdio · exec · exits · oom · stats ──> events, back to the caller
//! ```
//!
//! Rooms to come: `bootstrap` (the four dialects of `start`, told apart without guessing), `service` (both task
//! services on one socket), `task` (one table of states and events for a container and its execs), `stdio` (fifos,
//! files, loggers, terminals), `exits` (one reaper; the container's exit is its last event), `oom`, `stats`
//! (cgroup v1 and v2), `sys` (the only room with unsafe code).
//!
//! Who calls it: containerd, and `skiffd` as a client of the same task API. It calls `skiff` by executing it.
//!
//! Invariants
//! - one process serves a whole pod or service; a slow call for one container never delays another's;
//! - an exit is reported once and never invented: what was not seen is reported as unknown;
//! - sockets are paths in a private folder, never abstract names (CVE-2020-15257).
//!
//! Deliberately absent: building a container (that is `skiff`), images and snapshots (containerd's and `skiffd`'s),
//! restart policy (`skiffd`'s).
#![deny(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|word| word == "--version") {
        println!("containerd-shim-skiff-v1 {} (not built yet)", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    eprintln!(
        "containerd-shim-skiff-v1 is not built yet: it will be a containerd shim (task API v2 and v3) that holds a \
         container's stdio, exit, exec, OOM events and stats; use containerd's runc shim with BinaryName `skiff` until then"
    );
    ExitCode::FAILURE
}
