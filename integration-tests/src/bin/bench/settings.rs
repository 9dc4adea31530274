//! What the environment says about one benchmark: which programs, how often, where.

use crate::contender::{Contender, Kind};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs};

/// The settings of one benchmark.
pub(crate) struct Settings {
    /// `BENCH_RUNS`: measured rounds of `run`; 100 unless told.
    pub(crate) runs: usize,
    /// `BENCH_CYCLES`: measured rounds of create, start, delete; 40 unless told.
    pub(crate) cycles: usize,
    /// `BENCH_STARTS`: measured rounds of `--version`; 100 unless told.
    pub(crate) starts: usize,
    /// `BENCH_WARM_UP`: rounds before the measured ones; 5 unless told.
    pub(crate) warm_up: usize,
    /// `BENCH_PAUSE_MS`: rest before each measurement, in which the kernel takes the last container's network
    /// namespace down; 10 ms unless told.
    pub(crate) pause: Duration,
    /// `BENCH_WORK`: an empty folder for the bundles and the runtimes' state.
    pub(crate) work: PathBuf,
    /// `BENCH_CONTENDERS`: names in order, `skiff crun runc bare-syscalls` unless told. The programs are `SKIFF_BIN`,
    /// `CRUN_BIN`, `RUNC_BIN` and `BARE_BIN`.
    pub(crate) contenders: Vec<Contender>,
    /// `EMPTY_BIN`: the program that does nothing, for the start-up figures.
    pub(crate) empty: Contender,
}

impl Settings {
    pub(crate) fn from_environment() -> Result<Settings> {
        let release = "target/x86_64-unknown-linux-gnu/release";
        let names = env::var("BENCH_CONTENDERS").unwrap_or_else(|_| "skiff crun runc bare-syscalls".to_owned());
        let contenders: Result<Vec<_>> = names
            .split_whitespace()
            .map(|name| match name {
                "skiff" => contender("skiff", Kind::Oci, "SKIFF_BIN", &format!("{release}/skiff")),
                "crun" => contender("crun", Kind::Crun, "CRUN_BIN", "crun"),
                "runc" => contender("runc", Kind::Oci, "RUNC_BIN", "runc"),
                "bare-syscalls" => {
                    contender("bare-syscalls", Kind::Bare, "BARE_BIN", &format!("{release}/bare-syscalls"))
                }
                other => bail!("unknown contender `{other}` in BENCH_CONTENDERS"),
            })
            .collect();
        Ok(Settings {
            runs: number("BENCH_RUNS", 100)?,
            cycles: number("BENCH_CYCLES", 40)?,
            starts: number("BENCH_STARTS", 100)?,
            warm_up: number("BENCH_WARM_UP", 5)?,
            pause: Duration::from_millis(number("BENCH_PAUSE_MS", 10)? as u64),
            work: work()?,
            contenders: contenders?,
            empty: contender("empty program", Kind::Bare, "EMPTY_BIN", &format!("{release}/empty"))?,
        })
    }
}

/// The folder that `BENCH_WORK` names.
pub(crate) fn work() -> Result<PathBuf> {
    env::var_os("BENCH_WORK").map(PathBuf::from).context("BENCH_WORK is not set; use bench.sh")
}

fn number(variable: &str, default: usize) -> Result<usize> {
    match env::var(variable) {
        Ok(text) => text.parse().with_context(|| format!("`{variable}={text}` is not a number")),
        Err(_) => Ok(default),
    }
}

fn contender(name: &'static str, kind: Kind, variable: &str, default: &str) -> Result<Contender> {
    let given = env::var(variable).unwrap_or_else(|_| default.to_owned());
    let binary = find(&given).with_context(|| format!("no program `{given}` for `{name}`; set {variable}"))?;
    let bytes = fs::metadata(&binary).with_context(|| format!("stat `{}`", binary.display()))?.len();
    Ok(Contender { name, kind, binary, bytes })
}

fn find(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| path.is_file());
    }
    let path = env::var("PATH").ok()?;
    path.split(':').map(|folder| Path::new(folder).join(program)).find(|path| path.is_file())
}
