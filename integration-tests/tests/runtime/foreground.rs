//! `run` in the foreground: exit codes, signals passed on, children reaped, and never a missed exit.

use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::command::eventually;
use skiff_integration_tests::compare::each;
use skiff_integration_tests::rounds;
use skiff_integration_tests::runtime::Kind;
use skiff_lanes::runs;

#[runs(everywhere)]
fn exit_codes_come_back() {
    each(&[], |runtime| {
        for code in [0, 1, 7, 100, 255] {
            let bundle = Bundle::script(&format!("exit {code}"));
            let container = runtime.container(&bundle);
            container.run(&[]).exits(code);
            container.assert_gone();
        }
    });
}

#[runs(everywhere)]
fn a_signal_is_128_and_its_number() {
    // Its `run` removes the container while its `kill` still looks at it, and either may fail of that.
    each(&[(Kind::Reference, "removes what it is looking at")], |runtime| {
        for (signal, code) in [("KILL", 137), ("TERM", 143), ("USR1", 138)] {
            // Without a pid namespace init dies of any signal.
            let bundle = Bundle::script("echo up; exec sleep 1000").without_namespace("pid");
            let container = runtime.container(&bundle);
            let running = container.run_command(&[]).spawn();
            eventually("up", || running.stdout().contains("up").then_some(()));
            eventually("executed", || (container.status() == "running").then_some(()));
            container.kill(signal).ok();
            running.wait().exits(code);
            container.assert_gone();
        }
    });
}

#[runs(everywhere)]
fn signals_are_passed_on() {
    each(&[(Kind::Reference, "passes none on")], |runtime| {
        let bundle = Bundle::script(
            "for s in TERM INT HUP USR1 USR2 QUIT; do trap \"echo got $s\" $s; done; echo up; while :; do sleep 0.01; done",
        );
        let container = runtime.container(&bundle);
        let running = container.run_command(&[]).spawn();
        eventually("up", || running.stdout().contains("up").then_some(()));
        for (signal, name) in [
            (Signal::TERM, "TERM"),
            (Signal::INT, "INT"),
            (Signal::HUP, "HUP"),
            (Signal::USR1, "USR1"),
            (Signal::USR2, "USR2"),
            (Signal::QUIT, "QUIT"),
        ] {
            running.signal(signal);
            eventually(name, || running.stdout().contains(&format!("got {name}")).then_some(()));
        }
        container.kill("KILL").ok();
        running.wait().exits(137);
        container.assert_gone();
    });
}

#[test]
fn a_program_that_exits_at_once_is_never_missed() {
    each(&[], |runtime| {
        let rounds = rounds(if runtime.kind == Kind::Skiff { 500 } else { 20 });
        let bundle = Bundle::new();
        for round in 0..rounds {
            let container = runtime.container(&bundle);
            let outcome = container.run_command(&[]).patience(Duration::from_secs(20)).run();
            assert!(outcome.succeeded(), "round {round}: {outcome}");
        }
    });
}

#[runs(everywhere)]
fn orphans_are_reaped() {
    // Without a pid namespace an orphan goes to the nearest subreaper, which is the runtime in the foreground.
    each(&[(Kind::Reference, "waits for init only"), (Kind::Crun, "1.8 is no subreaper here")], |runtime| {
        let bundle = Bundle::script("(sh -c 'echo $$; exec sleep 0.05' &); exec sleep 1000").without_namespace("pid");
        let container = runtime.container(&bundle);
        let running = container.run_command(&[]).spawn();
        let orphan = eventually("the orphan's pid", || running.stdout().lines().next().map(str::to_owned));
        eventually("the orphan is reaped", || (!Path::new(&format!("/proc/{orphan}")).exists()).then_some(()));
        assert_eq!(container.status(), "running");
        container.kill("KILL").ok();
        running.wait().exits(137);
        container.assert_gone();
    });
}

#[test]
fn standard_streams_are_the_callers() {
    each(&[], |runtime| {
        let bundle = Bundle::script("cat; echo err >&2");
        let input = bundle.path().join("input");
        std::fs::write(&input, "words\n").unwrap();
        let file = std::fs::File::open(&input).unwrap();
        let outcome = runtime.container(&bundle).run_command(&[]).stdin(file).run();
        assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("words\n", "err\n"));
        assert!(outcome.succeeded());
    });
}

#[test]
fn a_container_killed_from_outside_ends_the_run() {
    each(&[], |runtime| {
        let bundle = Bundle::script("echo up; while :; do sleep 1000; done");
        let container = runtime.container(&bundle);
        let running = container.run_command(&[]).spawn();
        eventually("up", || running.stdout().contains("up").then_some(()));
        eventually("running", || (container.status() == "running").then_some(()));
        // The run in the foreground deletes too; either may be the first.
        let _either_deletes_it = container.delete(&["--force"]);
        let outcome = running.wait();
        assert!(!outcome.hung, "{outcome}");
        container.assert_gone();
    });
}
