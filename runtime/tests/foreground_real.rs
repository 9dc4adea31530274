//! Keeps real children in the foreground. The test plays the outer terminal and executes itself as the *keeper* (what
//! `skiff run` is), which executes itself as the *contained* process (what `init` is), which executes a shell.
// The bans protect the runtime; these are whole programs that only play its part.
#![allow(clippy::disallowed_methods)]
#![allow(clippy::unwrap_used, reason = "a test: every failure is to be loud")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use skiff::foreground::{self, Proxy, Signals};
use skiff::terminal::{self, Size};

const ROLE: &str = "SKIFF_ROLE";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match std::env::var(ROLE).as_deref() {
        Ok("keeper") => keeper(&arguments[1], &arguments[2]),
        Ok("contained") => contained(&arguments[1], &arguments[2]),
        _ if arguments.iter().any(|argument| argument == "--list") => println!("foreground_real: test"),
        _ => {
            let tests: [(&str, fn()); 9] = [
                ("statuses", statuses),
                ("a child that exits at once", at_once),
                ("signals are forwarded", forwarding),
                ("orphans are reaped", orphans),
                ("the child starts with clean signals", clean_signals),
                ("a strange child", stranger),
                ("a terminal", terminal_session),
                ("all output arrives, the mode is restored", output_and_mode),
                ("nobody reads the output", nobody_reads),
            ];
            for (name, test) in tests {
                test();
                println!("{name}: ok");
            }
        }
    }
}

// ---- the keeper and the contained process ----

fn own() -> Command {
    Command::new(std::env::current_exe().unwrap())
}

/// Runs `script` by /bin/sh as `skiff run` would, and exits as it would.
fn keeper(kind: &str, script: &str) {
    foreground::become_subreaper().unwrap();
    let signals = Signals::block().unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut command = own();
    command.env(ROLE, "contained").args([kind, script]);
    if kind == "terminal" {
        command.stdin(OwnedFd::from(theirs));
    }
    let child = command.spawn().unwrap();
    drop(command);
    let pid = i32::try_from(child.id()).unwrap();
    if kind == "late" {
        // The child has exited long before anybody waits for it.
        std::thread::sleep(Duration::from_millis(100));
    }
    let proxy = (kind == "terminal").then(|| {
        let (master, name) = terminal::receive_descriptor(ours.as_fd()).unwrap();
        assert_eq!(name, terminal::MASTER_NAME);
        Proxy::start(master).unwrap()
    });
    let pid = if kind == "stranger" { 1 } else { pid };
    let code = foreground::wait(pid, &signals, proxy, None).unwrap_or_else(|error| {
        eprintln!("{error}");
        250
    });
    let left = rustix::process::wait(rustix::process::WaitOptions::NOHANG);
    assert_eq!(left.err(), Some(rustix::io::Errno::CHILD), "a child was left behind");
    std::process::exit(code);
}

fn contained(kind: &str, script: &str) {
    if kind == "terminal" {
        nix::unistd::setsid().unwrap();
        let root = File::open("/").unwrap();
        let pty = terminal::allocate(root.as_fd()).unwrap();
        pty.set_size(Size { rows: 9, columns: 9 }).unwrap();
        let socket = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
        terminal::send_descriptor(socket.as_fd(), pty.master.as_fd(), terminal::MASTER_NAME).unwrap();
        drop(pty.make_controlling().unwrap());
    }
    // What the clone of the real runtime inherits.
    let _blocked = Signals::block().unwrap();
    skiff::sys::prctl::reset_signals();
    let error = Command::new("/bin/bash").args(["-c", script]).env_remove(ROLE).exec();
    panic!("{error}");
}

// ---- the tests ----

fn keep(kind: &str, script: &str) -> Command {
    let mut command = own();
    command.env(ROLE, "keeper").args([kind, script]);
    command
}

fn code_of(kind: &str, script: &str) -> i32 {
    keep(kind, script).status().unwrap().code().unwrap()
}

fn statuses() {
    assert_eq!(code_of("plain", "exit 7"), 7);
    assert_eq!(code_of("plain", "kill -9 $$"), 137);
    assert_eq!(code_of("plain", "kill -34 $$"), 162);
    assert_eq!(code_of("plain", "(kill -STOP $$; sleep 0.1; kill -CONT $$) & wait; exit 3"), 3);
    // Whoever ignores SIGCHLD passes that on.
    let mut env = Command::new("env");
    env.arg("--ignore-signal=CHLD").arg(std::env::current_exe().unwrap()).args(["plain", "exit 4"]);
    assert_eq!(env.env(ROLE, "keeper").status().unwrap().code(), Some(4));
}

fn at_once() {
    for _ in 0..50 {
        assert_eq!(code_of("plain", "exit 1"), 1);
    }
    assert_eq!(code_of("late", "exit 5"), 5);
}

fn forwarding() {
    for (number, signal) in [(15, "TERM"), (1, "HUP"), (10, "USR1"), (13, "PIPE"), (20, "TSTP"), (40, "40")] {
        let script = format!("trap 'exit {}' {signal}; echo ready; while :; do sleep 0.02; done", 50 + number);
        let mut child = keep("plain", &script).stdout(Stdio::piped()).spawn().unwrap();
        read_until(child.stdout.as_mut().unwrap(), "ready\n");
        // By the shell's kill: libraries do not know number 40.
        let done = Command::new("/bin/bash").args(["-c", &format!("kill -{number} {}", child.id())]).status().unwrap();
        assert!(done.success());
        assert_eq!(child.wait().unwrap().code(), Some(50 + number), "{signal}");
    }
}

