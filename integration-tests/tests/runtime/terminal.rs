//! Terminals: console socket, size, /dev/console, and a foreground run on the caller's terminal.

use rustix::termios::{Winsize, tcgetattr, tcgetwinsize, tcsetwinsize};
use serde_json::json;
use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::compare::each;
use skiff_integration_tests::console::{ConsoleSocket, read_terminal, terminal};
use skiff_integration_tests::kernel;
use skiff_integration_tests::runtime::Kind;
use skiff_lanes::runs;

fn on_terminal(script: &str) -> Bundle {
    Bundle::script(script).edit(|config| config["process"]["terminal"] = json!(true))
}

/// A caller such as nohup(1) or a shell's background job ignores signals that the test sends.
pub(super) const IGNORED_BY_CALLER: &str = "its programs inherit the signals that its caller ignores";

#[runs(everywhere)]
fn console_socket_gets_the_emulators_side() {
    each(&[], |runtime| {
        let bundle = on_terminal(
            "tty; test -t 0 && test -t 1 && test -t 2 && echo all; stat -c '%t:%T' /dev/console; read line; echo got $line",
        );
        let socket = ConsoleSocket::listen(bundle.path(), "console");
        let container = runtime.container(&bundle);
        container.create(&["--console-socket", &socket.path()]).ok();
        let (emulator, _) = socket.receive();
        container.start().ok();
        let seen = read_terminal(&emulator, Some("\n88:"));
        assert!(seen.contains("/dev/pts/0\r\nall\r\n"), "{seen:?}");
        rustix::io::write(&emulator, b"words\n").unwrap();
        read_terminal(&emulator, Some("got words"));
        container.reaches("stopped");
        container.delete(&[]).ok();
        container.assert_gone();
    });
}

#[test]
fn console_size_is_set() {
    each(&[(Kind::Reference, "ignores consoleSize")], |runtime| {
        let bundle = on_terminal("stty size; echo end")
            .edit(|config| config["process"]["consoleSize"] = json!({"height": 33, "width": 111}));
        let socket = ConsoleSocket::listen(bundle.path(), "console");
        let container = runtime.container(&bundle);
        container.create(&["--console-socket", &socket.path()]).ok();
        let (emulator, _) = socket.receive();
        let size = tcgetwinsize(&emulator).unwrap();
        assert_eq!((size.ws_row, size.ws_col), (33, 111));
        container.start().ok();
        let seen = read_terminal(&emulator, Some("end"));
        assert!(seen.contains("33 111"), "{seen:?}");
    });
}

#[test]
fn the_terminal_is_the_controlling_one() {
    each(&[(Kind::Reference, IGNORED_BY_CALLER)], |runtime| {
        // Writing to /dev/tty works only with a controlling terminal; ^C reaches its foreground group.
        // A shell that is about to read would keep the signal to itself until a line comes.
        let script = "trap 'echo interrupted' INT; echo x >/dev/tty && echo has-tty; while :; do sleep 0.2; done";
        let bundle = on_terminal(script);
        let socket = ConsoleSocket::listen(bundle.path(), "console");
        let container = runtime.container(&bundle);
        container.create(&["--console-socket", &socket.path()]).ok();
        let (emulator, _) = socket.receive();
        container.start().ok();
        read_terminal(&emulator, Some("has-tty"));
        rustix::io::write(&emulator, &[3]).unwrap();
        read_terminal(&emulator, Some("interrupted"));
    });
}

