//! The lifecycle as one table: what each verb makes of a container in each status, cell by cell; and verbs that come at the same
//! time, of which one wins.

use std::time::Duration;

use serde_json::json;
use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::command::{Invocation, Outcome, Running, eventually};
use skiff_integration_tests::compare::{Exemption, each};
use skiff_integration_tests::runtime::{Container, Kind, Runtime};
use skiff_integration_tests::{is_full_sweep, rounds};
use skiff_lanes::runs;

const OURS: [Exemption; 3] = [
    (Kind::Runc, "its table is its own"),
    (Kind::Crun, "its table is its own"),
    (Kind::Reference, "its table is its own"),
];

/// What is there before a verb.
const STATUSES: [&str; 7] = ["absent", "unfinished", "creating", "created", "running", "paused", "stopped"];

const ABSENT: &str = "!does not exist";
const TAKEN: &str = "!already exists";
const BUSY: &str = "!is being worked on by another command";
const IDLE: &str = "!not running";
const AWAKE: &str = "!not paused";
const BEGUN: &str = "!only a created container can be started";
const NO_EXEC: &str = "!cannot exec in a";
const ALIVE: &str = "!that is not stopped";
const CUT: &str = "!was cut short";
const OK: &str = "";
const WAITS: &str = "?";

/// A verb, its options, what follows the id, and for each status: what is said (`!`), that it waits (`?`), or the status
/// that follows, if it is another one.
type Row = (&'static str, &'static [&'static str], &'static [&'static str], [&'static str; 7]);

#[rustfmt::skip]
const TABLE: [Row; 16] = [
    //                                    absent     unfinished creating   created    running    paused     stopped
    ("state", &[], &[],                  [ABSENT,    OK,        OK,        OK,        OK,        OK,        OK]),
    ("create", &[], &[],                 ["created", TAKEN,     TAKEN,     TAKEN,     TAKEN,     TAKEN,     TAKEN]),
    ("run", &["--detach"], &[],          ["running", TAKEN,     TAKEN,     TAKEN,     TAKEN,     TAKEN,     TAKEN]),
    ("start", &[], &[],                  [ABSENT,    BEGUN,     BUSY,      "running", BEGUN,     BEGUN,     BEGUN]),
    ("exec", &[], &["/bin/true"],        [ABSENT,    NO_EXEC,   NO_EXEC,   OK,        OK,        NO_EXEC,   NO_EXEC]),
    ("exec", &["--ignore-paused"], &["/bin/true"],
                                         [ABSENT,    NO_EXEC,   NO_EXEC,   OK,        OK,        WAITS,     NO_EXEC]),
    ("ps", &["--format", "json"], &[],   [ABSENT,    OK,        OK,        OK,        OK,        OK,        OK]),
    ("events", &["--stats"], &[],        [ABSENT,    IDLE_IS,   IDLE_IS,   OK,        OK,        OK,        IDLE_IS]),
    ("update", &["--pids-limit", "50"], &[],
                                         [ABSENT,    IDLE,      BUSY,      OK,        OK,        OK,        IDLE]),
    ("pause", &[], &[],                  [ABSENT,    IDLE,      BUSY,      "paused",  "paused",  IDLE,      IDLE]),
    ("resume", &[], &[],                 [ABSENT,    AWAKE,     BUSY,      AWAKE,     AWAKE,     "running", AWAKE]),
    ("kill", &[], &["0"],                [ABSENT,    IDLE,      IDLE,      OK,        OK,        OK,        IDLE]),
    ("kill", &[], &["KILL"],             [ABSENT,    IDLE,      IDLE,      "stopped", "stopped", "stopped", IDLE]),
    // Whoever makes it finds its first process dead when the hook has ended, and takes all of it away.
    ("kill", &["--all"], &["KILL"],      [ABSENT,    OK,        OK,        "stopped", "stopped", "stopped", OK]),
    ("delete", &[], &[],                 [ABSENT,    CUT,       BUSY,      "absent",  ALIVE,     ALIVE,     "absent"]),
    ("delete", &["--force"], &[],        [OK,        "absent",  BUSY,      "absent",  "absent",  "absent",  "absent"]),
];
const IDLE_IS: &str = "!is not running: it is";

/// Brings a container to a status; what has to live on meanwhile comes back.
fn bring(container: &Container<'_>, status: &str) -> Option<Running> {
    match status {
        "absent" => None,
        "unfinished" => {
            // A maker that was killed in the middle.
            let making = making(container);
            making.signal(rustix::process::Signal::KILL);
            making.wait();
            None
        }
        "creating" => Some(making(container)),
        "created" => {
            container.create(&[]).ok();
            None
        }
        "running" => {
            container.run(&["--detach"]).ok();
            None
        }
        "paused" => {
            container.run(&["--detach"]).ok();
            container.verb("pause", &[], &[]).run().ok();
            None
        }
        "stopped" => {
            container.run(&["--detach"]).ok();
            container.kill("KILL").ok();
            container.reaches("stopped");
            None
        }
        other => panic!("there is no status {other}"),
    }
}

fn making(container: &Container<'_>) -> Running {
    let making = container.verb("create", &["--bundle", &container.bundle.path().to_string_lossy()], &[]).spawn();
    eventually("its hook runs", || container.bundle.path().join("hooked").exists().then_some(()));
    assert_eq!(container.status(), "creating");
    making
}

/// A container that takes long to be made, if it is to be met while it is.
fn bundle(status: &str) -> Bundle {
    let bundle = Bundle::sleeper();
    if !matches!(status, "unfinished" | "creating") {
        return bundle;
    }
    let script = format!("touch {}/hooked; exec sleep 60", bundle.path().display());
    bundle.edit(|config| {
        config["hooks"] = json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]});
    })
}