fn orphans() {
    // The inner shells lose their parent and come to the keeper, which asserts that nobody is left.
    assert_eq!(code_of("plain", "for i in 1 2 3; do (sleep 0.05 & sleep 0.05 &); done; sleep 0.3; exit 6"), 6);
}

fn clean_signals() {
    let mut env = Command::new("env");
    env.args(["--ignore-signal=HUP", "--ignore-signal=USR1"]).arg(std::env::current_exe().unwrap());
    env.args(["plain", "grep -E 'Sig(Blk|Ign)' /proc/self/status"]).env(ROLE, "keeper");
    let text = String::from_utf8(env.output().unwrap().stdout).unwrap();
    assert_eq!(text, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

fn stranger() {
    let output = keep("stranger", "exit 0").stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(250));
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(words, "process 1 is not a child of this process; its exit status is lost\n");
}

/// The outer terminal with a keeper in it.
struct Outer {
    master: File,
    slave: OwnedFd,
    keeper: Child,
    mode: String,
}

impl Outer {
    fn start(script: &str) -> Self {
        let size = nix::pty::Winsize { ws_row: 40, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = nix::pty::openpty(Some(&size), None).unwrap();
        let end = || pair.slave.try_clone().unwrap();
        let mode = mode(&pair.slave);
        let keeper = keep("terminal", script).stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        Self { master: File::from(pair.master), slave: pair.slave, keeper, mode }
    }

    fn finish(&mut self) -> i32 {
        let code = self.keeper.wait().unwrap().code().unwrap();
        assert_eq!(mode(&self.slave), self.mode, "the outer terminal's mode was not restored");
        code
    }
}

/// A test that fails leaves no keeper behind: the container dies with its terminal's master.
impl Drop for Outer {
    fn drop(&mut self) {
        let _ended_already = self.keeper.kill();
    }
}

fn mode(terminal: &OwnedFd) -> String {
    format!("{:?}", rustix::termios::tcgetattr(terminal).unwrap())
}

fn read_until(source: &mut impl Read, end: &str) -> String {
    let (mut text, mut byte) = (Vec::new(), [0]);
    while !text.ends_with(end.as_bytes()) {
        assert_eq!(source.read(&mut byte).unwrap(), 1, "ended after {:?}", String::from_utf8_lossy(&text));
        text.push(byte[0]);
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn terminal_session() {
    // The shell runs before the keeper has copied the outer size, where the real child waits for a word to go.
    let script = "tty; until [ \"$(stty size)\" = '40 120' ]; do sleep 0.01; done
        trap 'exit 9' INT; trap 'stty size' WINCH; stty size
        read line; echo \"got:$line\"; while :; do sleep 0.02; done";
    let mut outer = Outer::start(script);
    let text = read_until(&mut outer.master, "40 120\r\n");
    assert!(text.starts_with("/dev/pts/"), "{text:?}");
    outer.master.write_all(b"hello\r").unwrap();
    // The echo is the container's.
    assert_eq!(read_until(&mut outer.master, "got:hello\r\n"), "hello\r\ngot:hello\r\n");
    let size = rustix::termios::Winsize { ws_row: 21, ws_col: 77, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&outer.slave, size).unwrap();
    kill(Pid::from_raw(outer.keeper.id().try_into().unwrap()), Signal::SIGWINCH).unwrap();
    read_until(&mut outer.master, "21 77\r\n");
    outer.master.write_all(b"\x03").unwrap();
    assert_eq!(outer.finish(), 9);
}

fn output_and_mode() {
    let mut outer = Outer::start("seq 1 30000; exit 5");
    let text = read_until(&mut outer.master, "\n30000\r\n");
    assert_eq!(text.lines().count(), 30_000);
    assert_eq!(outer.finish(), 5);

    let mut outer = Outer::start("echo on; kill -9 $$");
    read_until(&mut outer.master, "on\r\n");
    assert_eq!(outer.finish(), 137);

    // A container that closes its terminal does not make the keeper spin.
    let mut outer = Outer::start("exec 0<&- 1>&- 2>&-; sleep 0.5; exit 8");
    let (stat, start) = (format!("/proc/{}/stat", outer.keeper.id()), Instant::now());
    while start.elapsed() < Duration::from_millis(400) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let line = std::fs::read_to_string(stat).unwrap();
    let ticks: u64 = line.split(' ').skip(13).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    assert!(ticks < 10, "{ticks} ticks of processor time");
    assert_eq!(outer.finish(), 8);

    // Standard streams that are no terminal: a file in, a pipe out.
    let mut command = keep("terminal", "read line; echo \"<$line>\"; seq 1 5000; exit 2");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"from a pipe\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("<from a pipe>\r\n") && text.ends_with("\n5000\r\n"), "{text:?}");
    assert_eq!(output.status.code(), Some(2));
}

fn nobody_reads() {
    let mut child =
        keep("terminal", "seq 1 100000; exit 3").stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(3));
    // An output that is stuck after the exit can be given up.
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("marker");
    let script = format!("seq 1 100; echo >{}; exit 3", marker.display());
    let mut child = keep("terminal", &script).stdin(Stdio::null()).stdout(stuck_pipe()).spawn().unwrap();
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    while !marker.exists() || !std::fs::read_to_string(&children).unwrap().is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(100));
    assert!(child.try_wait().unwrap().is_none(), "the pipe was full");
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

/// The writing end of a full pipe whose reading end stays open.
fn stuck_pipe() -> OwnedFd {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    while rustix::io::write(&writer, &[b'x'; 4096]).is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).unwrap();
    // Kept until this process ends.
    std::mem::forget(reader);
    writer
}
