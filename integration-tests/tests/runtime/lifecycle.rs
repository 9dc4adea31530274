//! Lifecycle: create, start, state, kill, delete, list, run, spec, and their refusals in the wrong state.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::command::eventually;
use skiff_integration_tests::compare::each;
use skiff_integration_tests::runtime::{Container, Kind, Runtime};
use skiff_integration_tests::skip::skip;
use skiff_lanes::runs;

#[runs(everywhere)]
fn created_started_stopped_deleted() {
    each(&[], |runtime| {
        let bundle = Bundle::sleeper();
        let container = runtime.container(&bundle);
        assert_eq!(container.status(), "absent");
        container.create(&[]).ok();
        assert_eq!(container.status(), "created");
        container.start().ok();
        assert_eq!(container.status(), "running");
        container.kill("KILL").ok();
        container.reaches("stopped");
        container.delete(&[]).ok();
        assert_eq!(container.status(), "absent");
        container.assert_gone();
    });
}

#[test]
fn program_does_not_run_before_start() {
    each(&[], |runtime| {
        let bundle = Bundle::script("echo ran >/data/proof").writable();
        let proof = bundle.rootfs().join("data/proof");
        let container = runtime.container(&bundle);
        container.create(&[]).ok();
        assert!(!proof.exists(), "created is not started");
        container.start().ok();
        container.reaches("stopped");
        assert_eq!(fs::read_to_string(&proof).unwrap(), "ran\n");
        container.delete(&[]).ok();
        container.assert_gone();
    });
}

#[runs(everywhere)]
fn state_document_has_what_the_spec_asks() {
    each(&[], |runtime| {
        let bundle = Bundle::sleeper().edit(|config| config["annotations"] = json!({"org.example.a": "b"}));
        let container = runtime.container(&bundle);
        container.create(&[]).ok();
        let state = container.state().unwrap();
        assert_eq!(state["id"], container.id.as_str());
        assert_eq!(state["status"], "created");
        assert_eq!(state["bundle"], bundle.path().to_string_lossy().as_ref());
        assert!(state["ociVersion"].as_str().unwrap().starts_with("1."), "{state}");
        assert_eq!(state["annotations"]["org.example.a"], "b");
        let pid = state["pid"].as_u64().unwrap();
        assert!(fs::metadata(format!("/proc/{pid}")).is_ok(), "pid of the host's namespace: {state}");
        container.start().ok();
        assert_eq!(container.pid(), u32::try_from(pid).unwrap(), "start keeps the process");
        container.kill("KILL").ok();
        container.reaches("stopped");
        let stopped = container.state().unwrap();
        // libcontainer goes on to report the ended process.
        let no_pid = stopped["pid"].is_null() || stopped["pid"] == 0;
        assert!(no_pid || runtime.kind == Kind::Reference, "{stopped}");
    });
}

#[test]
fn pid_file_has_the_pid_of_init() {
    each(&[], |runtime| {
        let bundle = Bundle::sleeper();
        let file = bundle.path().join("init.pid");
        let container = runtime.container(&bundle);
        container.create(&["--pid-file", &file.to_string_lossy()]).ok();
        assert_eq!(fs::read_to_string(&file).unwrap(), container.pid().to_string());
    });
}

#[runs(everywhere)]
fn run_detached_leaves_it_running() {
    each(&[], |runtime| {
        let bundle = Bundle::sleeper();
        let file = bundle.path().join("init.pid");
        let container = runtime.container(&bundle);
        container.run(&["--detach", "--pid-file", &file.to_string_lossy()]).ok();
        assert_eq!(container.status(), "running");
        assert_eq!(fs::read_to_string(&file).unwrap(), container.pid().to_string());
        container.kill("KILL").ok();
        container.reaches("stopped");
        container.delete(&[]).ok();
        container.assert_gone();
    });
}

#[test]
fn run_deletes_unless_told_to_keep() {
    let no_keep = [(Kind::Reference, "has no --keep"), (Kind::Crun, "crun 1.8 has no --keep")];
    each(&no_keep, |runtime| {
        let bundle = Bundle::new();
        let gone = runtime.container(&bundle);
        gone.run(&[]).ok();
        assert_eq!(gone.status(), "absent");
        gone.assert_gone();
        let kept = runtime.container(&bundle);
        kept.run(&["--keep"]).ok();
        assert_eq!(kept.status(), "stopped");
        kept.delete(&[]).ok();
        kept.assert_gone();
    });
}