fn verb(container: &Container<'_>, (verb, options, rest, _): &Row) -> Invocation {
    let mut options = options.to_vec();
    let path = container.bundle.path().to_string_lossy().into_owned();
    if matches!(*verb, "create" | "run") {
        options.extend(["--bundle", &path]);
    }
    container.verb(verb, &options, rest)
}

fn check(runtime: &Runtime, status: &str, row: &Row, cell: &str) {
    let bundle = bundle(status);
    runtime.write(&bundle);
    let container = runtime.container(&bundle);
    let making = bring(&container, status);
    let what = format!("{} {:?} {:?} of one that is {status}", row.0, row.1, row.2);
    let now = || container.state().map_or("absent".to_owned(), |state| state["status"].as_str().unwrap().to_owned());
    // What else there is of "unfinished" is `creating`: nobody works on it any more.
    let before = if status == "unfinished" { "creating" } else { status };
    let after = match cell.split_at_checked(1) {
        Some(("!", words)) => {
            let outcome = verb(&container, row).run();
            assert!(outcome.code == Some(1) && outcome.stderr.contains(words), "{what}: {outcome}");
            before
        }
        Some(("?", _)) => {
            let waiting = verb(&container, row).spawn();
            std::thread::sleep(Duration::from_millis(300));
            container.verb("resume", &[], &[]).run().ok();
            waiting.wait().exits(0);
            "running"
        }
        after => {
            let outcome = verb(&container, row).run();
            assert!(outcome.succeeded(), "{what}: {outcome}");
            if after.is_some() { cell } else { before }
        }
    };
    eventually(&format!("{what} is {after} then"), || (now() == after).then_some(()));
    if let Some(making) = making {
        making.signal(rustix::process::Signal::KILL);
        making.wait();
    }
    container.delete(&["--force"]).ok();
    container.assert_gone();
}

#[runs(host, guest)]
fn each_verb_in_each_status() {
    each(&OURS, |runtime| {
        for row in &TABLE {
            for (status, cell) in STATUSES.iter().zip(row.3) {
                check(runtime, status, row, cell);
            }
        }
    });
}

/// Two verbs at the same time on a container in this status, again and again: each is done or says why not, and nothing is left.
/// `verdict` sees the two outcomes.
/// A thousand times with `SKIFF_SWEEP=full`.
fn race(status: &str, verbs: [Row; 2], verdict: impl Fn(&Outcome, &Outcome)) {
    each(&OURS, |runtime| {
        let bundle = Bundle::sleeper();
        runtime.write(&bundle);
        for round in 0..rounds(if is_full_sweep() { 1000 } else { 300 }) {
            let container = runtime.container(&bundle);
            bring(&container, status);
            let [one, other] = [0, 1].map(|at| verb(&container, &verbs[(at + round) % 2]).spawn());
            let (one, other) = (one.wait(), other.wait());
            assert!(!one.hung && !other.hung, "{one}{other}");
            if round % 2 == 0 {
                verdict(&one, &other)
            } else {
                verdict(&other, &one)
            }
            container.delete(&["--force"]).ok();
            assert_eq!(container.leftovers(), Vec::<String>::new(), "round {round}");
        }
    });
}

/// It failed, and said one of these.
fn said(outcome: &Outcome, words: &[&str]) {
    let known = words.iter().any(|words| outcome.stderr.contains(words.trim_start_matches('!')));
    assert!(outcome.succeeded() || known, "{outcome}");
}

#[runs(host)]
fn start_against_delete() {
    race("created", [("start", &[], &[], [""; 7]), ("delete", &[], &[], [""; 7])], |start, delete| {
        said(start, &[ABSENT, BUSY, BEGUN, "could not be told to start", "cannot be reached"]);
        said(delete, &[BUSY, ALIVE]);
        assert!(start.succeeded() || delete.succeeded(), "nobody won: {start}{delete}");
        assert!(!(start.succeeded() && delete.succeeded()), "both won: {start}{delete}");
    });
}

#[runs(host)]
fn delete_against_delete() {
    race("stopped", [("delete", &[], &[], [""; 7]), ("delete", &[], &[], [""; 7])], |one, other| {
        said(one, &[ABSENT, BUSY]);
        said(other, &[ABSENT, BUSY]);
        assert!(one.succeeded() != other.succeeded(), "one wins: {one}{other}");
    });
}

#[runs(host)]
fn exec_against_kill() {
    race("running", [("exec", &[], &["/bin/true"], [""; 7]), ("kill", &[], &["KILL"], [""; 7])], |exec, kill| {
        assert!(kill.succeeded(), "{kill}");
        // Its program runs, and dies with all others of the pid namespace.
        if exec.code != Some(137) {
            said(exec, &[NO_EXEC, "has ended", "was killed", "has the container ended"]);
        }
    });
}
