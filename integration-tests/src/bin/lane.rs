//! `lane NAME... [-- FILTER...]` runs lanes and tells what came of each; `lane --list` names them;
//! `lane --all` runs all, and `lane --quick` those that need no virtual machine and no other architecture. The table
//! comes last; the status is 1 if any test failed. Root, for all but the unit tests.
#![allow(clippy::disallowed_methods)] // the bans protect the runtime

use std::collections::VecDeque;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use skiff_integration_tests::lane::build::{self, Failure};
use skiff_integration_tests::lane::record::{Record, table};
use skiff_integration_tests::lane::tally::{Tally, skips};
use skiff_integration_tests::lane::voice::Floor;
use skiff_integration_tests::lane::{LANES, Lane, Machine, Place, Round, find, guest, host};

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let filters = match arguments.iter().position(|word| word == "--") {
        Some(at) => arguments.split_off(at).split_off(1),
        None => Vec::new(),
    };
    let lanes = match wanted(&arguments) {
        Ok(lanes) => lanes,
        Err(text) => {
            eprintln!("lane: {text}");
            return ExitCode::from(2);
        }
    };
    let folder = build::top().join("target/lanes");
    let begun = Instant::now();
    let preparing = prepare(&lanes);
    let records = run_all(&lanes, &filters, &folder);
    drop(preparing);
    println!("\n{}", table(&records, begun.elapsed()));
    if records.iter().all(|record| record.failed.is_empty()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn wanted(arguments: &[String]) -> Result<Vec<&'static Lane>, String> {
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] | ["--help"] => Err("usage: lane NAME... [-- FILTER...], lane --all, lane --quick, lane --list".to_owned()),
        ["--list"] => {
            LANES.iter().for_each(|lane| println!("{:<22} {}", lane.name, lane.about));
            std::process::exit(0);
        }
        ["--all"] => Ok(LANES.iter().collect()),
        ["--quick"] => Ok(LANES.iter().filter(|lane| lane.is_quick()).collect()),
        names => names
            .iter()
            .map(|name| find(name).ok_or_else(|| format!("there is no lane `{name}`; `lane --list` names them")))
            .collect(),
    }
}

/// Has the machines built and booted while cargo compiles. Whatever goes wrong there is told again, and counted, when a
/// lane needs its machine.
fn prepare(lanes: &[&Lane]) -> Preparing {
    let mut machines: Vec<&Machine> = Vec::new();
    for lane in lanes {
        if let Place::Guest(machine) = &lane.place {
            if !machines.contains(&machine) {
                machines.push(machine);
            }
        }
    }
    let start = |machine: &&Machine| {
        let script = guest::preparation(machine);
        let mut command = Command::new("nice");
        command.arg(script.get_program()).args(script.get_args()).stdin(Stdio::null()).process_group(0);
        command.spawn().ok()
    };
    Preparing(machines.iter().filter_map(start).collect())
}

/// Ended with the lanes: nothing is built any more that nobody waits for.
struct Preparing(Vec<Child>);

impl Drop for Preparing {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let group = rustix::process::Pid::from_child(child);
            // It may have ended long ago.
            let _may_be_gone = rustix::process::kill_process_group(group, rustix::process::Signal::TERM);
            let _status_is_of_no_interest = child.wait();
        }
    }
}

