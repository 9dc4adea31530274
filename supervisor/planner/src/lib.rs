//! Every decision about workloads, as pure functions from documents to plans.
//!
//! ```text
//!   fleet index ──> select ──> release ──> rollout ──> desired ──┐
//!                                 ^                              │
//!                device's labels  │ health        observed ──────┼──> plan ──> actions, ledger, reasons, next look
//!                                 └───────────────┐ ledger ──────┤
//!                                                 │ now ─────────┘
//!                                            health (from probes)
//! ```
//!
//! Rooms: `name` (what services, instances and releases are called), `moment`, `span`, `bytes` (units), `signal`,
//! `capability` (names of Linux), `fleet` (the index), `release` (services, a strict subset of Compose), `lint` (what is wrong with either), `select` (which release
//! is this device's), `rollout` (trial, commit, return), `desired`, `observed`, `ledger` (what is remembered), `health`
//! (concluded from probes), `restart` (policy and backoff), `order` (dependencies), `plan` (the difference, as actions),
//! `bundle` (the configuration of one instance, with the safe defaults).
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

pub mod bundle;
pub mod bytes;
pub mod capability;
pub mod desired;
pub mod fleet;
pub mod health;
pub mod ledger;
pub mod lint;
pub mod moment;
pub mod name;
pub mod observed;
pub mod order;
pub mod plan;
pub mod release;
pub mod restart;
pub mod rollout;
pub mod select;
pub mod signal;
pub mod span;

#[cfg(test)]
mod specimen;
