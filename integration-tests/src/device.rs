//! One device of a fleet: throw-away folders, a fleet folder with its keys and its server, and skiffd over them. Every
//! program is the built one; nothing is left behind when it is dropped.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::bundle::Bundle;
use crate::command::{Invocation, Outcome, Running, patience};
use crate::leftovers;

/// Where the built programs are: `SKIFF_BIN_DIR`, or beside the test.
pub fn program(name: &str) -> PathBuf {
    let folder = std::env::var_os("SKIFF_BIN_DIR").map_or_else(
        || {
            let own = std::env::current_exe().expect("procfs");
            own.ancestors().nth(2).expect("tests lie below a target folder").to_owned()
        },
        PathBuf::from,
    );
    let path = folder.join(name);
    assert!(path.exists(), "{} is not built; `make build` builds it", path.display());
    path
}

/// A device, the fleet that it follows, and the server of that fleet.
pub struct Device {
    folder: TempDir,
    /// Unique on this machine: every service's name begins with it, and with it every container and cgroup.
    pub prefix: String,
    /// The server's port.
    pub port: u16,
    daemon: Option<Running>,
    server: Option<Running>,
    serial: u64,
    bundles: Vec<Bundle>,
}

impl Device {
    /// With keys and settings, without any release; nothing runs yet.
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("skt{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = tempfile::Builder::new().prefix(&format!("{prefix}-")).tempdir().expect("temporary folder");
        let device =
            Self { port: free_port(), folder, prefix, daemon: None, server: None, serial: 0, bundles: Vec::new() };
        for name in ["run", "state", "logs", "trust", "fleet", "fleet/releases", "public", "status"] {
            fs::create_dir(device.path(name)).expect("own folder");
        }
        device.ctl_words(&["fleet", "keygen", "-W", &device.text("key")]).ok();
        fs::copy(device.path("key.pub"), device.path("trust/fleet.pub")).expect("keygen writes a public key");
        device.write_settings("");
        device
    }

    /// A path in the device's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The same as text.
    pub fn text(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }

    /// A service's name that no other test has.
    pub fn name(&self, service: &str) -> String {
        format!("{}-{service}", self.prefix)
    }

    /// Writes `skiffd.toml` and `device.toml`, with `more` at the end of the former.
    pub fn write_settings(&self, more: &str) {
        let (at, binary, shim) = (self.folder.path().display(), program("skiff"), program("containerd-shim-skiff-v1"));
        let settings = format!(
            "[device]\nfile = '{at}/device.toml'\n[fleet]\nurl = 'http://127.0.0.1:{}'\nname = 'tests'\ntrust = '{at}/trust'\n\
             [paths]\nrun = '{at}/run'\nstate = '{at}/state'\nlogs = '{at}/logs'\n\
             [runtime]\nbinary = '{}'\nshim = '{}'\n{more}\n",
            self.port,
            binary.display(),
            shim.display(),
        );
        fs::write(self.path("skiffd.toml"), settings).expect("own folder");
        fs::write(self.path("device.toml"), "id = 'device-1'\n[labels]\nrole = 'test'\n").expect("own folder");
    }

    /// Keeps a bundle for the life of the device, beside the releases, and says how a release names it.
    pub fn bundle(&mut self, bundle: Bundle) -> String {
        bundle.write();
        let name = format!("bundle-{}", self.bundles.len());
        let link = self.path("fleet/releases").join(&name);
        Invocation::new("cp", &["-a", &bundle.path().to_string_lossy(), &link.to_string_lossy()]).run().ok();
        self.bundles.push(bundle);
        name
    }

    /// Writes a release: `services` is YAML, indented by two blanks.
    pub fn release(&self, version: &str, services: &str) {
        let text = format!(
            "apiVersion: skiff.dev/v1\nkind: Release\nmetadata: {{name: tests, version: \"{version}\"}}\nservices:\n{services}"
        );
        fs::write(self.path("fleet/releases").join(format!("{version}.yaml")), text).expect("own folder");
    }

    /// Publishes an index of the next serial that gives every device `version`.
    pub fn publish(&mut self, version: &str) {
        self.publish_with(version, "gate: {minHealthy: 1s, deadline: 20s}");
    }

    /// The same with another gate.
    pub fn publish_with(&mut self, version: &str, rollout: &str) {
        self.serial += 1;
        let text = format!(
            "apiVersion: skiff.dev/v1\nkind: Fleet\nmetadata: {{name: tests, serial: {}}}\n\
             poll: {{interval: 1s, jitter: 0%, maxBackoff: 2s}}\nreleases: {{\"{version}\": releases/{version}.yaml}}\n\
             groups: [{{name: all, release: \"{version}\", rollout: {{{rollout}}}}}]\n\
             status: {{url: \"http://127.0.0.1:{}/devices/{{id}}\", every: 2s, onChange: 1s}}\n",
            self.serial, self.port
        );
        fs::write(self.path("fleet/fleet.yaml"), text).expect("own folder");
        self.build().ok();
    }

    /// `skiffctl fleet build`.
    pub fn build(&self) -> Outcome {
        self.ctl_words(&["fleet", "build", "--key", &self.text("key.key"), &self.text("fleet"), &self.text("public")])
    }

    /// Starts the server of the fleet, if it does not run.
    pub fn serve(&mut self) {
        if self.server.is_some() {
            return;
        }
        let listen = format!("127.0.0.1:{}", self.port);
        let words = ["fleet", "serve", &self.text("public"), "--listen", &listen, "--status", &self.text("status")];
        let server = Invocation::new(program("skiffctl"), &words).patience(Duration::from_secs(3600)).spawn();
        self.server = Some(server);
        crate::command::eventually("the fleet's server answers", || TcpStream::connect(&listen).ok());
    }

