//! Further processes in a container: what they print and exit with, what they are like, where they are, and what of wrong
//! input is said. What an attacker inside could do about them is in `exec_safety`.

use std::fs;

use serde_json::{Value, json};
use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::cgroups::{self, Layout, layout};
use skiff_integration_tests::command::{Outcome, eventually};
use skiff_integration_tests::compare::{Exemption, each};
use skiff_integration_tests::console::{ConsoleSocket, read_terminal, terminal};
use skiff_integration_tests::runtime::{Container, Kind};
use skiff_integration_tests::skip::skip;
use skiff_lanes::runs;

pub(super) const NO_EXEC: Exemption = (Kind::Reference, "has no exec");

/// Runs `check` on a running container of `bundle` with each runtime.
#[track_caller]
pub(super) fn each_running(exemptions: &[Exemption], bundle: &Bundle, check: impl Fn(&Container<'_>)) {
    let exemptions: Vec<Exemption> = exemptions.iter().copied().chain([NO_EXEC]).collect();
    each(&exemptions, |runtime| {
        let container = runtime.container(bundle);
        container.run(&["--detach"]).ok();
        check(&container);
        container.delete(&["--force"]).ok();
        container.assert_gone();
    });
}

pub(super) fn exec(container: &Container<'_>, options: &[&str], words: &[&str]) -> Outcome {
    container.verb("exec", options, words).run()
}

fn shell(container: &Container<'_>, options: &[&str], script: &str) -> Outcome {
    exec(container, options, &["/bin/sh", "-c", script])
}

/// Detached, with a pid file: the process, once it runs its program.
pub(super) fn detached(container: &Container<'_>, options: &[&str], words: &[&str]) -> u32 {
    let file = container.bundle.path().join("exec.pid");
    let mut all = vec!["--detach", "--pid-file", file.to_str().unwrap()];
    all.extend(options);
    exec(container, &all, words).ok();
    fs::read_to_string(&file).unwrap().parse().unwrap()
}

fn write_process(container: &Container<'_>, process: &Value) -> String {
    let file = container.bundle.path().join("process.json");
    fs::write(&file, process.to_string()).unwrap();
    file.to_string_lossy().into_owned()
}

/// The processes of a container, by its cgroup of version 2, in which every runtime here puts them.
pub(super) fn population(container: &Container<'_>) -> usize {
    // With version 1 alone there is no cgroup2 to count in.
    let controller = if cgroups::folder(container.pid(), "").is_some() { "" } else { "pids" };
    cgroups::read(container.pid(), controller, "cgroup.procs").lines().count()
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[runs(everywhere)]
fn output_and_exit_code() {
    each_running(&[], &Bundle::sleeper(), |container| {
        let outcome = shell(container, &[], "echo out; echo err >&2; exit 7").exits(7);
        assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("out\n", "err\n"));
        exec(container, &[], &["true"]).exits(0);
        shell(container, &[], "kill -9 $$").exits(128 + 9);
        let input = container.bundle.path().join("input");
        fs::write(&input, "in\n").unwrap();
        let input = fs::File::open(&input).unwrap();
        let outcome = container.verb("exec", &[], &["cat"]).stdin(input).run();
        assert_eq!(outcome.ok(), "in\n");
    });
}

#[runs(everywhere)]
fn a_command_alone_is_like_the_containers_own_process() {
    const SCRIPT: &str = "env | grep -v -e ^PWD -e ^SHLVL -e ^_= | sort; pwd; umask; id -u; id -g; \
        grep -E '^(Groups|Cap.*|NoNewPrivs):' /proc/self/status; grep -E 'open files|core' /proc/self/limits; \
        cat /proc/self/oom_score_adj";
    let bundle = Bundle::script(&format!("({SCRIPT}) >/dev/shm/own; while :; do sleep 1000; done")).edit(|config| {
        let process = &mut config["process"];
        process["user"] = json!({"uid": 1000, "gid": 1001, "additionalGids": [5, 7], "umask": 63});
        process["env"] = json!(["PATH=/bin", "ONE=1", "TWO=2=2"]);
        process["cwd"] = json!("/data");
        process["oomScoreAdj"] = json!(300);
    });
    let own_umask = [(Kind::Runc, "1.1 takes no umask over to exec"), (Kind::Crun, "not measured")];
    each_running(&own_umask, &bundle, |container| {
        let own = eventually("the container's own process has told", || {
            let seen = exec(container, &[], &["cat", "/dev/shm/own"]).stdout;
            seen.ends_with("300\n").then_some(seen)
        });
        let seen = shell(container, &[], SCRIPT).ok();
        assert_eq!(seen, own);
        assert!(seen.contains("TWO=2=2") && seen.contains("/data\n0077\n1000\n1001\n"), "{seen}");
    });
}

#[runs(everywhere)]
fn flags_change_the_process() {
    let bundle = Bundle::sleeper().edit(|config| config["process"]["env"] = json!(["PATH=/bin", "A=1"]));
    each_running(&[(Kind::Crun, "1.8 has no --additional-gids")], &bundle, |container| {
        let options = "--cwd /data --env A=2 --env B=3 --user 1000:1001 --additional-gids 7 --additional-gids 8 --cap CAP_NET_RAW";
        let options: Vec<&str> = options.split(' ').collect();
        let script = "pwd; echo $A $B; id -u; id -g; grep -E '^(Groups|CapBnd|CapInh|CapAmb):' /proc/self/status";
        let seen = words(&shell(container, &options, script).ok());
        let expected = "/data 2 3 1000 1001 Groups: 7 8 CapInh: 0000000000000000 CapBnd: 0000000020002420 CapAmb: 0000000000000000";
        assert_eq!(seen, expected);
        assert_eq!(shell(container, &["--user", "5"], "id -u; id -g").ok(), "5\n0\n", "the group stays");
        assert_eq!(shell(container, &["-u", "1000"], "echo $HOME").ok(), "/srv/adm\n");
        let raised = shell(container, &["--cap", "CAP_CHOWN"], "grep CapEff /proc/self/status").ok();
        assert_eq!(words(&raised), "CapEff: 0000000020000421");
    });
}

#[test]
fn no_new_privileges_can_be_asked_for() {
    let bundle = Bundle::sleeper().edit(|config| config["process"]["noNewPrivileges"] = json!(false));
    each_running(&[], &bundle, |container| {
        let flag = |options: &[&str]| words(&shell(container, options, "grep NoNewPrivs /proc/self/status").ok());
        assert_eq!(flag(&[]), "NoNewPrivs: 0");
        assert_eq!(flag(&["--no-new-privs"]), "NoNewPrivs: 1");
    });
}

#[test]
fn a_process_can_come_from_a_file() {
    each_running(&[], &Bundle::sleeper(), |container| {
        let process = json!({
            "terminal": false, "user": {"uid": 1000, "gid": 1000}, "cwd": "/data", "env": ["PATH=/bin", "X=y"],
            "args": ["sh", "-c", "id -u; pwd; echo $X $A; ulimit -n; grep -E '^(NoNew|CapBnd)' /proc/self/status"],
            "noNewPrivileges": true, "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 78, "hard": 78}],
        });
        let file = write_process(container, &process);
        let seen = words(&exec(container, &["--process", &file], &[]).ok());
        // Of what it leaves out, the capabilities are the container's own.
        assert_eq!(seen, "1000 /data y 78 CapBnd: 0000000020000420 NoNewPrivs: 1");
        let mut other = process.clone();
        other["capabilities"] = json!({"bounding": ["CAP_KILL"]});
        other.as_object_mut().unwrap().remove("rlimits");
        let file = write_process(container, &other);
        let seen = words(&exec(container, &["--process", &file], &[]).ok());
        assert!(seen.ends_with("CapBnd: 0000000000000020 NoNewPrivs: 1"), "{seen}");
        assert!(!seen.contains("y 78 "), "{seen}");
    });
}

#[runs(cgroups)]
fn a_detached_process_is_where_the_container_is() {
    each_running(&[(Kind::Crun, "not measured in its private mount namespace")], &Bundle::sleeper(), |container| {
        let pid = detached(container, &[], &["sleep", "1000"]);
        let runs = || fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap() == "sleep\x001000\0";
        if container.runtime.kind == Kind::Runc {
            eventually("runc returns before the exec", || runs().then_some(()));
        }
        assert!(runs(), "it runs its program when exec returns");
        assert_is_inside(container, pid);
        assert_eq!(container.status(), "running");
    });
}

fn assert_is_inside(container: &Container<'_>, pid: u32) {
    let init = container.pid();
    for entry in fs::read_dir(format!("/proc/{init}/ns")).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        // A time namespace for children is what unshare(1) would set, and nobody here did.
        let of = |pid| fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap();
        assert_eq!(of(pid), of(init), "{name}");
    }
    let cgroup = |pid| fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert_eq!(cgroup(pid), cgroup(init));
    let root = |pid| fs::metadata(format!("/proc/{pid}/root/")).map(|it| std::os::unix::fs::MetadataExt::ino(&it));
    assert_eq!(root(pid).unwrap(), root(init).unwrap());
}

