//! Those who start containers for a living, as Debian packages them, with `skiff` in the place of their runtime: podman,
//! docker and buildah. Each test runs over runc, too: what is asserted is what the caller's users are used to.
//!
//! containerd is driven by the suite of the shim, and systemd by the runtime's (`readiness`), in the guest.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod buildah;
mod docker;
mod house;
mod podman;
