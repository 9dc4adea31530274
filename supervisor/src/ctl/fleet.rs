//! `skiffctl fleet`: what is done on a workstation with the documents of a fleet.

mod build;
mod explain;
mod key;
mod keygen;
mod pack;
mod serve;
mod source;
mod yaml;

use clap::Subcommand;
use std::process::ExitCode;

/// The commands.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Make a pair of keys: NAME.key signs and stays secret, NAME.pub goes into the trust folder of each device
    Keygen(keygen::Arguments),
    /// Check the documents of a folder, and print everything that is wrong with its place
    Lint(source::Arguments),
    /// Check, pack and sign a folder into files that any web server or stick can hold
    Build(build::Arguments),
    /// Print which release a device gets from a folder, and why
    Explain(explain::Arguments),
    /// Serve a built folder over HTTP and take the devices' reports: for trials and closed networks
    Serve(serve::Arguments),
}

/// Runs one.
pub(super) fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Keygen(arguments) => keygen::run(&arguments),
        Command::Lint(arguments) => source::run(&arguments),
        Command::Build(arguments) => build::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Serve(arguments) => serve::run(&arguments),
    }
}