// As an init system does that manages cgroups of its own: the container's cgroup then takes no process itself.
#[runs(cgroups)]
fn a_process_goes_beside_the_first_where_the_container_has_divided_its_cgroup() {
    let hybrid = "version 2 is beside the point for it where version 1 is used";
    each_running(&[(Kind::Runc, hybrid), (Kind::Crun, hybrid)], &Bundle::sleeper(), |container| {
        let init = container.pid();
        let Some(own) = cgroups::folder(init, "") else { return skip("no cgroup of version 2") };
        let controllers = fs::read_to_string(own.join("cgroup.controllers")).unwrap();
        let Some(controller) = controllers.split_whitespace().next() else {
            return skip("the container's cgroup has no controller of version 2");
        };
        let inner = own.join("inner");
        fs::create_dir(&inner).unwrap();
        // The program may make its child meanwhile, which is born where it was itself.
        eventually("the container's cgroup is divided", || {
            for pid in fs::read_to_string(own.join("cgroup.procs")).unwrap().lines() {
                fs::write(inner.join("cgroup.procs"), pid).unwrap();
            }
            fs::write(own.join("cgroup.subtree_control"), format!("+{controller}")).ok()
        });
        let cgroup = |pid| fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        assert_eq!(cgroup(detached(container, &[], &["sleep", "1000"])), cgroup(init));
    });
}

