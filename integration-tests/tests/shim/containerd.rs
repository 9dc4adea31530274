//! Debian's containerd drives the shim, and `ctr` drives containerd: with folders and a socket of their own, an image
//! that is made here, and no network.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use skiff_integration_tests::command::{Invocation, Outcome, Running, eventually};
use skiff_integration_tests::runtime::{Kind, Runtime, on_path};
use skiff_integration_tests::{cgroups, image, leftovers, skip};
use skiff_lanes::runs;
use tempfile::TempDir;

use crate::harness::{binary, signal, text};

const IMAGE: &str = image::NAME;
const RUNTIME: &str = "io.containerd.skiff.v1";

/// One containerd, started by its test.
struct Containerd {
    folder: TempDir,
    /// containerd's namespace; every cgroup and every process of this test has it in its name or environment.
    id: String,
    program: PathBuf,
    server: Option<Running>,
}

/// Runs a test over skiff and over runc.
fn over_each(test: impl Fn(Containerd)) {
    let Some(program) = on_path("containerd").filter(|_| on_path("ctr").is_some()) else {
        return skip::skip("containerd is not installed");
    };
    for runtime in Runtime::wanted() {
        if matches!(runtime.kind, Kind::Skiff | Kind::Runc) {
            println!("over {}", runtime.kind);
            test(Containerd::new(&runtime, program.clone()));
        }
    }
}

impl Containerd {
    fn new(runtime: &Runtime, program: PathBuf) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = format!("skt-ctd-{}-{}x", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = tempfile::Builder::new().prefix("skc-").tempdir().unwrap();
        let programs = folder.path().join("bin");
        std::fs::create_dir(&programs).unwrap();
        // The shim takes the `skiff` that lies beside it.
        std::fs::copy(binary(), programs.join("containerd-shim-skiff-v1")).unwrap();
        std::os::unix::fs::symlink(&runtime.binary, programs.join("skiff")).unwrap();
        let config = format!(
            "version = 2\nroot = {root:?}\nstate = {state:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = {socket:?}\n[ttrpc]\naddress = {ttrpc:?}\n",
            root = folder.path().join("root"),
            state = folder.path().join("state"),
            socket = folder.path().join("c.sock"),
            ttrpc = folder.path().join("c.sock.ttrpc"),
        );
        std::fs::write(folder.path().join("config.toml"), config).unwrap();
        let mut containerd = Self { folder, id, program, server: None };
        containerd.start();
        let image = image::make(containerd.folder.path());
        containerd.ctr(&["images", "import", "--snapshotter", "native", &text(&image.archive)]).ok();
        containerd
    }

    fn start(&mut self) {
        let path =
            format!("{}:{}", self.folder.path().join("bin").display(), std::env::var("PATH").unwrap_or_default());
        let config = text(&self.folder.path().join("config.toml"));
        let server = Invocation::new(&self.program, &["--config", &config])
            .env("PATH", &path)
            .env("SKIFF_SHIM_SOCKET_DIR", &text(&self.folder.path().join("s")))
            .env("SKIFF_TEST_ID", &self.id)
            .patience(Duration::from_secs(3600))
            .spawn();
        self.server = Some(server);
        let socket = self.folder.path().join("c.sock");
        eventually("containerd answers", || (socket.exists() && self.ctr(&["version"]).succeeded()).then_some(()));
    }

    /// Ends it as a crash does.
    fn crash(&mut self) {
        let server = self.server.take().unwrap();
        server.signal(Signal::KILL);
        server.wait();
        // It would be found before the next one has made its own.
        std::fs::remove_file(self.folder.path().join("c.sock")).unwrap();
    }

    fn command(&self, words: &[&str]) -> Invocation {
        let socket = text(&self.folder.path().join("c.sock"));
        let mut all = vec!["--address", &*socket, "--namespace", &*self.id];
        all.extend(words);
        Invocation::new("ctr", &all)
    }

