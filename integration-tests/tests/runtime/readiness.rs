//! sd_notify(3): what a program in a container says of its readiness reaches the service manager that started the runtime.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use serde_json::json;
use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::cgroups;
use skiff_integration_tests::command::{Invocation, eventually};
use skiff_integration_tests::compare::{Exemption, each};
use skiff_integration_tests::leftovers::until_none;
use skiff_integration_tests::runtime::{Container, Kind};
use skiff_lanes::runs;

const OTHER_SOCKET: Exemption = (Kind::Crun, "binds the manager's own socket into the container");
const NO_REFERENCE: Exemption = (Kind::Reference, "does not pass it on");
const SAYS_MORE: Exemption = (Kind::Runc, "passes on that it is ready, and nothing else");

/// A service manager.
struct Manager {
    folder: tempfile::TempDir,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { folder, socket }
    }

    fn path(&self) -> String {
        self.folder.path().join("notify").to_string_lossy().into_owned()
    }

    fn hears(&self, what: &str) {
        let mut message = [0; 4096];
        let heard = eventually(what, || self.socket.recv(&mut message).ok());
        assert_eq!(String::from_utf8_lossy(&message[..heard]), what);
    }

    /// What waits until all was read, and is let go of by that.
    fn hears_the_barrier(&self, kind: Kind) {
        if kind == Kind::Skiff {
            self.hears("BARRIER=1");
        }
    }

    fn hears_nothing(&self) {
        let mut message = [0; 4096];
        let heard =
            self.socket.recv(&mut message).map(|length| String::from_utf8_lossy(&message[..length]).into_owned());
        assert!(heard.is_err(), "{heard:?}");
    }
}

/// Says something as the program would: through the socket that it has been given, if it has.
fn say(container: &Container<'_>, text: &str) {
    let pid = container.pid();
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    let mut variables = environment.split(|byte| *byte == 0);
    let socket = variables.find_map(|variable| variable.strip_prefix(b"NOTIFY_SOCKET=")).expect("a socket");
    let socket = PathBuf::from(format!("/proc/{pid}/root{}", String::from_utf8_lossy(socket)));
    let said = || UnixDatagram::unbound().unwrap().send_to(text.as_bytes(), &socket).ok();
    eventually("somebody listens", said);
}

#[runs(everywhere)]
fn a_foreground_run_passes_on_what_is_said() {
    each(&[OTHER_SOCKET, NO_REFERENCE, SAYS_MORE], |runtime| {
        let manager = Manager::new();
        let bundle = Bundle::sleeper();
        let container = runtime.container(&bundle);
        let running = container.run_command(&[]).env("NOTIFY_SOCKET", &manager.path()).spawn();
        container.reaches("running");
        say(&container, "STATUS=begins\nMAINPID=1\nFDSTORE=1");
        manager.hears("STATUS=begins");
        say(&container, "READY=1\nSTATUS=well");
        manager.hears("READY=1\nSTATUS=well");
        say(&container, "NOTIFYACCESS=all\nnonsense");
        say(&container, "WATCHDOG=1");
        manager.hears("WATCHDOG=1");
        let exec = container.verb("exec", &[], &["/bin/sh", "-c", "echo _${NOTIFY_SOCKET}_"]);
        assert_eq!(exec.run().ok(), "__\n", "others are not the service");
        say(&container, "STOPPING=1");
        container.kill("TERM").ok();
        running.wait().exits(0);
        manager.hears("STOPPING=1");
        manager.hears_nothing();
        container.assert_gone();
    });
}

#[runs(everywhere)]
fn start_and_a_detached_run_wait_until_it_is_ready() {
    each(&[OTHER_SOCKET, NO_REFERENCE], |runtime| {
        for verb in ["start", "run"] {
            let manager = Manager::new();
            let bundle = Bundle::sleeper();
            let container = runtime.container(&bundle);
            let with_socket = |invocation: Invocation| invocation.env("NOTIFY_SOCKET", &manager.path());
            let waiting = if verb == "start" {
                runtime.write(&bundle);
                let folder = bundle.path().to_string_lossy().into_owned();
                with_socket(container.verb("create", &["--bundle", &folder], &[])).run().ok();
                with_socket(container.verb("start", &[], &[])).spawn()
            } else {
                with_socket(container.run_command(&["--detach"])).spawn()
            };
            container.reaches("running");
            // It is not held up by one that waits.
            assert_eq!(container.verb("exec", &[], &["/bin/echo", "x"]).run().ok(), "x\n");
            say(&container, "READY=1");
            if runtime.kind == Kind::Skiff {
                manager.hears(&format!("MAINPID={}\nREADY=1", container.pid()));
            }
            manager.hears_the_barrier(runtime.kind);
            waiting.wait().exits(0);
            assert_eq!(container.status(), "running");
            container.delete(&["--force"]).ok();
            container.assert_gone();
        }
    });
}

