//! `skiffd`, the daemon that keeps a machine's containers as the fleet document wants them. Everything is in the library, so
//! that it can be tested.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    skiff_supervisor::daemon::main(std::env::args_os())
}
