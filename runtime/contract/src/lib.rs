//! The words of the OCI runtime contract, shared by all wings: what a container is called ([`id`]), what it is doing
//! ([`status`]), how that is told ([`document`]) and what the kernel counts of it ([`figures`]).
//!
//! ```text
//!   shim, supervisor ── argv ──> skiff ── state document ──> shim, supervisor
//! ```
//!
//! Who may import it: every crate of ours. It imports none of them and does no I/O; unsafe code is forbidden.
#![forbid(unsafe_code)]

pub mod document;
pub mod figures;
pub mod id;
pub mod status;