#[test]
fn the_process_is_a_child_of_exec_and_leads_a_session() {
    each_running(&[(Kind::Crun, "its own order of processes")], &Bundle::sleeper(), |container| {
        let file = container.bundle.path().join(container.runtime.kind.name());
        let running = container.verb("exec", &["--pid-file", file.to_str().unwrap()], &["sleep", "1000"]).spawn();
        let pid = eventually("pid file", || fs::read_to_string(&file).ok());
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        // Whoever is the parent of a detached exec, or a subreaper above it, sees the end of the process.
        assert!(status.contains(&format!("PPid:\t{}\n", running.pid())), "{status}");
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        assert_eq!((fields[2], fields[3]), (&*pid, &*pid), "process group and session");
        running.signal(rustix::process::Signal::TERM);
        running.wait().exits(128 + 15);
    });
}

// An exec that outlives its container is found by its cgroup.
#[runs(cgroups)]
fn every_kind_of_container_can_be_entered() {
    let joining = Bundle::sleeper();
    each(&[NO_EXEC, (Kind::Crun, "not measured in its private mount namespace")], |runtime| {
        let outer = runtime.container(&joining);
        outer.run(&["--detach"]).ok();
        let path = |kind: &str| format!("/proc/{}/ns/{kind}", outer.pid());
        let mut bundles = vec![
            Bundle::sleeper().without_namespace("pid"),
            Bundle::sleeper().without_namespace("network").without_namespace("uts").edit(|config| {
                config.as_object_mut().unwrap().remove("hostname");
            }),
            Bundle::sleeper().namespace("cgroup", None),
            Bundle::sleeper().user_namespace(500_000).namespace("cgroup", None),
            Bundle::sleeper().namespace("pid", Some(&path("pid"))).namespace("network", Some(&path("net"))),
        ];
        // runc 1.1 has no time namespace.
        if runtime.kind == Kind::Skiff {
            bundles.push(Bundle::sleeper().namespace("time", None).edit(|config| {
                config["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1_000_000}});
            }));
        }
        for bundle in &bundles {
            let container = runtime.container(bundle);
            container.run(&["--detach"]).ok();
            let pid = detached(&container, &[], &["sleep", "1000"]);
            assert_is_inside(&container, pid);
            container.delete(&["--force"]).ok();
            container.assert_gone();
        }
    });
}

#[runs(cgroups)]
fn a_user_namespace_keeps_ids_and_limits() {
    let bundle = Bundle::sleeper().user_namespace(500_000).edit(|config| {
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000, "additionalGids": [7]});
        config["process"]["oomScoreAdj"] = json!(300);
        config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 99, "hard": 99}]);
    });
    each_running(&[(Kind::Crun, "not measured in its private mount namespace")], &bundle, |container| {
        let script = "id -u; grep ^Groups: /proc/self/status; cat /proc/self/oom_score_adj; ulimit -n";
        assert_eq!(words(&shell(container, &[], script).ok()), "1000 Groups: 7 300 99");
        let pid = detached(container, &[], &["sleep", "1000"]);
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert!(status.contains("Uid:\t501000\t501000\t501000\t501000\n"), "{status}");
    });
    // Beyond the map there is nobody to be.
    each_running(&[], &Bundle::sleeper().user_namespace(500_000), |container| {
        exec(container, &["--user", "100000"], &["true"]).fails();
        // On cgroup v1 one that is refused was in it for a moment.
        eventually("the container has its own two processes", || (population(container) == 2).then_some(()));
    });
}