#[runs(everywhere)]
fn the_end_of_a_program_that_never_was_ready_ends_the_wait() {
    each(&[OTHER_SOCKET, NO_REFERENCE, (Kind::Runc, "1.1 waits on")], |runtime| {
        let manager = Manager::new();
        let bundle = Bundle::script("exit 3");
        let container = runtime.container(&bundle);
        container.run_command(&["--detach"]).env("NOTIFY_SOCKET", &manager.path()).run().exits(0);
        container.reaches("stopped");
        container.delete(&[]).ok();
        container.assert_gone();
        manager.hears_nothing();
    });
}

/// The unit that users get, with the program and the folders of this test.
#[runs(guest, trixie)]
fn our_unit_runs_a_bundle() {
    each(&[(Kind::Runc, "is not what it starts"), (Kind::Crun, "is not what it starts"), NO_REFERENCE], |runtime| {
        let script = "/usr/bin/systemd-notify --ready; trap 'exit 0' TERM; while :; do sleep 1; done";
        let bundle = with_the_machines_programs(Bundle::script(script)).edit(|config| {
            config["linux"].as_object_mut().unwrap().remove("cgroupsPath");
            config["linux"]["resources"]["memory"] = json!({"limit": 64 << 20});
        });
        runtime.write(&bundle);
        let bundles = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(bundle.path(), bundles.path().join(&bundle.id)).unwrap();
        let program = format!("{} --root {}", runtime.binary.display(), runtime.root().display());
        let text = include_str!("../../../configs/systemd/skiff@.service");
        let text = text
            .replace("/usr/bin/skiff", &program)
            .replace("/var/lib/skiff/bundles", bundles.path().to_str().unwrap());
        let template = Path::new("/run/systemd/system").join(format!("unit-{}@.service", bundle.id));
        std::fs::write(&template, text).unwrap();
        let systemctl = |words: &[&str]| Invocation::new("systemctl", words).run();
        systemctl(&["daemon-reload"]).ok();
        let container = Container { runtime, bundle: &bundle, id: bundle.id.clone() };
        let unit = format!("unit-{0}@{0}.service", bundle.id);
        let state = || systemctl(&["is-active", &unit]).stdout.trim().to_owned();

        systemctl(&["start", &unit]).ok();
        assert_eq!((state(), container.status()), ("active".to_owned(), "running".to_owned()));
        let first = container.pid();
        assert_eq!(cgroups::read(first, "memory", "memory.max"), (64 << 20).to_string());
        // The runtime dies, and the container that it leaves is not in the way of the next.
        systemctl(&["kill", "--kill-who=main", "--signal=KILL", &unit]).ok();
        eventually("it is up again", || {
            let again = container.state().is_some_and(|state| state["pid"] != first && state["status"] == "running");
            (again && state() == "active").then_some(())
        });
        assert!(!Path::new(&format!("/proc/{first}")).exists());
        systemctl(&["stop", &unit]).ok();
        assert_eq!(systemctl(&["show", "--value", "--property", "Result", &unit]).ok().trim(), "success");
        container.assert_gone();
        std::fs::remove_file(&template).unwrap();
        systemctl(&["daemon-reload"]).ok();
    });
}

/// A service of a shell, whose container outlives the command that has started it.
#[runs(guest)]
fn a_start_that_ends_at_once_is_heard() {
    each(&[OTHER_SOCKET, NO_REFERENCE, SAYS_MORE], |runtime| {
        let script = "/usr/bin/systemd-notify --ready; trap 'exit 0' TERM; while :; do sleep 1; done";
        let bundle = with_the_machines_programs(Bundle::script(script));
        runtime.write(&bundle);
        let container = runtime.container(&bundle);
        for round in 0..3 {
            let unit = format!("{}-{round}.service", bundle.id);
            let command = container.run_command(&["--detach"]).words().join(" ");
            let properties = ["Type=notify", "NotifyAccess=all", "TimeoutStartSec=60"];
            let mut start = vec!["--unit", &unit, "--collect", "--quiet"];
            properties.iter().for_each(|property| start.extend(["--property", property]));
            let service = format!("{command} && exec sleep 1000");
            start.extend(["sh", "-c", &service]);
            Invocation::new("systemd-run", &start).run().ok();
            Invocation::new("systemctl", &["stop", &unit]).run().ok();
            container.delete(&["--force"]).ok();
        }
        container.assert_gone();
    });
}

