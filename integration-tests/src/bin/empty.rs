//! The program that does nothing: what starting any static Rust program costs on this machine.
fn main() {}