    fn ctr(&self, words: &[&str]) -> Outcome {
        self.command(words).run()
    }

    /// `ctr run` with these options, for container `id`.
    fn run(&self, options: &[&str], id: &str, program: &[&str]) -> Outcome {
        self.run_with(RUNTIME, options, id, program).run()
    }

    fn run_with(&self, runtime: &str, options: &[&str], id: &str, program: &[&str]) -> Invocation {
        let mut words = vec!["run", "--snapshotter", "native", "--runtime", runtime];
        words.extend(options);
        words.extend([IMAGE, id]);
        words.extend(program);
        self.command(&words)
    }

    /// What `ctr task ls` says of a container: process id and state.
    fn task(&self, id: &str) -> Option<(u32, String)> {
        let list = self.ctr(&["task", "ls"]).ok();
        let line = list.lines().find(|line| line.split_whitespace().next() == Some(id))?;
        let mut fields = line.split_whitespace().skip(1);
        Some((fields.next()?.parse().unwrap(), fields.next()?.to_owned()))
    }

    fn reaches(&self, id: &str, state: &str) {
        eventually(&format!("{id} is {state}"), || (self.task(id)?.1 == state).then_some(()));
    }

    /// Kills a container and removes everything of it.
    fn remove(&self, id: &str) {
        self.ctr(&["task", "kill", "-s", "SIGKILL", id]).ok();
        self.reaches(id, "STOPPED");
        self.ctr(&["task", "rm", id]);
        self.ctr(&["container", "rm", id]).ok();
    }

    fn shims(&self) -> Vec<u32> {
        let all = leftovers::processes(&self.id, self.folder.path());
        let shims = all.iter().filter(|(_, line)| line.contains("containerd-shim-skiff-v1"));
        shims.map(|(pid, _)| u32::try_from(*pid).unwrap()).collect()
    }

    fn state_root(&self) -> PathBuf {
        Path::new("/run/skiff/shim").join(&self.id)
    }

    fn leftovers(&self) -> Vec<String> {
        let mut left = leftovers::of(&self.id, self.folder.path(), &self.state_root());
        // containerd itself, and the folder of its namespace that holds the containers' cgroups.
        left.retain(|line| !line.starts_with("process ") || line.contains("shim") || !line.contains("containerd"));
        left.retain(|line| !line.starts_with("cgroup ") || !line.ends_with(&self.id));
        let sockets = std::fs::read_dir(self.folder.path().join("s")).into_iter().flatten().flatten();
        left.extend(sockets.map(|entry| format!("socket {}", entry.path().display())));
        left
    }

    #[track_caller]
    fn assert_gone(&self) {
        let left = leftovers::until_none(|| self.leftovers());
        assert!(left.is_empty(), "left behind: {left:#?}");
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        drop(self.server.take());
        leftovers::sweep(&self.id, self.folder.path());
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let own = text(self.folder.path());
        for place in mounts.lines().filter_map(|line| line.split(' ').nth(4)).filter(|place| place.starts_with(&own)) {
            let _may_be_gone = rustix::mount::unmount(place, rustix::mount::UnmountFlags::DETACH);
        }
        let _absent = std::fs::remove_dir_all(self.state_root());
    }
}

#[test]
fn output_and_exit_code_of_a_run() {
    over_each(|containerd| {
        let outcome = containerd.run(&["--rm"], "a", &["sh", "-c", "echo out; echo err >&2; id -u; exit 7"]).exits(7);
        assert_eq!(outcome.stdout, "out\n0\n");
        assert!(outcome.stderr.starts_with("err\n"), "{outcome}");
        containerd.run(&["--rm"], "b", &["true"]).exits(0);
        containerd.run(&["--rm"], "d", &["no-such-program"]).fails_with(&["no-such-program"]);
        containerd.assert_gone();
    });
}