#[test]
fn verbs_are_refused_for_an_absent_container() {
    each(&[], |runtime| {
        let bundle = Bundle::new();
        let container = runtime.container(&bundle);
        for outcome in [container.start(), container.kill("KILL"), container.delete(&[])] {
            outcome.fails();
        }
        // containerd and docker look for these words; podman knows crun's.
        let words = if runtime.kind == Kind::Crun { "No such file" } else { "does not exist" };
        container.verb("state", &[], &[]).run().fails_with(&[words]);
        container.delete(&["--force"]).ok();
    });
}

#[test]
fn verbs_are_refused_in_the_wrong_state() {
    each(&[(Kind::Reference, "libcontainer's builder starts what it likes")], |runtime| {
        let bundle = Bundle::sleeper();
        let container = runtime.container(&bundle);
        container.create(&[]).ok();
        container.start().ok();
        container.start().fails();
        container.delete(&[]).fails();
        assert_eq!(container.status(), "running", "a refused verb changes nothing");
        container.create(&[]).fails();
        container.run(&[]).fails();
        assert_eq!(container.status(), "running", "a duplicate id does not harm the first");
        container.kill("KILL").ok();
        container.reaches("stopped");
        container.start().fails();
        container.kill("KILL").fails();
        container.delete(&[]).ok();
        container.assert_gone();
    });
}

#[test]
fn delete_takes_a_created_container_as_runc_does() {
    let strict = [(Kind::Crun, "crun follows the letter: only stopped"), (Kind::Reference, "as crun")];
    each(&strict, |runtime| {
        let bundle = Bundle::sleeper();
        let container = runtime.container(&bundle);
        container.create(&[]).ok();
        container.delete(&[]).ok();
        container.assert_gone();
    });
}

#[runs(everywhere)]
fn delete_force_kills_in_every_state() {
    each(&[], |runtime| {
        let bundle = Bundle::sleeper();
        let reach: [fn(&Container); 3] = [
            |container| drop(container.create(&[]).ok()),
            |container| drop(container.run(&["--detach"]).ok()),
            |container| {
                container.run(&["--detach"]).ok();
                container.kill("KILL").ok();
                container.reaches("stopped");
            },
        ];
        for go in reach {
            let container = runtime.container(&bundle);
            go(&container);
            container.delete(&["--force"]).ok();
            container.assert_gone();
        }
    });
}

#[test]
fn kill_knows_names_and_numbers() {
    let exempt = [
        (Kind::Crun, "crun 1.8 takes an unknown name for signal 0"),
        (Kind::Reference, crate::terminal::IGNORED_BY_CALLER),
    ];
    each(&exempt, |runtime| {
        let bundle = Bundle::script(
            "trap 'echo usr1 >>/data/log' USR1; trap 'echo hup >>/data/log' HUP; echo up >/data/log; while :; do sleep 0.01; done",
        )
        .writable();
        let log = bundle.rootfs().join("data/log");
        let says = |what: &str| {
            eventually(what, || fs::read_to_string(&log).ok().filter(|text| text.ends_with(what)));
        };
        let container = runtime.container(&bundle);
        container.run(&["--detach"]).ok();
        says("up\n");
        for (signal, line) in [("USR1", "usr1\n"), ("SIGHUP", "hup\n"), ("10", "usr1\n"), ("1", "hup\n")] {
            container.kill(signal).ok();
            says(line);
        }
        for nonsense in ["NOSUCH", "1000", "-1x"] {
            container.kill(nonsense).fails();
        }
        assert_eq!(container.status(), "running");
    });
}

#[test]
fn kill_defaults_to_term() {
    each(&[(Kind::Reference, "wants a signal")], |runtime| {
        let bundle = Bundle::sleeper();
        let container = runtime.container(&bundle);
        container.run(&["--detach"]).ok();
        // The shell's trap may not be set yet, and init without a handler ignores TERM: repeat.
        eventually("stopped by TERM", || {
            let _stopped_meanwhile = container.verb("kill", &[], &[]).run();
            (container.status() == "stopped").then_some(())
        });
    });
}

#[runs(cgroups)]
fn kill_all_reaches_every_process_without_a_pid_namespace() {
    each(&[(Kind::Reference, "no --all")], |runtime| {
        if runtime.is_wrapped() {
            return;
        }
        let bundle = Bundle::script("sleep 1000 & sleep 1000 & wait").without_namespace("pid");
        let container = runtime.container(&bundle);
        container.run(&["--detach"]).ok();
        container.verb("kill", &["--all"], &["KILL"]).run().ok();
        container.reaches("stopped");
        container.delete(&[]).ok();
        container.assert_gone();
    });
}

