//! `skiffctl`, the operator's command line: `ps`, `logs`, `stats`, `fleet build|status|explain`. **Not built yet**: this
//! binary says so and exits 1. The map of this wing stands in `skiffd.rs`; `skiffctl` is a client of its socket.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|word| word == "--version") {
        println!("skiffctl {} (not built yet)", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    eprintln!(
        "skiffctl is not built yet: it will be the operator's command line for skiffd and for fleets; until then \
         `skiff list` shows this machine's containers"
    );
    ExitCode::FAILURE
}
