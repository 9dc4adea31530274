//! Compares `skiff`, `crun`, `runc` and the floor (`bare-syscalls`) in one run and prints a Markdown report.
//!
//! Called by `bench.sh`, which builds the programs and gives this one a private mount namespace with cgroup2 on
//! `/sys/fs/cgroup` and an empty folder to work in. The contenders take turns, so that noise of the machine hits all
//! alike; a run that fails ends the benchmark, since numbers of a broken run are no numbers.
//!
//! Settings are environment variables: see [`settings::Settings`]. With the argument `bundle` it only makes the bundles
//! in `BENCH_WORK`, for the scripts that trace and bisect.

mod bundle;
mod contender;
mod measure;
mod report;
mod sameness;
mod settings;
mod stats;

use anyhow::Result;
use std::env;
use std::process::ExitCode;

fn main() -> ExitCode {
    let outcome = if env::args().nth(1).as_deref() == Some("bundle") { bundle::make_in_work() } else { bench() };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench() -> Result<()> {
    let settings = settings::Settings::from_environment()?;
    let contenders = &settings.contenders;
    bundle::make(&settings.work)?;
    measure::become_subreaper()?;
    for line in sameness::differences(&settings.work, contenders)? {
        eprintln!("differs: {line}");
    }
    eprintln!("bench: {} rounds of run", settings.runs);
    let runs = measure::rounds(contenders, settings.runs, &settings, measure::run)?;
    eprintln!("bench: {} rounds of create, start, delete", settings.cycles);
    let cycling: Vec<_> = contenders.iter().filter(|contender| contender.has_state()).cloned().collect();
    let cycles = measure::rounds(&cycling, settings.cycles, &settings, measure::cycle)?;
    eprintln!("bench: {} rounds of --version", settings.starts);
    let starting: Vec<_> = cycling.iter().chain([&settings.empty]).cloned().collect();
    let starts = measure::rounds(&starting, settings.starts, &settings, measure::version)?;
    print!("{}", report::header(&settings)?);
    print!("{}", report::run_table(&runs));
    print!("{}", report::cycle_table(&cycles, &runs));
    print!("{}", report::start_table(&starts));
    Ok(())
}