#[test]
fn an_init_that_dies_before_start_is_stopped() {
    each(&[], |runtime| {
        let bundle = Bundle::sleeper();
        let container = runtime.container(&bundle);
        container.create(&[]).ok();
        Command::new("kill").args(["-9", &container.pid().to_string()]).status().unwrap();
        container.reaches("stopped");
        container.start().fails();
        container.delete(&["--force"]).ok();
        container.assert_gone();
    });
}

#[runs(everywhere)]
fn a_reused_pid_is_never_taken_for_the_container() {
    each(&[(Kind::Reference, "libcontainer 0.7 keeps no start time")], |runtime| {
        let bundle = Bundle::sleeper();
        let container = runtime.container(&bundle);
        container.create(&[]).ok();
        container.start().ok();
        let pid = container.pid();
        container.kill("KILL").ok();
        let Some(mut stranger) = process_with_pid(pid) else {
            return skip("the pid of the ended init is not given back here");
        };
        assert_eq!(container.status(), "stopped", "pid {pid} is a stranger now");
        container.kill("KILL").fails();
        container.delete(&["--force"]).ok();
        assert!(stranger.try_wait().unwrap().is_none(), "the stranger was killed");
        stranger.kill().unwrap();
        stranger.wait().unwrap();
        container.assert_gone();
    });
}

