//! podman: run, exec, stop, pause, update, logs, health checks and pods.

use std::os::fd::OwnedFd;
use std::time::Duration;

use serde_json::Value;
use skiff_integration_tests::cgroups;
use skiff_integration_tests::command::{Invocation, Outcome, eventually};
use skiff_integration_tests::image::NAME as IMAGE;
use skiff_lanes::runs;

use crate::house::{House, POLITE, over_each};

/// podman with folders of its own.
struct Podman {
    house: House,
}

fn with_podman(test: impl Fn(&Podman)) {
    over_each("podman", |house| {
        let podman = Podman { house };
        podman.run(&["load", "--quiet", "--input", &podman.house.image.archive.to_string_lossy()]).ok();
        test(&podman);
        podman.house.assert_gone();
    });
}

impl Podman {
    fn command(&self, words: &[&str]) -> Invocation {
        let house = &self.house;
        let (root, run, tmp) = (house.word("root"), house.word("run"), house.word("tmp"));
        let program = house.program();
        let mut all = vec!["--root", &*root, "--runroot", &*run, "--tmpdir", &*tmp, "--storage-driver", "vfs"];
        all.extend(["--cgroup-manager", "cgroupfs", "--events-backend", "file", "--log-level", "error"]);
        all.extend(["--runtime", &*program]);
        all.extend(words);
        Invocation::new("podman", &all)
            .env("CONTAINERS_CONF", &house.containers_conf().to_string_lossy())
            .env("SKIFF_TEST_ID", &house.id)
    }

    fn run(&self, words: &[&str]) -> Outcome {
        self.command(words).run()
    }

    /// `podman run` with these options and this script.
    fn script(&self, options: &[&str], script: &str) -> Outcome {
        let parent = format!("/{}", self.house.id);
        let mut all = vec!["run", "--network", "none", "--cgroup-parent", &*parent];
        all.extend(options);
        all.extend([IMAGE, "sh", "-c", script]);
        self.run(&all)
    }

    fn inspect(&self, name: &str) -> Value {
        let all: Value = serde_json::from_str(&self.run(&["inspect", "--type", "container", name]).ok()).unwrap();
        all[0].clone()
    }

    fn pid(&self, name: &str) -> u32 {
        u32::try_from(self.inspect(name)["State"]["Pid"].as_u64().unwrap()).unwrap()
    }

    fn reaches(&self, name: &str, status: &str) {
        eventually(&format!("{name} is {status}"), || (self.inspect(name)["State"]["Status"] == status).then_some(()));
    }

    fn remove(&self, name: &str) {
        self.run(&["rm", "--force", "--time", "0", name]).ok();
    }
}

#[runs(host)]
fn output_input_and_exit_codes() {
    with_podman(|podman| {
        let outcome = podman.script(&["--rm"], "echo out; echo err >&2; exit 7").exits(7);
        assert_eq!((&*outcome.stdout, &*outcome.stderr), ("out\n", "err\n"));
        podman.run(&["run", "--rm", "--network", "none", IMAGE, "no-such-program"]).exits(127);
        podman.run(&["run", "--rm", "--network", "none", IMAGE, "/etc"]).exits(126);
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        rustix::io::write(&writer, b"one\ntwo\n").unwrap();
        drop::<OwnedFd>(writer);
        let words = ["run", "--rm", "--interactive", "--network", "none", IMAGE, "wc", "-l"];
        assert_eq!(podman.command(&words).stdin(reader).run().ok().trim(), "2");
        let tty = podman.run(&["run", "--rm", "--tty", "--network", "none", IMAGE, "tty"]).ok();
        assert_eq!(tty.trim(), "/dev/pts/0");
    });
}

#[runs(host)]
fn a_containers_life() {
    with_podman(|podman| {
        podman.script(&["--detach", "--name", "web", "--memory", "64m", "--pids-limit", "50"], POLITE).ok();
        eventually("it has started", || podman.run(&["logs", "web"]).ok().contains("started").then_some(()));
        let limit = |file: &str| cgroups::read(podman.pid("web"), "memory", file);
        let file = match cgroups::layout() {
            cgroups::Layout::Legacy => "memory.limit_in_bytes",
            cgroups::Layout::Unified => "memory.max",
        };
        assert_eq!(limit(file), (64 << 20).to_string());
        assert_eq!(cgroups::read(podman.pid("web"), "pids", "pids.max"), "50");
        podman.run(&["update", "--memory", "96m", "--memory-swap", "96m", "web"]).ok();
        assert_eq!(limit(file), (96 << 20).to_string());

        podman.run(&["pause", "web"]).ok();
        assert_eq!(podman.inspect("web")["State"]["Status"], "paused");
        podman.run(&["unpause", "web"]).ok();
        assert_eq!(podman.inspect("web")["State"]["Status"], "running");
        let top = podman.run(&["top", "web", "pid", "args"]).ok();
        assert!(top.lines().any(|line| line.starts_with("1 ") && line.contains("trap")), "{top}");

        podman.run(&["stop", "--time", "20", "web"]).ok();
        assert_eq!(podman.inspect("web")["State"]["ExitCode"], 3);
        assert_eq!(podman.run(&["logs", "web"]).ok(), "started\nbye\n");
        podman.run(&["start", "web"]).ok();
        podman.run(&["restart", "--time", "20", "web"]).ok();
        podman.run(&["kill", "web"]).ok();
        podman.reaches("web", "exited");
        assert_eq!(podman.inspect("web")["State"]["ExitCode"], 137);
        podman.remove("web");
    });
}