#[test]
fn the_terminal_belongs_to_the_user() {
    each(&[(Kind::Reference, "leaves it to root")], |runtime| {
        let bundle = on_terminal("stat -Lc 'owner %u' /proc/self/fd/0; (echo mine >$(tty)) && echo end")
            .edit(|config| config["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
        let socket = ConsoleSocket::listen(bundle.path(), "console");
        let container = runtime.container(&bundle);
        container.create(&["--console-socket", &socket.path()]).ok();
        let (emulator, _) = socket.receive();
        container.start().ok();
        let seen = read_terminal(&emulator, Some("end"));
        assert!(seen.contains("owner 1000") && seen.contains("mine"), "{seen:?}");
    });
}

#[test]
fn a_terminal_needs_a_console_socket_and_the_other_way_round() {
    let lenient = [(Kind::Crun, "makes a terminal that nobody holds"), (Kind::Reference, "leaves its folder")];
    each(&lenient, |runtime| {
        let bundle = on_terminal("true");
        let container = runtime.container(&bundle);
        container.create(&[]).fails();
        container.assert_gone();
        let plain = Bundle::new();
        let socket = ConsoleSocket::listen(plain.path(), "console");
        let container = runtime.container(&plain);
        container.create(&["--console-socket", &socket.path()]).fails();
        container.assert_gone();
        let nobody = on_terminal("true");
        let container = runtime.container(&nobody);
        container.create(&["--console-socket", "/does/not/exist"]).fails();
        container.assert_gone();
    });
}

#[runs(everywhere)]
fn foreground_run_uses_the_callers_terminal_and_gives_it_back() {
    let unsized_terminal = [(Kind::Reference, "proxies no terminal"), (Kind::Crun, "1.8 leaves the size at 0x0")];
    each(&unsized_terminal, |runtime| {
        let bundle = on_terminal(
            "until [ \"$(stty size 2>/dev/null)\" = '41 99' ]; do sleep 0.01; done; echo ready; until [ \"$(stty size)\" = '20 50' ]; do sleep 0.01; done; echo resized; read line; echo got $line; exit 5",
        );
        let (emulator, program) = terminal();
        tcsetwinsize(&program, Winsize { ws_row: 41, ws_col: 99, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let before = format!("{:?}", tcgetattr(&program).unwrap());
        let container = runtime.container(&bundle);
        let running = container.run_command(&[]).on_terminal(&program);
        // Said only when the container's terminal has the caller's size, however late it gets it.
        read_terminal(&emulator, Some("ready"));
        tcsetwinsize(&program, Winsize { ws_row: 20, ws_col: 50, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        running.signal(rustix::process::Signal::WINCH);
        read_terminal(&emulator, Some("resized"));
        rustix::io::write(&emulator, b"words\n").unwrap();
        read_terminal(&emulator, Some("got words"));
        running.wait().exits(5);
        assert_eq!(format!("{:?}", tcgetattr(&program).unwrap()), before, "the terminal's modes are given back");
        container.assert_gone();
    });
}

#[runs(everywhere)]
fn pidfd_socket_gets_a_pidfd_of_init() {
    let old = [
        (Kind::Runc, "runc 1.1 has no --pidfd-socket"),
        (Kind::Crun, "an annotation there"),
        (Kind::Reference, "not there"),
    ];
    each(&old, |runtime| {
        let bundle = Bundle::sleeper();
        let socket = ConsoleSocket::listen(bundle.path(), "pidfd");
        let container = runtime.container(&bundle);
        if kernel::lacks("pidfd_open") {
            container.create(&["--pidfd-socket", &socket.path()]).fails_with(&["pidfd"]);
            return container.assert_gone();
        }
        container.create(&["--pidfd-socket", &socket.path()]).ok();
        let (pidfd, message) = socket.receive();
        assert_eq!(message, "standard");
        let number = std::os::fd::AsRawFd::as_raw_fd(&pidfd);
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap();
        assert!(info.contains(&format!("Pid:\t{}\n", container.pid())), "{info}");
    });
}

// strace follows no child here: only the runtime's own calls on the terminal fail.
#[test]
fn a_terminal_that_cannot_be_connected_leaves_nothing() {
    each(&[(Kind::Runc, "not measured"), (Kind::Crun, "not measured"), (Kind::Reference, "not measured")], |runtime| {
        let bundle = on_terminal("echo lives");
        let container = runtime.container(&bundle);
        let log = bundle.path().join("strace.log");
        let prefix = ["strace", "-qq", "-o", &*log.to_string_lossy(), "-e", "inject=ioctl:error=EIO"];
        let said = container.run_under(&prefix, &[]).run().fails_with(&["terminal"]);
        assert!(!said.contains("lives"), "{said}");
        container.assert_gone();
    });
}