/// Runs the lanes of this machine one after the other and those that are emulated one after the other, the two side by
/// side, while what the next ones need is built: tests wait much, compilers and emulators never. When the first are done,
/// they are joined in the rest of the second.
fn run_all(lanes: &[&Lane], filters: &[String], folder: &Path) -> Vec<Record> {
    let floor = Floor::new(std::io::stdout());
    let (mut orders, mut here, mut emulated) = (Vec::new(), Vec::new(), VecDeque::new());
    for (number, lane) in lanes.iter().enumerate() {
        let (send, built) = channel();
        orders.push((*lane, send));
        match lane.is_quick() {
            true => here.push((number, *lane, built)),
            false => emulated.push_back((number, *lane, built)),
        }
    }
    let build_all = move || {
        for (lane, send) in orders {
            let begun = Instant::now();
            if send.send((build(lane), begun.elapsed())).is_err() {
                return;
            }
        }
    };
    let emulated = Mutex::new(emulated);
    let next = || emulated.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let one = |(number, lane, built)| (number, run(lane, built, filters, folder, floor.voice(number)));
    let mut records: Vec<(usize, Record)> = std::thread::scope(|scope| {
        scope.spawn(build_all);
        let beside = scope.spawn(|| std::iter::from_fn(next).map(one).collect::<Vec<_>>());
        let mut records: Vec<_> = here.into_iter().chain(std::iter::from_fn(next)).map(one).collect();
        records.extend(beside.join().expect("a lane that fails says so in its record"));
        records
    });
    records.sort_by_key(|(number, _)| *number);
    records.into_iter().map(|(_, record)| record).collect()
}

type Built = (Result<Ready, Failure>, Duration);

fn run(lane: &Lane, built: Receiver<Built>, filters: &[String], folder: &Path, mut out: impl Write) -> Record {
    let (ready, build_time) = built.recv().expect("the builder answers for each lane");
    let _told_or_not = writeln!(out, "\nlane {}: {}", lane.name, lane.about);
    let skip_log = folder.join(format!("{}.skips", lane.name));
    let _may_not_be_there = std::fs::remove_file(&skip_log);
    let _told_when_it_is_written_to = std::fs::create_dir_all(folder);
    let begun = Instant::now();
    let mut round = Round { lane, filters, skips: &skip_log, out: &mut out };
    let tally = ready.and_then(|ready| test(&mut round, &ready));
    conclude(lane, tally, &skip_log, (build_time, begun.elapsed()))
}

fn conclude(lane: &Lane, tally: Result<Tally, Failure>, skip_log: &Path, times: (Duration, Duration)) -> Record {
    let skipped = skips(&std::fs::read_to_string(skip_log).unwrap_or_default());
    match tally {
        Ok(tally) => Record::new(lane, tally, skipped, times),
        Err(failure) => {
            eprintln!("lane {}: {failure}", lane.name);
            let mut tally = Tally::default();
            tally.fail(failure.to_string());
            Record::new(lane, tally, skipped, times)
        }
    }
}

/// What a lane's tests need.
enum Ready {
    Command,
    Host(Vec<(String, PathBuf)>),
    Guest(guest::Load),
}

fn build(lane: &Lane) -> Result<Ready, Failure> {
    Ok(match &lane.place {
        Place::Command(_) => Ready::Command,
        Place::Host(_) => {
            build::programs()?;
            Ready::Host(build::tests(lane.suites)?)
        }
        Place::Guest(machine) if machine.arch == "arm64" => {
            let programs = build::arm64_programs()?;
            let (tests, listed_by) = (build::arm64_tests(lane.suites)?, build::tests(lane.suites)?);
            Ready::Guest(guest::Load { programs, tests, listed_by, reference: None })
        }
        Place::Guest(_) => {
            let (programs, tests) = (build::static_programs()?, build::tests(lane.suites)?);
            let reference = Some(build::top().join("target/debug/reference")).filter(|path| path.exists());
            Ready::Guest(guest::Load { programs, listed_by: tests.clone(), tests, reference })
        }
    })
}

fn test(round: &mut Round, ready: &Ready) -> Result<Tally, Failure> {
    match (&round.lane.place, ready) {
        (Place::Command(words), _) => {
            let mut tally = Tally::default();
            let mut command = Command::new(words[0]);
            command.args(&words[1..]).current_dir(build::top()).env("SKIFF_SKIP_LOG", round.skips);
            let status = host::count(&mut tally, &mut command, round.out)?;
            if !status.success() && tally.failed.is_empty() {
                return Err(Failure(format!("`{}` ended with {status}", words.join(" "))));
            }
            Ok(tally)
        }
        (Place::Host(between), Ready::Host(suites)) => host::run(round, *between, suites),
        (Place::Guest(machine), Ready::Guest(load)) => guest::run(round, machine, load),
        _ => unreachable!("what was built is for this place"),
    }
}