#[test]
fn input_reaches_the_container() {
    over_each(|containerd| {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        rustix::io::write(&writer, b"one\ntwo\n").unwrap();
        drop(writer);
        let outcome = containerd.run_with(RUNTIME, &["--rm"], "a", &["sh", "-c", "read a; read b; echo $b $a"]);
        assert_eq!(outcome.stdin(reader).run().ok(), "two one\n");
        containerd.assert_gone();
    });
}

#[test]
fn the_runtime_is_also_found_by_its_path() {
    over_each(|containerd| {
        let path = text(&containerd.folder.path().join("bin/containerd-shim-skiff-v1"));
        let outcome = containerd.run_with(&path, &["--rm"], "a", &["sh", "-c", "echo said; exit 3"]).run();
        assert_eq!(outcome.exits(3).stdout, "said\n");
        containerd.assert_gone();
    });
}

/// containerd's own shim, made for runc, with `skiff` in runc's place (`BinaryName`).
#[runs(host)]
fn the_shim_of_runc_starts_the_runtime() {
    over_each(|containerd| {
        let program = text(&containerd.folder.path().join("bin/skiff"));
        let roots = containerd.folder.path().join("runtime");
        let (shim, roots) = ("io.containerd.runc.v2", text(&roots));
        let options =
            ["--runc-binary", &*program, "--runc-root", &*roots, "--cgroup", &*format!("/{}/a", containerd.id)];
        let run = |more: &[&str], id: &str, words: &[&str]| {
            containerd.run_with(shim, &[&options[..], more].concat(), id, words).run()
        };
        let outcome =
            run(&["--rm", "--seccomp"], "a", &["sh", "-c", "echo out; grep Seccomp: /proc/self/status; exit 7"]);
        assert_eq!(outcome.exits(7).stdout, "out\nSeccomp:\t2\n");
        run(&["--rm"], "b", &["no-such-program"]).fails_with(&["no-such-program"]);
        run(&["--detach", "--memory-limit", "33554432"], "c", &["sleep", "1000"]).ok();
        let exec = ["task", "exec", "--exec-id", "e", "c", "sh", "-c", "echo inside; exit 3"];
        assert_eq!(containerd.ctr(&exec).exits(3).stdout, "inside\n");
        containerd.ctr(&["task", "pause", "c"]).ok();
        assert_eq!(containerd.task("c").unwrap().1, "PAUSED");
        containerd.ctr(&["task", "resume", "c"]).ok();
        assert_eq!(containerd.ctr(&["task", "ps", "c"]).ok().lines().count(), 2);
        containerd.remove("c");
        containerd.assert_gone();
        let left = std::fs::read_dir(&roots).unwrap().flatten().map(|entry| entry.path());
        let left: Vec<PathBuf> = left.filter(|root| std::fs::read_dir(root).unwrap().next().is_some()).collect();
        assert!(left.is_empty(), "{left:?}");
    });
}

#[test]
fn a_terminal_through_containerd() {
    over_each(|containerd| {
        let socket = text(&containerd.folder.path().join("c.sock"));
        let line = format!(
            "stty rows 33 cols 77; ctr --address {socket} --namespace {} run --rm -t --snapshotter native --runtime {RUNTIME} {IMAGE} a \
             sh -c 'test -t 0 && until [ \"$(stty size)\" = \"33 77\" ]; do sleep 0.1; done && stty size; exit 5'",
            containerd.id
        );
        let outcome = Invocation::new("script", &["-qec", &line, "/dev/null"]).env("TERM", "xterm").run();
        let outcome = outcome.exits(5);
        assert!(outcome.stdout.contains("33 77"), "{outcome}");
        containerd.assert_gone();
    });
}

/// Removes a task that has ended; `ctr` says how in a warning.
fn ended_by_kill(containerd: &Containerd, id: &str) {
    let outcome = containerd.ctr(&["task", "rm", id]).exits(0);
    assert!(outcome.stderr.contains("exit code 137"), "{outcome}");
}

