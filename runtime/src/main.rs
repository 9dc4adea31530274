//! `skiff`, the OCI runtime's command line. Everything is in the library, so that it can be tested.

use std::process::ExitCode;

fn main() -> ExitCode {
    skiff::cli::main(std::env::args_os())
}