#[runs(everywhere)]
fn a_created_container_can_be_entered() {
    each(&[NO_EXEC], |runtime| {
        let bundle = Bundle::sleeper();
        let container = runtime.container(&bundle);
        container.create(&[]).ok();
        assert_eq!(shell(&container, &[], "echo inside").ok(), "inside\n");
        assert_eq!(container.status(), "created");
        container.start().ok();
        assert_eq!(shell(&container, &[], "echo inside").ok(), "inside\n");
        container.delete(&["--force"]).ok();
        container.assert_gone();
    });
}

#[test]
fn scheduling_is_that_of_the_process() {
    // With reset-on-fork whatever a process in between had been given would be lost.
    let bundle = Bundle::sleeper().edit(|config| {
        config["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 5, "flags": ["SCHED_RESET_ON_FORK"]});
    });
    let old = [(Kind::Runc, "1.1 has no scheduler"), (Kind::Crun, "1.8 has no scheduler")];
    each_running(&old, &bundle, |container| {
        let pid = detached(container, &[], &["sleep", "1000"]);
        let of = |pid: u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            let fields: Vec<String> = stat.rsplit_once(')').unwrap().1.split_whitespace().map(str::to_owned).collect();
            // nice and policy: fields 19 and 41 of proc_pid_stat(5).
            (fields[16].clone(), fields[38].clone())
        };
        assert_eq!(of(pid), ("5".to_owned(), "3".to_owned()));
        assert_eq!(of(pid), of(container.pid()));
    });
}

#[runs(everywhere)]
fn only_the_programs_own_descriptors_are_open() {
    each_running(&[], &Bundle::sleeper(), |container| {
        // ls itself has one open on what it lists.
        assert_eq!(words(&exec(container, &[], &["ls", "/proc/self/fd"]).ok()), "0 1 2 3");
        let leaky = ["sh", "-c", "exec 3</etc/passwd 4</etc/group 9</ \"$@\"", "sh"];
        let under = |options: &[&str]| {
            let mut words = vec!["exec"];
            words.extend(options);
            words.extend([&*container.id, "ls", "/proc/self/fd"]);
            container.runtime.command_under(&leaky, &words).env("SKIFF_TEST_ID", &container.id).run()
        };
        assert_eq!(words(&under(&[]).ok()), "0 1 2 3");
        assert_eq!(words(&under(&["--preserve-fds", "2"]).ok()), "0 1 2 3 4 5");
    });
}

#[test]
fn descriptors_to_preserve_must_be_there() {
    let lenient = [(Kind::Runc, "1.1 passes what is not there"), (Kind::Crun, "1.8 passes what is not there")];
    each_running(&lenient, &Bundle::sleeper(), |container| {
        exec(container, &["--preserve-fds", "3"], &["true"]).fails();
    });
}

#[test]
fn a_detached_process_has_its_terminal_sent() {
    each_running(&[], &Bundle::sleeper(), |container| {
        let socket = ConsoleSocket::listen(container.bundle.path(), &format!("c-{}", container.runtime.kind));
        let script =
            "tty; test -t 0 && test -t 1 && test -t 2 && echo x >/dev/tty && echo all; read line; echo got $line";
        let options = ["--tty", "--detach", "--console-socket", &socket.path()];
        let outcome = shell(container, &options, script);
        outcome.ok();
        let (emulator, _) = socket.receive();
        let seen = read_terminal(&emulator, Some("all"));
        assert!(seen.contains("/dev/pts/0\r\nx\r\nall"), "{seen:?}");
        rustix::io::write(&emulator, b"words\n").unwrap();
        read_terminal(&emulator, Some("got words"));
    });
}

