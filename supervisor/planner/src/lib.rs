//! Every decision about workloads, as pure functions from documents to plans. **Nothing is built yet**; this is the map.
//!
//! ```text
//!   desired ──┐
//!   observed ─┼──> plan ──> actions (ordered, with no choices left)
//!   ledger ───┤
//!   now ──────┘
//! ```
//!
//! Rooms to come: `select` (which release is this device's: pin, group, rollout, window), `desired` (services, limits,
//! dependencies), `admission` (what fits, by priority), `rollout` (health gate, return to the last good release),
//! `restart` (policy and backoff), `plan` (the difference, as actions).
//!
//! Who imports it: `skiffd` and `skiffctl` (which explains a decision by making it). It may import `runtime/contract`.
//!
//! Invariants
//! - no file, clock, environment variable, random number, process or socket is read: `now` and the ledger are arguments
//!   (`clippy.toml` beside this crate bans the ways to do so);
//! - the same input gives the same plan; applying a plan to a model of the world and planning again gives an empty one;
//! - an unknown observation never leads to a kill; a generation never goes back.
//!
//! Deliberately absent: doing anything.
#![forbid(unsafe_code)]
