//! The kernel calls that no library wraps safely, one file a family. This is the only room with unsafe code: each
//! function here is safe to call, and each unsafe block says what the callee requires and why it holds.

pub mod bpf;
pub mod clone;
pub mod exec;
pub mod keyring;
pub mod kill;
pub mod mount;
pub mod network;
pub mod numa;
pub mod prctl;
pub mod sched;
pub mod seccomp;
pub mod self_exe;
pub mod signals;