#[test]
fn exec_kill_and_the_list() {
    over_each(|containerd| {
        containerd.run(&["-d"], "a", &["sleep", "1000"]).ok();
        let (pid, state) = containerd.task("a").unwrap();
        assert_eq!(state, "RUNNING");
        let exec =
            |name: &str, script: &str| containerd.ctr(&["task", "exec", "--exec-id", name, "a", "sh", "-c", script]);
        let outcome = exec("e", "echo inside; echo err >&2; exit 3").exits(3);
        assert_eq!(outcome.stdout, "inside\n");
        assert_eq!(exec("e", "cat /proc/1/comm").ok(), "sleep\n");
        // As a signal's number and by its name; the first one is not for the exec's container.
        let long = containerd.command(&["task", "exec", "--exec-id", "long", "a", "sleep", "1000"]).spawn();
        eventually("two processes", || (containerd.ctr(&["task", "ps", "a"]).ok().lines().count() == 3).then_some(()));
        let listed = containerd.ctr(&["task", "ps", "a"]).ok();
        assert!(listed.lines().any(|line| line.starts_with(&pid.to_string())), "{listed}");
        // It is in the list as soon as it is born, and can be killed when its start has been answered.
        let kill = ["task", "kill", "-s", "9", "--exec-id", "long", "a"];
        eventually("the exec is killed", || containerd.ctr(&kill).succeeded().then_some(()));
        long.wait().exits(137);
        assert_eq!(containerd.task("a").unwrap().1, "RUNNING");
        containerd.ctr(&["task", "kill", "-s", "SIGKILL", "a"]).ok();
        containerd.reaches("a", "STOPPED");
        assert!(!containerd.ctr(&["task", "kill", "-s", "SIGKILL", "a"]).succeeded());
        ended_by_kill(&containerd, "a");
        containerd.ctr(&["container", "rm", "a"]).ok();
        containerd.assert_gone();
    });
}

#[test]
fn pause_resume_and_metrics() {
    over_each(|containerd| {
        containerd.run(&["-d", "--memory-limit", "33554432"], "a", &["sleep", "1000"]).ok();
        containerd.ctr(&["task", "pause", "a"]).ok();
        assert_eq!(containerd.task("a").unwrap().1, "PAUSED");
        containerd.ctr(&["task", "resume", "a"]).ok();
        assert_eq!(containerd.task("a").unwrap().1, "RUNNING");
        let table = containerd.ctr(&["task", "metrics", "a"]).ok();
        let json: serde_json::Value =
            serde_json::from_str(&containerd.ctr(&["task", "metrics", "--format", "json", "a"]).ok()).unwrap();
        assert_eq!(json["pids"]["current"], 1, "{json}");
        let memory = match cgroups::layout() {
            cgroups::Layout::Legacy => &json["memory"]["usage"]["limit"],
            cgroups::Layout::Unified => &json["memory"]["usage_limit"],
        };
        assert_eq!(memory.as_u64(), Some(33_554_432), "{json}");
        assert!(table.contains("memory.usage") && table.contains("pids.current"), "{table}");
        containerd.remove("a");
        containerd.assert_gone();
    });
}

#[test]
fn logs_by_uri() {
    over_each(|containerd| {
        for (scheme, wanted) in [("file", "said\n"), ("rotate", " stdout F said\n")] {
            let path = containerd.folder.path().join(scheme);
            let uri = format!("{scheme}://{}", path.display());
            containerd.run(&["-d", "--log-uri", &uri], scheme, &["echo", "said"]).ok();
            containerd.reaches(scheme, "STOPPED");
            let log = std::fs::read_to_string(&path).unwrap();
            assert!(log.ends_with(wanted), "{log:?}");
            containerd.ctr(&["task", "rm", scheme]).ok();
            containerd.ctr(&["container", "rm", scheme]).ok();
        }
        containerd.assert_gone();
    });
}

