//! `skiffd`, the daemon that keeps a machine's containers as the fleet document wants them. **Not built yet**: this
//! binary says so and exits 1; what follows is the map of the wing.
//!
//! ```text
//!   fleet files ──> fetch ──> fleet ──> desired ──┐
//!   (any web server or stick)  (signature first)  ├──> planner ──> actions ──> execute ──> shim (task API)
//!   cgroups, shims, images ──> observe ───────────┘                               │
//!        ^                                                                        v
//!        └───────────────── a fresh look, never a trusted answer        ledger ──> report, metrics, control
//! ```
//!
//! Rooms to come: `fetch` (a short-lived child of its own user: the only one that talks to the network), `fleet`
//! (the signed index and the releases), `images` (pulled by digest, unpacked by a confined child), `observe`,
//! `execute` (one action at a time, no choices), `ledger` (what the node remembers), `control` (the socket that
//! `skiffctl` talks to), `report`, `metrics`, `systemd` (transient units, readiness, watchdog).
//!
//! Who calls it: systemd, people through `skiffctl`, Prometheus. It calls shims (ours or any other) and imports
//! `supervisor/planner`; it never imports the runtime or the shim.
//!
//! Invariants
//! - it can be killed, upgraded or downgraded at any moment without touching a container;
//! - unknown, expired, unreachable, truncated or unparsable never stops a container;
//! - nothing is written to disk while nothing changes;
//! - decisions are the planner's; this wing observes and executes.
//!
//! Deliberately absent: a cluster scheduler, a broker, an inbound network port by default.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|word| word == "--version") {
        println!("skiffd {} (not built yet)", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    eprintln!(
        "skiffd is not built yet: it will be the daemon that keeps this machine's containers as a fleet document wants \
         them; until then run containers with `skiff`, from a systemd unit for example"
    );
    ExitCode::FAILURE
}