#[test]
fn a_terminal_in_the_foreground_is_the_callers() {
    each_running(&[(Kind::Crun, "1.8 leaves the size at 0x0")], &Bundle::sleeper(), |container| {
        let (emulator, program) = terminal();
        let size = rustix::termios::Winsize { ws_row: 41, ws_col: 99, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&program, size).unwrap();
        let script = "until [ \"$(stty size)\" = '41 99' ]; do sleep 0.01; done; echo sized; id -u; stat -Lc 'owner %u' /proc/self/fd/0; read line; echo got $line; exit 6";
        let running = container.verb("exec", &["-t", "-u", "1000"], &["sh", "-c", script]).on_terminal(&program);
        let seen = read_terminal(&emulator, Some("owner"));
        assert!(seen.contains("sized\r\n1000\r\n"), "{seen:?}");
        rustix::io::write(&emulator, b"words\n").unwrap();
        read_terminal(&emulator, Some("got words"));
        running.wait().exits(6);
    });
}

#[test]
fn wrong_words_are_refused_and_nothing_is_left() {
    let lenient = [(Kind::Runc, "says it in other words"), (Kind::Crun, "says it in other words")];
    each_running(&lenient, &Bundle::sleeper(), |container| {
        exec(container, &[], &[]).fails_with(&["needs a command", "--process"]);
        exec(container, &[], &["nope"]).exits(127).fails_with(&["nope", "not found in $PATH"]);
        exec(container, &[], &[""]).exits(127).fails();
        exec(container, &[], &["/etc/passwd"]).exits(126).fails_with(&["permission denied"]);
        exec(container, &[], &["/etc"]).exits(126).fails_with(&["is a directory"]);
        exec(container, &["--cwd", "data"], &["true"]).fails_with(&["`process.cwd` is `data`", "absolute"]);
        exec(container, &["--cwd", "/etc/passwd"], &["true"]).fails_with(&["process.cwd", "/etc/passwd"]);
        exec(container, &["--cwd", "/proc/self/fd/3"], &["true"]).fails();
        exec(container, &["--env", "A"], &["true"]).fails_with(&["process.env", "`A`"]);
        exec(container, &["--user", "adm"], &["true"]).fails_with(&["--user adm", "UID"]);
        exec(container, &["--cap", "CAP_FLY"], &["true"]).fails_with(&["CAP_FLY"]);
        exec(container, &["--cgroup", "/sub"], &["true"]).fails_with(&["--cgroup /sub", "make it first"]);
        exec(container, &["--cgroup", "../.."], &["true"]).fails_with(&["--cgroup ../..", "below the container's own"]);
        exec(container, &["--cgroup", "no-such:/"], &["true"]).fails_with(&["`no-such`"]);
        exec(container, &["--apparmor", "x"], &["true"]).fails_with(&["process.apparmorProfile"]);
        exec(container, &["--detach", "--tty"], &["true"]).fails_with(&["--console-socket"]);
        exec(container, &["--console-socket", "/nope"], &["true"]).fails_with(&["--console-socket"]);
        exec(container, &["--pid-file", "/nope/file"], &["true"]).fails_with(&["/nope/file", "--pid-file"]);
        exec(container, &["--process", "/nope"], &[]).fails_with(&["/nope", "--process"]);
        for (text, said) in [
            ("{", "is not a valid OCI process"),
            (r#"{"cwd":"/","user":{"uid":-1},"args":["true"]}"#, "user.uid"),
            (r#"{"cwd":"/","user":{},"args":[]}"#, "process.args"),
            (r#"{"cwd":"x","user":{},"args":["true"]}"#, "process.cwd"),
            (r#"{"cwd":"/","user":{},"args":["true"],"apparmorProfile":"x"}"#, "apparmorProfile"),
            (r#"{"cwd":"/","user":{},"args":["true"],"execCPUAffinity":{"initial":"x"}}"#, "execCPUAffinity.initial"),
        ] {
            let file = container.bundle.path().join("bad.json");
            fs::write(&file, text).unwrap();
            let pid_file = container.bundle.path().join("never");
            let options = ["--process", file.to_str().unwrap(), "--pid-file", pid_file.to_str().unwrap()];
            exec(container, &options, &[]).fails_with(&[said]);
            assert!(!pid_file.exists(), "{text}");
        }
        // On cgroup v1 one that is refused was in it for a moment.
        eventually("the container has its own two processes", || (population(container) == 2).then_some(()));
        assert_eq!(container.status(), "running");
    });
}

#[test]
fn a_program_that_cannot_be_executed_leaves_no_pid_file() {
    let bundle = Bundle::sleeper().file("/data/bad", 0o755, "\x7fELF, or so it says");
    let kept = [(Kind::Runc, "writes it early and leaves it"), (Kind::Crun, "writes it early and leaves it")];
    each_running(&kept, &bundle, |container| {
        let file = container.bundle.path().join("exec.pid");
        let options = ["--detach", "--pid-file", file.to_str().unwrap()];
        // Found and executable: only the exec itself tells.
        exec(container, &options, &["/data/bad"]).exits(126).fails_with(&["exec /data/bad: exec format error"]);
        exec(container, &options, &["nope"]).exits(127).fails();
        assert!(!file.exists());
        assert_eq!(population(container), 2);
    });
}

#[test]
fn absent_and_stopped_containers_are_refused() {
    each(&[NO_EXEC], |runtime| {
        let bundle = Bundle::new();
        let container = runtime.container(&bundle);
        exec(&container, &[], &["true"]).fails();
        container.create(&[]).ok();
        container.start().ok();
        container.reaches("stopped");
        let said = exec(&container, &[], &["true"]).fails();
        if runtime.kind == Kind::Skiff {
            assert!(said.contains("cannot exec in a stopped container"), "{said}");
        }
        container.delete(&[]).ok();
        container.assert_gone();
    });
}

fn freezer(container: &Container<'_>, frozen: bool) {
    let (file, word) = match (layout(), frozen) {
        (Layout::Unified, true) => ("cgroup.freeze", "1"),
        (Layout::Unified, false) => ("cgroup.freeze", "0"),
        (Layout::Legacy, true) => ("freezer.state", "FROZEN"),
        (Layout::Legacy, false) => ("freezer.state", "THAWED"),
    };
    let folder = cgroups::folder(container.pid(), "freezer").expect("the container has a freezer");
    fs::write(folder.join(file), word).unwrap();
}

#[test]
fn a_paused_container_is_refused_or_waited_for() {
    let own = [(Kind::Crun, "has no --ignore-paused")];
    each_running(&own, &Bundle::sleeper(), |container| {
        freezer(container, true);
        container.reaches("paused");
        exec(container, &[], &["true"]).fails_with(&["paused", "--ignore-paused"]);
        let waiting = container.verb("exec", &["--ignore-paused"], &["sh", "-c", "echo resumed"]).spawn();
        assert_eq!(waiting.stdout(), "");
        freezer(container, false);
        assert_eq!(waiting.wait().ok(), "resumed\n");
    });
}

#[test]
fn the_end_of_the_container_ends_its_processes() {
    each_running(&[], &Bundle::sleeper(), |container| {
        let pid = detached(container, &[], &["sleep", "1000"]);
        let file = container.bundle.path().join(container.runtime.kind.name());
        let running = container.verb("exec", &["--pid-file", file.to_str().unwrap()], &["sleep", "1000"]).spawn();
        eventually("its pid is known", || file.exists().then_some(()));
        container.kill("KILL").ok();
        running.wait().exits(128 + 9);
        container.reaches("stopped");
        eventually("it has ended", || {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z')).then_some(())
        });
    });
}

#[test]
fn a_record_without_an_inside_is_refused() {
    each(&[NO_EXEC, (Kind::Runc, "keeps another record"), (Kind::Crun, "keeps another record")], |runtime| {
        let bundle = Bundle::sleeper();
        let container = runtime.container(&bundle);
        container.run(&["--detach"]).ok();
        let file = runtime.root().join(&container.id).join("state.json");
        let mut record: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        record.as_object_mut().unwrap().remove("interior").expect("the record has it");
        fs::write(&file, record.to_string()).unwrap();
        exec(&container, &[], &["true"]).fails_with(&["create it again"]);
    });
}