#[runs(host)]
fn exec_as_somebody_somewhere() {
    with_podman(|podman| {
        podman.script(&["--detach", "--name", "web"], "sleep 1000").ok();
        let exec = |options: &[&str], script: &str| {
            let mut words = vec!["exec"];
            words.extend(options);
            words.extend(["web", "sh", "-c", script]);
            podman.run(&words)
        };
        let outcome = exec(&[], "cat /proc/1/comm; echo err >&2; exit 7").exits(7);
        assert_eq!(outcome.stdout, "sleep\n");
        let options = ["--user", "5:6", "--workdir", "/tmp", "--env", "A=b"];
        assert_eq!(exec(&options, "id -u; id -g; pwd; echo $A").ok(), "5\n6\n/tmp\nb\n");
        assert!(exec(&["--tty"], "tty").ok().starts_with("/dev/pts/"));
        podman.run(&["exec", "web", "no-such-program"]).exits(127);
        exec(&["--detach"], "touch /tmp/done").ok();
        eventually("the detached one has run", || exec(&[], "test -e /tmp/done").succeeded().then_some(()));
        podman.remove("web");
    });
}

#[runs(host)]
fn health_is_what_the_command_says() {
    with_podman(|podman| {
        let options =
            ["--detach", "--name", "web", "--health-cmd", "test -e /tmp/healthy", "--health-interval", "disable"];
        podman.script(&options, "sleep 1000").ok();
        podman.run(&["healthcheck", "run", "web"]).exits(1);
        podman.run(&["exec", "web", "touch", "/tmp/healthy"]).ok();
        podman.run(&["healthcheck", "run", "web"]).ok();
        let checks = podman.inspect("web")["State"]["Health"].clone();
        assert_eq!(checks["Status"], "healthy", "{checks}");
        podman.remove("web");
    });
}

#[runs(host)]
fn a_pod_shares_its_namespaces() {
    with_podman(|podman| {
        let parent = format!("/{}", podman.house.id);
        let words = ["pod", "create", "--name", "pod", "--network", "none", "--hostname", "pod-host"];
        let infra = ["--cgroup-parent", &*parent, "--infra-image", IMAGE, "--infra-command", "/bin/sleep 1000"];
        podman.run(&[&words[..], &infra].concat()).ok();
        let member = |name: &str, options: &[&str], script: &str| {
            let words = ["run", "--pod", "pod", "--name", name];
            podman.run(&[&words[..], options, &[IMAGE, "sh", "-c", script]].concat())
        };
        member("one", &["--detach"], "sleep 1000").ok();
        assert_eq!(member("two", &["--rm"], "hostname").ok(), "pod-host\n");
        let namespace = |pid: u32, kind: &str| std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
        let infra = podman.run(&["pod", "inspect", "pod", "--format", "{{.InfraContainerID}}"]).ok();
        let (infra, one) = (podman.pid(infra.trim()), podman.pid("one"));
        let pod = podman.run(&["pod", "inspect", "pod", "--format", "{{.ID}}"]).ok();
        podman.house.keeps(pod.trim());
        for kind in ["net", "uts", "ipc"] {
            assert_eq!(namespace(infra, kind), namespace(one, kind), "{kind}");
        }
        assert_ne!(namespace(infra, "mnt"), namespace(one, "mnt"));
        podman.command(&["pod", "stop", "--time", "0", "pod"]).patience(Duration::from_secs(240)).run().ok();
        podman.run(&["pod", "rm", "--force", "pod"]).ok();
    });
}

#[runs(host)]
fn what_the_user_asks_of_the_kernel() {
    with_podman(|podman| {
        let options = ["--rm", "--read-only", "--cap-drop", "all", "--cap-add", "net_bind_service"];
        let more = ["--security-opt", "no-new-privileges", "--tmpfs", "/data:size=1m", "--hostname", "boat"];
        let script = "touch /denied 2>/dev/null || echo read-only; touch /data/file && echo kept; hostname
            grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status | tr -d '\\t'";
        let told = podman.script(&[&options[..], &more].concat(), script).ok();
        let lines: Vec<&str> = told.lines().collect();
        let wanted = [
            "read-only",
            "kept",
            "boat",
            "CapEff:0000000000000400",
            "CapBnd:0000000000000400",
            "NoNewPrivs:1",
            "Seccomp:2",
        ];
        assert_eq!(lines, wanted);
        // Each user of the container is one of many of the host.
        let told = podman.script(&["--rm", "--uidmap", "0:100000:65536"], "cat /proc/self/uid_map").ok();
        assert_eq!(told.split_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
    });
}

#[runs(host)]
fn a_want_of_memory_ends_it() {
    with_podman(|podman| {
        // That memory was what it died of is for podman's monitor to say, which on cgroup v1 says so of no runtime.
        let limits = ["--rm", "--memory", "16m", "--memory-swap", "16m"];
        podman.script(&limits, "x=$(seq 9999999); echo $x").exits(137);
    });
}
