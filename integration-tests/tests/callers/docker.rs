//! docker: its daemon, which drives containerd, whose shim for runc starts `skiff`.

use std::fs;

use serde_json::{Value, json};
use skiff_integration_tests::command::{Invocation, Outcome, Running, eventually};
use skiff_integration_tests::runtime::{Kind, on_path};
use skiff_integration_tests::{cgroups, skip};
use skiff_lanes::runs;

use crate::house::{House, POLITE, over_each};

/// docker's daemon, with folders and a socket of its own, which makes no bridge and writes no rule of a firewall.
struct Docker {
    // Before the house: it must have ended when the folder goes.
    server: Option<Running>,
    house: House,
}

fn with_docker(test: impl Fn(&Docker)) {
    if on_path("docker").is_none() {
        return skip::skip("docker's client is not installed");
    }
    over_each("dockerd", |house| {
        let docker = Docker::new(house);
        test(&docker);
        docker.house.assert_gone();
    });
}

impl Docker {
    fn new(house: House) -> Self {
        let runtime = json!({ "path": house.runtime.binary });
        let config = json!({
            "data-root": house.path().join("root"), "exec-root": house.path().join("exec"), "pidfile": house.path().join("pid"),
            "hosts": [format!("unix://{}", house.word("d.sock"))], "storage-driver": "vfs", "cgroup-parent": format!("/{}", house.id),
            "bridge": "none", "iptables": false, "ip6tables": false, "ip-forward": false,
            "runtimes": { "boat": runtime }, "default-runtime": "boat",
        });
        fs::write(house.path().join("daemon.json"), config.to_string()).unwrap();
        let server = Invocation::new(on_path("dockerd").unwrap(), &["--config-file", &house.word("daemon.json")])
            .env("SKIFF_TEST_ID", &house.id)
            .patience(std::time::Duration::from_secs(3600))
            .spawn();
        let docker = Self { server: Some(server), house };
        eventually("docker answers", || docker.run(&["version"]).succeeded().then_some(()));
        docker.run(&["import", "--change", "ENV PATH=/bin", &docker.house.image.layer.to_string_lossy(), "img:t"]).ok();
        docker
    }

    fn command(&self, words: &[&str]) -> Invocation {
        let host = format!("unix://{}", self.house.word("d.sock"));
        Invocation::new("docker", words).env("DOCKER_HOST", &host).env("DOCKER_CONFIG", &self.house.word("client"))
    }

    fn run(&self, words: &[&str]) -> Outcome {
        self.command(words).run()
    }

    fn script(&self, options: &[&str], script: &str) -> Outcome {
        self.run(&[&["run", "--network", "none"], options, &["img:t", "sh", "-c", script]].concat())
    }

    fn inspect(&self, name: &str) -> Value {
        let all: Value = serde_json::from_str(&self.run(&["inspect", name]).ok()).unwrap();
        all[0].clone()
    }

    fn reaches(&self, name: &str, status: &str) {
        eventually(&format!("{name} is {status}"), || (self.inspect(name)["State"]["Status"] == status).then_some(()));
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let Some(server) = self.server.take() else { return };
        // It ends its containers and its containerd; what it leaves is swept.
        server.signal(rustix::process::Signal::TERM);
        server.wait();
    }
}

#[runs(host)]
fn output_input_and_exit_codes() {
    with_docker(|docker| {
        let outcome = docker.script(&["--rm"], "echo out; echo err >&2; exit 7").exits(7);
        assert_eq!((&*outcome.stdout, &*outcome.stderr), ("out\n", "err\n"));
        docker.run(&["run", "--rm", "--network", "none", "img:t", "no-such-program"]).exits(127);
        docker.run(&["run", "--rm", "--network", "none", "img:t", "/etc"]).exits(126);
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        rustix::io::write(&writer, b"one\ntwo\n").unwrap();
        drop(writer);
        let words = ["run", "--rm", "--interactive", "--network", "none", "img:t", "wc", "-l"];
        assert_eq!(docker.command(&words).stdin(reader).run().ok().trim(), "2");
        assert_eq!(docker.script(&["--rm", "--tty"], "tty").ok().trim(), "/dev/pts/0");
        // docker puts an init of its own before the program.
        assert!(docker.script(&["--rm", "--init"], "cat /proc/1/comm").ok().contains("init"));
    });
}

