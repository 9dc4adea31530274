//! Drives the built binaries on real kernels.
