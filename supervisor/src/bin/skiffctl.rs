//! `skiffctl`, the operator's command line. Everything is in the library, so that it can be tested.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    skiff_supervisor::ctl::main(std::env::args_os())
}