#[runs(host)]
fn a_containers_life() {
    with_docker(|docker| {
        let limits = ["--memory", "64m", "--memory-swap", "64m", "--pids-limit", "50"];
        docker.script(&[&["--detach", "--name", "web"][..], &limits].concat(), POLITE).ok();
        eventually("it has started", || docker.run(&["logs", "web"]).ok().contains("started").then_some(()));
        let pid = || u32::try_from(docker.inspect("web")["State"]["Pid"].as_u64().unwrap()).unwrap();
        let file = match cgroups::layout() {
            cgroups::Layout::Legacy => "memory.limit_in_bytes",
            cgroups::Layout::Unified => "memory.max",
        };
        assert_eq!(cgroups::read(pid(), "memory", file), (64 << 20).to_string());
        docker.run(&["update", "--memory", "96m", "--memory-swap", "96m", "--pids-limit", "77", "web"]).ok();
        assert_eq!(cgroups::read(pid(), "memory", file), (96 << 20).to_string());
        assert_eq!(cgroups::read(pid(), "pids", "pids.max"), "77");

        docker.run(&["pause", "web"]).ok();
        assert_eq!(docker.inspect("web")["State"]["Status"], "paused");
        docker.run(&["unpause", "web"]).ok();
        let outcome =
            docker.run(&["exec", "--user", "5:6", "--workdir", "/tmp", "web", "sh", "-c", "id -u; pwd; exit 7"]);
        assert_eq!(outcome.exits(7).stdout, "5\n/tmp\n");
        // 126 or 127, by docker's version.
        let outcome = docker.run(&["exec", "web", "no-such-program"]);
        assert!(matches!(outcome.code, Some(126 | 127)) && outcome.stdout.contains("not found in $PATH"), "{outcome}");
        let top = docker.run(&["top", "web"]).ok();
        assert!(top.contains("trap"), "{top}");
        let stats = docker.run(&["stats", "--no-stream", "--format", "{{.PIDs}} {{.MemUsage}}", "web"]).ok();
        assert!(stats.starts_with("2 ") && stats.contains("/ 96MiB"), "{stats}");

        docker.run(&["stop", "--time", "20", "web"]).ok();
        assert_eq!(docker.inspect("web")["State"]["ExitCode"], 3);
        assert_eq!(docker.run(&["logs", "web"]).ok(), "started\nbye\n");
        docker.run(&["start", "web"]).ok();
        docker.run(&["kill", "web"]).ok();
        docker.reaches("web", "exited");
        docker.run(&["rm", "web"]).ok();
    });
}

#[runs(host)]
fn what_the_user_asks_of_the_kernel() {
    with_docker(|docker| {
        let options = ["--rm", "--read-only", "--cap-drop", "all", "--security-opt", "no-new-privileges"];
        let more = ["--tmpfs", "/data:size=1m", "--hostname", "boat", "--ulimit", "nofile=100:200", "--cpus", "0.5"];
        let script = "touch /denied 2>/dev/null || echo read-only; touch /data/file && echo kept; hostname; ulimit -n
            grep -E '^(CapBnd|NoNewPrivs|Seccomp):' /proc/self/status | tr -d '\\t'";
        let told = docker.script(&[&options[..], &more].concat(), script).ok();
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines, ["read-only", "kept", "boat", "100", "CapBnd:0000000000000000", "NoNewPrivs:1", "Seccomp:2"]);
        // runc ends here where root itself does not have every capability; skiff grants those that there are.
        if docker.house.runtime.kind == Kind::Skiff {
            assert_eq!(docker.script(&["--rm", "--privileged"], "echo all").ok(), "all\n");
        }
        docker
            .script(&["--name", "hungry", "--memory", "16m", "--memory-swap", "16m"], "x=$(seq 9999999); echo $x")
            .exits(137);
        assert_eq!(docker.inspect("hungry")["State"]["OOMKilled"], true);
        docker.run(&["rm", "hungry"]).ok();
    });
}

#[runs(host)]
fn health_is_what_the_command_says() {
    with_docker(|docker| {
        let options = ["--detach", "--name", "web", "--health-cmd", "test -e /tmp/healthy", "--health-interval", "1s"];
        docker.script(&[&options[..], &["--health-retries", "1"]].concat(), "sleep 1000").ok();
        let health = |word: &str| {
            eventually(word, || (docker.inspect("web")["State"]["Health"]["Status"] == word).then_some(()));
        };
        health("unhealthy");
        docker.run(&["exec", "web", "touch", "/tmp/healthy"]).ok();
        health("healthy");
        docker.run(&["rm", "--force", "web"]).ok();
    });
}