/// What a program says comes to whoever listens, and what a container puts beside its socket holds nobody up.
#[runs(everywhere)]
fn a_socket_that_was_left_and_files_beside_it() {
    each(&[OTHER_SOCKET, NO_REFERENCE, SAYS_MORE], |runtime| {
        let manager = Manager::new();
        let bundle = Bundle::sleeper();
        let container = runtime.container(&bundle);
        runtime.write(&bundle);
        let folder = bundle.path().to_string_lossy().into_owned();
        container.verb("create", &["--bundle", &folder], &[]).env("NOTIFY_SOCKET", &manager.path()).run().ok();
        let notify = runtime.root().join(&container.id).join("notify");
        // As by a `start` that was killed; as by a container that may mount.
        drop(UnixDatagram::bind(notify.join("notify.sock")).unwrap());
        std::fs::create_dir_all(notify.join("a/b")).unwrap();
        std::fs::write(notify.join("a/file"), "").unwrap();
        let waiting = container.verb("start", &[], &[]).env("NOTIFY_SOCKET", &manager.path()).spawn();
        container.reaches("running");
        say(&container, "READY=1");
        manager.hears(&format!("MAINPID={}\nREADY=1", container.pid()));
        manager.hears_the_barrier(runtime.kind);
        waiting.wait().exits(0);
        let mode = std::fs::metadata(notify.join("notify.sock")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o666);
        container.delete(&["--force"]).ok();
        container.assert_gone();
    });
}

#[test]
fn a_manager_that_cannot_be_told() {
    each(&[OTHER_SOCKET, NO_REFERENCE, SAYS_MORE], |runtime| {
        let bundle = Bundle::sleeper();
        let container = runtime.container(&bundle);
        let refused = container.run_command(&[]).env("NOTIFY_SOCKET", "vsock:2:1234").run();
        refused.fails_with(&["NOTIFY_SOCKET", "vsock:2:1234", "unset it"]);
        container.assert_gone();
        // The program is not what is wrong.
        let running = container.run_command(&[]).env("NOTIFY_SOCKET", "/nobody/is/here").spawn();
        container.reaches("running");
        say(&container, "READY=1");
        container.kill("TERM").ok();
        let outcome = running.wait().exits(0);
        assert!(outcome.stderr.contains("NOTIFY_SOCKET") && outcome.stderr.contains("No such file"), "{outcome}");
        container.assert_gone();
        let starting = container.run_command(&["--detach"]).env("NOTIFY_SOCKET", "/nobody/is/here").spawn();
        container.reaches("running");
        say(&container, "READY=1");
        let outcome = starting.wait().exits(0);
        assert!(outcome.stderr.contains("runs; cannot tell the service manager"), "{outcome}");
        container.delete(&["--force"]).ok();
        container.assert_gone();
    });
}

/// The machine's own programs in place of busybox.
fn with_the_machines_programs(bundle: Bundle) -> Bundle {
    ["usr", "lib", "lib64"].into_iter().filter(|name| Path::new("/").join(name).exists()).fold(
        bundle,
        |bundle, name| {
            bundle.mount(json!({
                "destination": format!("/{name}"),
                "source": format!("/{name}"),
                "options": ["rbind", "ro", "rprivate"],
            }))
        },
    )
}

#[runs(guest, trixie)]
fn a_unit_of_systemd_is_active_when_its_program_is_ready() {
    each(&[OTHER_SOCKET, NO_REFERENCE, SAYS_MORE], |runtime| {
        let script =
            "sleep 2; /usr/bin/systemd-notify --status=afloat --ready; trap 'exit 0' TERM; while :; do sleep 1; done";
        let bundle = with_the_machines_programs(Bundle::script(script));
        runtime.write(&bundle);
        let container = runtime.container(&bundle);
        let unit = format!("{}.service", bundle.id);
        let command = container.run_command(&[]);
        let words = command.words();
        let mut start = vec!["--unit", &unit, "--property", "Type=notify", "--collect", "--quiet"];
        start.extend(words.iter().map(String::as_str));
        // It returns when the unit is active, and not before.
        let begun = std::time::Instant::now();
        Invocation::new("systemd-run", &start).run().ok();
        assert!(begun.elapsed().as_millis() >= 2000, "it waited");
        let show = |property: &str| {
            let shown = Invocation::new("systemctl", &["show", "--value", "--property", property, &unit]).run();
            shown.ok().trim().to_owned()
        };
        assert_eq!(["ActiveState", "StatusText", "Result"].map(show), ["active", "afloat", "success"]);
        Invocation::new("systemctl", &["stop", &unit]).run().ok();
        let left = until_none(|| Some(show("ActiveState")).filter(|state| state != "inactive").into_iter().collect());
        assert_eq!(left, Vec::<String>::new());
        container.assert_gone();
    });
}
