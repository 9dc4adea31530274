//! `containerd-shim-skiff-v1`: the command line of the shim. What it does is in the library of this crate.

use std::process::ExitCode;

fn main() -> ExitCode {
    match skiff_shim::cli::run(std::env::args_os().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("containerd-shim-skiff-v1: {error:#}");
            ExitCode::FAILURE
        }
    }
}
