//! Crash-safety: create, start and delete are killed at their system calls, one after the other; afterwards the state
//! loads or is absent, and `delete --force` removes everything.

use std::time::{Duration, Instant};

use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::compare::each;
use skiff_integration_tests::is_full_sweep;
use skiff_integration_tests::leftovers::until_none;
use skiff_integration_tests::runtime::{Container, Kind, Runtime};
use skiff_integration_tests::skip::skip;
use skiff_integration_tests::strace;
use skiff_lanes::runs;

/// How many points of each verb are tried unless `SKIFF_SWEEP=full`.
const QUICK: usize = 50;

/// How long one sweep may go on unless `SKIFF_SWEEP=full`.
const BUDGET: Duration = Duration::from_secs(60);

/// A verb and how its container is brought to where the verb begins.
struct Verb {
    name: &'static str,
    before: fn(&Container<'_>),
    options: &'static [&'static str],
}

const CREATE: Verb = Verb { name: "create", before: |_| {}, options: &[] };
const RUN: Verb = Verb { name: "run", before: |_| {}, options: &["--detach"] };
const START: Verb = Verb { name: "start", before: |container| drop(container.create(&[]).ok()), options: &[] };
const DELETE: Verb = Verb {
    name: "delete",
    before: |container| {
        container.run(&["--detach"]).ok();
        container.kill("KILL").ok();
        container.reaches("stopped");
    },
    options: &[],
};
const DELETE_FORCE: Verb =
    Verb { name: "delete", before: |container| drop(container.run(&["--detach"]).ok()), options: &["--force"] };

/// Performs the verb under strace with `words`, whatever comes of it.
fn perform(verb: &Verb, container: &Container<'_>, words: &[&str]) {
    let invocation = match verb.name {
        "create" | "run" => container.under(words, verb.name, verb.options),
        _ => {
            let mut arguments = vec![verb.name];
            arguments.extend(verb.options);
            arguments.push(&container.id);
            container.runtime.command_under(words, &arguments).env("SKIFF_TEST_ID", &container.id)
        }
    };
    let outcome = invocation.run();
    assert!(!outcome.hung, "{outcome}");
}

/// The calls at which to die: each name, and how many times it is made.
fn points(verb: &Verb, runtime: &Runtime, bundle: &Bundle, follow: bool) -> Vec<(String, usize)> {
    let container = runtime.container(bundle);
    (verb.before)(&container);
    let log = bundle.path().join("strace.log");
    perform(verb, &container, &["strace", "-D", "-f", "-qq", "-o", &log.to_string_lossy()]);
    container.delete(&["--force"]).ok();
    container.assert_gone();
    let counts = strace::counts(&log, follow);
    let all: Vec<(String, usize)> =
        counts.into_iter().flat_map(|(name, count)| (1..=count).map(move |nth| (name.clone(), nth))).collect();
    if is_full_sweep() {
        return all;
    }
    // Evenly over all of them, and each name at least once.
    let step = all.len().div_ceil(QUICK).max(1);
    let chosen = |(index, point): &(usize, &(String, usize))| index % step == 0 || point.1 == 1;
    all.iter().enumerate().filter(chosen).map(|(_, point)| point.clone()).collect()
}

fn survives(
    verb: &Verb,
    runtime: &Runtime,
    bundle: &Bundle,
    name: &str,
    nth: usize,
    follow: bool,
) -> Result<(), String> {
    let container = runtime.container(bundle);
    (verb.before)(&container);
    let death = strace::death(name, nth);
    let log = bundle.path().join("strace.log");
    let log = log.to_string_lossy();
    let mut words = vec!["strace", "-D"];
    if follow {
        words.push("-f");
    }
    words.extend(["-qq", "-o", &*log, "-e", &*death]);
    perform(verb, &container, &words);
    let describe = |what: String| {
        format!("{} {:?} killed at {name} #{nth} (children too: {follow}): {what}", verb.name, verb.options)
    };
    let state = container.verb("state", &[], &[]).run();
    let words = if runtime.kind == Kind::Crun { "No such file" } else { "does not exist" };
    let absent = state.code == Some(1) && state.stderr.contains(words);
    let loads = state.succeeded() && serde_json::from_str::<serde_json::Value>(&state.stdout).is_ok();
    let mut wrong = Vec::new();
    if !absent && !loads {
        wrong.push(format!("{state}"));
    }
    let list = runtime.command(&["list"]).run();
    if !list.succeeded() {
        wrong.push(format!("{list}"));
    }
    let deleted = container.delete(&["--force"]);
    if !deleted.succeeded() {
        wrong.push(format!("{deleted}"));
    }
    wrong.extend(until_none(|| container.leftovers()).iter().map(|line| format!("left behind: {line}")));
    if wrong.is_empty() { Ok(()) } else { Err(describe(wrong.join("\n"))) }
}

fn sweep(verb: &Verb, follow: bool) {
    if !strace::available() {
        return skip("strace is not installed");
    }
    let unsafe_ones = [
        (Kind::Runc, "promises nothing here"),
        (Kind::Crun, "promises nothing here"),
        (Kind::Reference, "promises nothing here"),
    ];
    each(&unsafe_ones, |runtime| {
        let bundle = Bundle::sleeper();
        let points = points(verb, runtime, &bundle, follow);
        assert!(points.len() > 10, "the trace has too few calls: {points:?}");
        // An emulated machine takes seconds for what takes a tenth here: the points are tried in a scattered order, so
        // that those tried before the time is up are of all kinds.
        let deadline = Instant::now() + BUDGET;
        // A prime that does not divide the length visits every index once.
        let stride =
            [37, 41, 43, 47, 53].into_iter().find(|prime| points.len() % prime != 0).expect("a product too large");
        let scattered = (0..points.len()).map(|index| &points[index * stride % points.len()]);
        let mut tried = 0;
        let mut wrong = Vec::new();
        for (name, nth) in scattered.take_while(|_| is_full_sweep() || Instant::now() < deadline) {
            tried += 1;
            wrong.extend(survives(verb, runtime, &bundle, name, *nth, follow).err());
        }
        println!("{} {:?}: {tried} of {} points", verb.name, verb.options, points.len());
        assert!(tried > 5, "too slow to say anything");
        assert!(wrong.is_empty(), "{} of {} points:\n{}", wrong.len(), points.len(), wrong.join("\n"));
    });
}

#[runs(host)]
fn create_killed_at_each_call() {
    sweep(&CREATE, false);
}

#[runs(host)]
fn create_and_its_init_killed_at_each_call() {
    sweep(&CREATE, true);
}

#[runs(host)]
fn run_killed_at_each_call() {
    sweep(&RUN, false);
}

#[runs(host)]
fn start_killed_at_each_call() {
    sweep(&START, false);
}

#[runs(host)]
fn delete_killed_at_each_call() {
    sweep(&DELETE, false);
}

#[runs(host)]
fn delete_by_force_killed_at_each_call() {
    sweep(&DELETE_FORCE, false);
}
