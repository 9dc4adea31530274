//! The OCI runtime `skiff`: an OCI bundle goes in, namespaces and a cgroup are built directly from it, the program
//! runs inside its limits, its exit status comes back.
//!
//! ```text
//!   argv ──> cli ──> config (load, refuse) ──> plans ─────────────┐   pure: no system call
//!                    namespaces · cgroup · rootfs · process        │
//!   ┌──────────────────────────────────────────────────────────────┘
//!   v
//!   container::create                                 init (the child)
//!     state  claim the id, write what will be made      sync::wait
//!     cgroup make                                       rootfs build
//!     sys::clone3 ── new namespaces, into the cgroup ─> process apply
//!     cgroup limits, hooks, pid file   <── sync ──>     exec (at once, or when `start` knocks)
//! ```
//!
//! Rooms: `cli` (words typed by people and by containerd), `config` (the bundle), `namespaces`, `cgroup`, `systemd` (a
//! scope around a container) and its `dbus`, `rootfs`, `seccomp` (system call filters),
//! `process`, `network` (interfaces of the host), `hooks`, `terminal`, `foreground` (signals and exit of `run`), `readiness` (sd_notify for what is inside), `state` (what is under `/run/skiff`),
//! `sync` (the messages between the two processes), `init` (the child's steps, in a new container or in one that is
//! there), `container` (the life cycle and all other verbs), `patience` (the one short sleep), `log`, `sys` (the only
//! room with unsafe code).
//!
//! Who may import it: nobody but the binary beside it. The other wings *execute* `skiff`.
//!
//! Invariants
//! - one thread, no async: a fork is sound and cheap; no second exec, unless an old kernel leaves no other way to protect
//!   our binary;
//! - a decision is made by a pure function that returns data; the functions that do things make no choices;
//! - inside a root file system nothing is addressed by a path string: descriptors only, resolved in the root;
//! - what cannot be enforced is an error, never a warning, except where the OCI specification prescribes one.
//!
//! Deliberately absent: checkpoint and restore, a daemon, a network set-up of our own, a log subscriber.
#![deny(unsafe_code)]

pub mod cgroup;
pub mod cli;
pub mod config;
pub mod container;
pub mod dbus;
pub mod foreground;
pub mod hooks;
pub mod init;
pub mod log;
pub mod namespaces;
pub mod network;
pub mod patience;
pub mod process;
pub mod readiness;
pub mod rootfs;
pub mod seccomp;
pub mod state;
pub mod sync;
#[allow(unsafe_code)]
pub mod sys;
pub mod systemd;
pub mod terminal;