    /// Ends the server: the device is offline.
    pub fn unplug(&mut self) {
        self.server = None;
    }

    /// Starts skiffd and waits until it answers.
    pub fn start(&mut self) {
        self.launch();
        crate::command::eventually("skiffd answers", || self.ctl(&["status"]).succeeded().then_some(()));
    }

    /// Starts skiffd and does not wait for anything.
    pub fn launch(&mut self) {
        let words = ["--config", &self.text("skiffd.toml")];
        let daemon = Invocation::new(program("skiffd"), &words).patience(Duration::from_secs(3600)).spawn();
        self.daemon = Some(daemon);
    }

    /// Kills skiffd at once, as `kill -9` does.
    pub fn kill_daemon(&mut self) {
        let daemon = self.daemon.take().expect("skiffd runs");
        daemon.signal(Signal::KILL);
        let ended = daemon.wait();
        assert_eq!(ended.signal, Some(9), "{ended}");
    }

    /// Asks skiffd to end, and gives what it said.
    pub fn stop_daemon(&mut self) -> Outcome {
        let daemon = self.daemon.take().expect("skiffd runs");
        daemon.signal(Signal::TERM);
        daemon.wait()
    }

    /// The process id of skiffd.
    pub fn daemon_pid(&self) -> u32 {
        self.daemon.as_ref().expect("skiffd runs").pid()
    }

    /// One command of skiffctl to this device's skiffd.
    pub fn ctl(&self, words: &[&str]) -> Outcome {
        Invocation::new(program("skiffctl"), words).env("SKIFF_SOCKET", &self.text("run/skiff.sock")).run()
    }

    fn ctl_words(&self, words: &[&str]) -> Outcome {
        Invocation::new(program("skiffctl"), words).run()
    }

    /// What skiffd says of one instance, `service` without the prefix; nothing if it is not there.
    pub fn instance(&self, service: &str, replica: u16) -> Option<Value> {
        let id = format!("{}-{replica}", self.name(service));
        let outcome = self.ctl(&["ps", "--all", "--format", "json"]);
        let document: Value = serde_json::from_str(&outcome.stdout).ok()?;
        document["instances"].as_array()?.iter().find(|instance| instance["id"] == *id).cloned()
    }

    /// Waits until `question` is true of an instance, and gives it.
    pub fn until(&self, service: &str, what: &str, question: impl Fn(&Value) -> bool) -> Value {
        self.poll(
            &format!("{service} {what}"),
            || self.instance(service, 0),
            |instance| instance.as_ref().is_some_and(&question),
        )
        .expect("it answered the question")
    }

    /// Looks until `question` is true of what is seen; what was seen last is told where it never is.
    fn poll<T: std::fmt::Debug>(&self, what: &str, look: impl Fn() -> T, question: impl Fn(&T) -> bool) -> T {
        let deadline = Instant::now() + patience();
        loop {
            let seen = look();
            if question(&seen) {
                return seen;
            }
            assert!(Instant::now() < deadline, "never: {what}: {seen:#?}\n{}", self.ctl(&["why"]).stdout);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until an instance runs, and gives its process id.
    pub fn running(&self, service: &str) -> u64 {
        self.until(service, "runs", |instance| instance["state"] == "running")["pid"]
            .as_u64()
            .expect("running has a pid")
    }

    /// What skiffd says of itself, as `skiffctl status --format json`.
    pub fn status(&self) -> Value {
        serde_json::from_str(&self.ctl(&["status", "--format", "json"]).ok()).expect("status is JSON")
    }

    /// Waits until `question` is true of the device's own status.
    pub fn until_status(&self, what: &str, question: impl Fn(&Value) -> bool) -> Value {
        self.poll(what, || self.status(), question)
    }

    /// What is left on the machine of this device: processes, cgroups, mounts.
    pub fn leftovers(&self) -> Vec<String> {
        leftovers::of(&self.prefix, self.folder.path(), Path::new("/nonexistent"))
    }

    /// Stops every instance through skiffd, ends it, and asserts that nothing is left.
    pub fn finish(mut self) {
        if self.daemon.is_none() {
            self.start();
        }
        self.ctl(&["drain"]).ok();
        let ended = self.stop_daemon();
        assert!(ended.succeeded(), "{ended}");
        self.unplug();
        assert_eq!(leftovers::until_none(|| self.leftovers()), Vec::<String>::new());
    }
}

impl Default for Device {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.daemon = None;
        self.server = None;
        // Shims that a failed test left: their environment names this device's folder.
        for (pid, _) in leftovers::processes(&self.prefix, self.folder.path()) {
            if let Some(pid) = Pid::from_raw(pid) {
                let _may_be_gone = kill_process(pid, Signal::KILL);
            }
        }
        leftovers::sweep(&self.prefix, self.folder.path());
    }
}

/// A TCP port of 127.0.0.1 that nobody listens at, no other call in this process gets, and the kernel gives to nobody
/// who connects: those come from `net.ipv4.ip_local_port_range`, 32768 and up, and keep theirs for a minute (`tcp(7)`,
/// TIME_WAIT) in which nobody else can listen there.
///
/// # Panics
/// When every port from 20000 to 32767 is taken.
#[must_use]
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const PORTS: std::ops::Range<u32> = 20_000..32_768;
    let first = std::process::id();
    let mut tried = PORTS.map(|_| {
        let number = first.wrapping_mul(64).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        (PORTS.start + number % PORTS.len() as u32) as u16
    });
    tried.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a port that nobody listens at")
}
