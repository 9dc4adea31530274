//! Room `rootfs`: to be filled.
