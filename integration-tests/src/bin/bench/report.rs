//! Turns the samples into Markdown: ratios first, since milliseconds belong to one machine on one day.

use crate::contender::Contender;
use crate::measure::{Sample, Series};
use crate::settings::Settings;
use crate::stats::{mean, median, percentile};
use anyhow::{Context, Result};
use std::fmt::Write;
use std::fs;
use std::process::Command;
use std::time::Duration;

/// What was measured, where, when.
pub(crate) fn header(settings: &Settings) -> Result<String> {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").context("read the kernel's version")?;
    let versions: Result<Vec<String>> =
        settings.contenders.iter().filter(|contender| contender.has_state()).map(version).collect();
    let processors = std::thread::available_parallelism().context("count the processors")?;
    Ok(format!(
        "Measured {date} on Linux {kernel}, {processors} x {cpu}: {versions}. {runs} rounds of `run`, {cycles} of \
         create + start + delete, {starts} of `--version`, contenders in turn, after {warm_up} rounds of warm-up. \
         Default `runc spec` configuration without device rules, static busybox on tmpfs, cgroup2. Ratios are of \
         medians (wall) and means (CPU: user and system of all processes, the container included).\n\n",
        date = first_line(Command::new("date").args(["-u", "+%F"]))?,
        kernel = kernel.trim(),
        cpu = processor(),
        versions = versions?.join(", "),
        runs = settings.runs,
        cycles = settings.cycles,
        starts = settings.starts,
        warm_up = settings.warm_up,
    ))
}

pub(crate) fn run_table(runs: &[Series]) -> String {
    table("`run` of `/bin/true`", runs, Figures::of_floor(runs))
}

/// The floor has no state to keep between three calls, so its `run` is the floor here too.
pub(crate) fn cycle_table(cycles: &[Series], runs: &[Series]) -> String {
    table("create + start + wait + delete (floor: its `run`)", cycles, Figures::of_floor(runs))
}

/// Start-up of the bare programs and their sizes.
pub(crate) fn start_table(starts: &[Series]) -> String {
    let empty = starts.last().map(|series| median(&walls(&series.samples))).unwrap_or_default();
    let mut text = "| `--version` | to the empty program | median ms | size kB |\n|---|--:|--:|--:|\n".to_owned();
    for Series { contender, samples } in starts {
        let wall = median(&walls(samples));
        let more = millis(wall) - millis(empty);
        let Contender { name, bytes, .. } = contender;
        // Writing into a string cannot fail.
        let _infallible = writeln!(text, "| {name} | {more:+.2} ms | {:.2} | {} |", millis(wall), bytes / 1000);
    }
    text.push('\n');
    text
}

struct Figures {
    wall: Duration,
    tail: Duration,
    cpu: Duration,
}

impl Figures {
    fn of(samples: &[Sample]) -> Figures {
        let walls = walls(samples);
        let cpus: Vec<_> = samples.iter().map(|sample| sample.cpu).collect();
        Figures { wall: median(&walls), tail: percentile(&walls, 90), cpu: mean(&cpus) }
    }

    fn of_floor(runs: &[Series]) -> Option<Figures> {
        named(runs, "bare-syscalls")
    }
}

fn named(all: &[Series], name: &str) -> Option<Figures> {
    all.iter().find(|series| series.contender.name == name).map(|series| Figures::of(&series.samples))
}

fn table(title: &str, all: &[Series], floor: Option<Figures>) -> String {
    let crun = named(all, "crun");
    let mut text = format!(
        "| {title} | wall / crun | p90 / crun | CPU / crun | wall / floor | CPU / floor | median ms | p90 ms | CPU ms |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|\n"
    );
    for Series { contender, samples } in all {
        let own = Figures::of(samples);
        let to = |base: &Option<Figures>, part: fn(&Figures) -> Duration| match base {
            Some(base) => format!("{:.2}", part(&own).as_secs_f64() / part(base).as_secs_f64()),
            None => "-".to_owned(),
        };
        let ratios = [
            to(&crun, |figures| figures.wall),
            to(&crun, |figures| figures.tail),
            to(&crun, |figures| figures.cpu),
            to(&floor, |figures| figures.wall),
            to(&floor, |figures| figures.cpu),
        ];
        let absolute = [own.wall, own.tail, own.cpu].map(|value| format!("{:.2}", millis(value)));
        // Writing into a string cannot fail.
        let _infallible = writeln!(text, "| {} | {} | {} |", contender.name, ratios.join(" | "), absolute.join(" | "));
    }
    text.push('\n');
    text
}

fn walls(samples: &[Sample]) -> Vec<Duration> {
    samples.iter().map(|sample| sample.wall).collect()
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn version(contender: &Contender) -> Result<String> {
    first_line(Command::new(&contender.binary).arg("--version"))
}

fn first_line(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// The processor's name; ARM kernels do not give one.
fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split(": ").nth(1)).unwrap_or(std::env::consts::ARCH);
    name.to_owned()
}