// Steers the kernel's counter so that the next process gets `pid` (proc_sys_kernel(5), ns_last_pid).
fn process_with_pid(pid: u32) -> Option<std::process::Child> {
    eventually("the pid is free", || (!std::path::Path::new(&format!("/proc/{pid}")).exists()).then_some(()));
    for _ in 0..2000 {
        fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).ok()?;
        let mut child = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
        if child.id() == pid {
            return Some(child);
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    None
}

#[runs(everywhere)]
fn list_has_a_table_json_and_quiet() {
    each(&[(Kind::Reference, "has no list")], |runtime| {
        let bundle = Bundle::sleeper();
        let container = runtime.container(&bundle);
        let list = |options: &[&str]| runtime.command(&[&["list"], options].concat()).run().ok();
        assert_eq!(list(&["--quiet"]), "");
        container.create(&[]).ok();
        assert_eq!(list(&["--quiet"]).trim(), container.id);
        assert_eq!(list(&["-q"]).trim(), container.id);
        let table = list(&[]);
        let head: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
        assert_eq!(head[1..4], ["PID", "STATUS", "BUNDLE"]);
        assert_eq!(head[0], if runtime.kind == Kind::Crun { "NAME" } else { "ID" });
        let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(row[..3], [&*container.id, &*container.pid().to_string(), "created"]);
        assert_eq!(row[3], bundle.path().to_string_lossy());
        let json: Value = serde_json::from_str(&list(&["--format", "json"])).unwrap();
        assert_eq!(json[0]["id"], container.id.as_str());
        assert_eq!(json[0]["status"], "created");
        assert_eq!(json[0]["pid"], container.pid());
        assert_eq!(json[0]["bundle"], bundle.path().to_string_lossy().as_ref());
        runtime.command(&["list", "--format", "nonsense"]).run().fails();
    });
}

#[runs(everywhere)]
fn spec_writes_a_config_that_runs_and_never_overwrites() {
    each(&[(Kind::Reference, "has no spec")], |runtime| {
        let mut bundle = Bundle::new();
        runtime.command(&["spec"]).cwd(bundle.path()).run().ok();
        let path = bundle.path().join("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(config["process"]["args"], json!(["sh"]));
        assert_eq!(config["process"]["terminal"], true);
        assert_eq!(config["root"]["path"], "rootfs");
        runtime.command(&["spec"]).cwd(bundle.path()).run().fails();
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["sh", "-c", "echo $$"]);
        bundle.config = config;
        assert_eq!(runtime.run(&bundle).ok(), "1\n");
    });
}

#[test]
fn spec_rootless_maps_the_user_and_takes_a_bundle() {
    each(&[(Kind::Reference, "has no spec")], |runtime| {
        let (runtime, _copy) = runtime.for_everybody();
        let bundle = Bundle::new();
        let folder = bundle.path().to_string_lossy();
        // Where every container has a user namespace, bundles are open to everybody.
        fs::set_permissions(bundle.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        runtime.command(&["spec", "--rootless", "--bundle", &folder]).user(1000).cwd("/".as_ref()).run().fails();
        std::os::unix::fs::chown(bundle.path(), Some(1000), Some(1000)).unwrap();
        let crun_takes_no_bundle_here = runtime.kind == Kind::Crun;
        let command = if crun_takes_no_bundle_here {
            runtime.command(&["spec", "--rootless"]).cwd(bundle.path())
        } else {
            runtime.command(&["spec", "--rootless", "--bundle", &folder])
        };
        command.run().ok();
        let config: Value = serde_json::from_slice(&fs::read(bundle.path().join("config.json")).unwrap()).unwrap();
        let namespaces = config["linux"]["namespaces"].as_array().unwrap();
        assert!(namespaces.iter().any(|entry| entry["type"] == "user"), "{config}");
        if runtime.kind != Kind::Crun {
            // crun makes the mapping when it runs; runc writes it down.
            assert_eq!(config["linux"]["uidMappings"][0]["size"], 1);
            assert!(config["linux"]["resources"].is_null(), "a user without rights sets no limits");
        }
    });
}

#[test]
fn bundle_defaults_to_the_working_directory() {
    each(&[(Kind::Reference, "wants a bundle")], |runtime| {
        let bundle = Bundle::script("echo here");
        runtime.write(&bundle);
        let container = runtime.container(&bundle);
        let outcome = runtime.command(&["run", &container.id]).cwd(bundle.path()).run();
        assert_eq!(outcome.ok(), "here\n");
    });
}

#[test]
fn log_goes_to_a_file_in_json() {
    each(&[(Kind::Reference, "logs nothing")], |runtime| {
        let bundle = Bundle::new();
        let words = if runtime.kind == Kind::Crun { "No such file" } else { "does not exist" };
        let log = bundle.path().join("log.json");
        let log_path = log.to_string_lossy();
        let arguments = ["--log", &*log_path, "--log-format", "json", "start", &bundle.id];
        runtime.command(&arguments).run().fails();
        let text = fs::read_to_string(&log).unwrap();
        let line: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(line["level"], "error", "{text}");
        assert!(line["msg"].as_str().unwrap().contains(words), "{text}");
        assert!(line["time"].as_str().unwrap().contains('T'), "RFC 3339: {text}");
    });
}

#[test]
fn two_creates_of_one_id_at_once_make_one_container() {
    each(&[(Kind::Reference, "no lock"), (Kind::Runc, "runc 1.1 checks, then makes")], |runtime| {
        let bundle = Bundle::sleeper();
        runtime.write(&bundle);
        let container = runtime.container(&bundle);
        let create = |runtime: &Runtime| {
            let path = bundle.path().to_string_lossy().into_owned();
            runtime.command(&["create", "--bundle", &path, &container.id]).spawn()
        };
        let racers: Vec<_> = (0..4).map(|_| create(runtime)).collect();
        let won = racers.into_iter().map(|racer| racer.wait()).filter(|outcome| outcome.succeeded()).count();
        assert_eq!(won, 1);
        assert_eq!(container.status(), "created");
        container.delete(&["--force"]).ok();
        container.assert_gone();
    });
}

// An engine and its cleaning up may both come; whoever comes second finds that it is done.
/// crun's flag; the bundle is still where the root file system is.
#[test]
fn a_bundle_may_be_described_by_another_file() {
    each(&[(Kind::Runc, "has no such flag"), (Kind::Reference, "has no such flag")], |runtime| {
        let bundle = Bundle::script("echo other");
        runtime.write(&bundle);
        let (folder, other) = (bundle.path().to_string_lossy(), bundle.path().join("other.json"));
        fs::rename(bundle.path().join("config.json"), &other).unwrap();
        let container = runtime.container(&bundle);
        let run = |config: &str| runtime.command(&["run", "--bundle", &folder, "--config", config, &container.id]);
        assert_eq!(run(&other.to_string_lossy()).run().ok(), "other\n");
        assert_eq!(run("other.json").cwd(bundle.path()).run().ok(), "other\n");
        if runtime.kind == Kind::Skiff {
            run("/none.json").run().fails_with(&["`/none.json`", "No such file"]);
        }
        container.assert_gone();
    });
}

#[test]
fn deletes_by_force_at_once_all_succeed() {
    let own = "says what it was doing when the other was faster";
    each(&[(Kind::Runc, own), (Kind::Crun, own), (Kind::Reference, own)], |runtime| {
        let bundle = Bundle::sleeper();
        let container = runtime.container(&bundle);
        container.run(&["--detach"]).ok();
        let deletes: Vec<_> = (0..8).map(|_| container.verb("delete", &["--force"], &[]).spawn()).collect();
        for delete in deletes {
            delete.wait().exits(0);
        }
        container.assert_gone();
    });
}
