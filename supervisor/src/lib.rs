//! The supervisor: `skiffd` keeps a machine's containers as the fleet document wants them, `skiffctl` is its command line.
//!
//! ```text
//!   fleet files ──> fleet::fetch ──> fleet (signature first) ──> daemon ──> planner ──> actions ──> node ──> shim (task API)
//!   (any web server or stick)                                     ^  │                               │
//!   shims, probes ──> node ── what was seen ──────────────────────┘  └──> view ──> control, metrics, report
//! ```
//!
//! Rooms: `config` (`skiffd.toml` and `device.toml`), `clock` (the two clocks), `store` (documents on disk: published
//! whole or not at all), `fleet` (index and releases: fetched by a child, believed only when signed), `node` (instances
//! and their shims: records, start, stop, adoption, probes), `daemon` (the loop: one waiting point, one owner of all
//! state), `view` (what is told to anybody), `control` (the socket), `metrics`, `report`, `events` (what happened),
//! `ctl` (skiffctl); and small words: `digest`, `percent` (paths of HTTP), `chain` (an error with its causes).
//!
//! Who calls it: systemd, people through `skiffctl`, Prometheus. It calls shims (ours or any other) and imports
//! `supervisor/planner`; it never imports the runtime or the shim.
//!
//! Invariants
//! - it can be killed, upgraded or downgraded at any moment without touching a container;
//! - unknown, expired, unreachable, truncated or unparsable never stops a container;
//! - nothing is written to disk while nothing changes;
//! - decisions are the planner's; this wing observes and executes;
//! - the daemon's own process never talks to the network beyond this machine: a short-lived child does.
//!
//! Deliberately absent: a cluster scheduler, a broker, an inbound network port by default.
#![forbid(unsafe_code)]

mod chain;
pub mod clock;
pub mod config;
pub mod control;
pub mod ctl;
pub mod daemon;
pub mod digest;
pub mod events;
pub mod fleet;
pub mod metrics;
pub mod node;
mod percent;
pub mod report;
#[cfg(test)]
#[allow(dead_code, unreachable_pub)]
#[path = "../../integration-tests/src/skip.rs"]
mod skip;
pub mod store;
pub mod view;
