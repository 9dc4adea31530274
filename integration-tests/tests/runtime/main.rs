//! The OCI runtime on a real kernel: one file per topic, the same bundles through every runtime that is installed.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod bad_input;
mod cgroups;
mod crash;
mod devices;
mod escape;
mod exec;
mod exec_safety;
mod fallbacks;
mod features;
mod foreground;
mod hooks;
mod lifecycle;
mod mounts;
mod namespaces;
mod pause;
mod process;
mod protected_paths;
mod ps;
mod rootfs;
mod self_exe;
mod sysctl;
mod systemd_cgroup;
mod systemd_user;
mod terminal;
mod update;