#[test]
fn a_group_has_one_shim_and_each_other_its_own() {
    over_each(|containerd| {
        for (id, group) in [("a", "one"), ("b", "one"), ("c", "two")] {
            let annotation = format!("io.containerd.runc.v2.group={group}");
            containerd.run(&["-d", "--annotation", &annotation], id, &["sleep", "1000"]).ok();
        }
        assert_eq!(containerd.shims().len(), 2);
        containerd.remove("a");
        assert_eq!(containerd.task("b").unwrap().1, "RUNNING");
        containerd.remove("b");
        containerd.remove("c");
        containerd.assert_gone();
    });
}

#[test]
fn events_arrive_in_order() {
    over_each(|containerd| {
        let events = containerd.command(&["events"]).spawn();
        eventually("somebody listens", || {
            containerd.ctr(&["namespaces", "label", &containerd.id, "asked=yes"]).ok();
            events.stdout().contains("/namespaces/update").then_some(())
        });
        containerd.run(&["--rm"], "web", &["sh", "-c", "exit 3"]).exits(3);
        let told = eventually("the end is told", || {
            let told = events.stdout();
            told.contains("/tasks/delete").then_some(told)
        });
        let topics: Vec<_> =
            told.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with("/tasks/"))).collect();
        assert_eq!(topics, ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"], "{told}");
        containerd.assert_gone();
    });
}

#[test]
fn a_restart_of_containerd_loses_nothing() {
    over_each(|mut containerd| {
        containerd.run(&["-d"], "lives", &["sleep", "1000"]).ok();
        containerd.run(&["-d"], "dies", &["sleep", "1000"]).ok();
        let (lives, dies) = (containerd.task("lives").unwrap(), containerd.task("dies").unwrap());
        containerd.crash();
        // While nobody is there to be told.
        signal(dies.0, Signal::KILL);
        containerd.start();
        assert_eq!(containerd.task("lives"), Some(lives));
        containerd.reaches("dies", "STOPPED");
        let exec = containerd.ctr(&["task", "exec", "--exec-id", "e", "lives", "echo", "inside"]);
        assert_eq!(exec.ok(), "inside\n");
        ended_by_kill(&containerd, "dies");
        containerd.ctr(&["container", "rm", "dies"]).ok();
        containerd.remove("lives");
        containerd.assert_gone();
    });
}

/// containerd sees the connection break and asks the shim's `delete` to clear up.
#[test]
fn a_killed_shim_is_cleared_up_after() {
    over_each(|containerd| {
        containerd.run(&["-d"], "a", &["sh", "-c", "sleep 1000 & sleep 1000 & wait"]).ok();
        let shims = containerd.shims();
        assert_eq!(shims.len(), 1);
        signal(shims[0], Signal::KILL);
        eventually("nothing runs", || containerd.leftovers().is_empty().then_some(()));
        eventually("containerd knows", || containerd.task("a").is_none_or(|task| task.1 == "STOPPED").then_some(()));
        // Its task is there or not, as containerd likes; the container can be removed and its name used again.
        containerd.ctr(&["task", "rm", "a"]);
        containerd.ctr(&["container", "rm", "a"]).ok();
        containerd.run(&["--rm"], "a", &["sh", "-c", "exit 4"]).exits(4);
        containerd.assert_gone();
    });
}

#[test]
fn many_at_the_same_time() {
    over_each(|containerd| {
        let running: Vec<_> = (0..6)
            .map(|number| {
                let script = format!("echo {number}; exit {number}");
                containerd.run_with(RUNTIME, &["--rm"], &format!("c{number}"), &["sh", "-c", &script]).spawn()
            })
            .collect();
        for (number, running) in (0..).zip(running) {
            assert_eq!(running.wait().exits(number).stdout, format!("{number}\n"));
        }
        containerd.assert_gone();
    });
}
