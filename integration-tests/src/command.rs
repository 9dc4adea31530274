//! Every program that a test starts is started here: output goes to unnamed files (a detached container may keep them
//! open for ever), and each wait has a deadline, so that a hang is a failure and not a stuck suite.

use std::fmt;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open};

/// How long one program may take before it counts as hung; `SKIFF_TEST_TIMEOUT` (seconds) changes it.
pub fn patience() -> Duration {
    let seconds = std::env::var("SKIFF_TEST_TIMEOUT").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(30))
}

/// Asks `question` until it answers, at most [`patience`] long; more and more rarely, since most questions start a program,
/// which takes the processor from what is waited for.
pub fn eventually<T>(what: &str, mut question: impl FnMut() -> Option<T>) -> T {
    const LONGEST: Duration = Duration::from_millis(50);
    let mut pause = Duration::from_millis(2);
    let deadline = Instant::now() + patience();
    loop {
        if let Some(answer) = question() {
            return answer;
        }
        assert!(Instant::now() < deadline, "never came true: {what}");
        std::thread::sleep(pause);
        pause = LONGEST.min(pause * 3 / 2);
    }
}

/// How a program ended and what it said.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The command line, for messages.
    pub line: String,
    /// Exit code, or `None` after a signal.
    pub code: Option<i32>,
    /// Number of the signal that ended it.
    pub signal: Option<i32>,
    /// The deadline passed and the program was killed.
    pub hung: bool,
    /// Standard output.
    pub stdout: String,
    /// Standard output as it was, for answers that are no text.
    pub bytes: Vec<u8>,
    /// Standard error.
    pub stderr: String,
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, code, signal, hung, stdout, stderr, .. } = self;
        write!(out, "`{line}` code {code:?} signal {signal:?} hung {hung}\n--stdout\n{stdout}--stderr\n{stderr}")
    }
}

impl Outcome {
    /// Ended with exit code 0.
    pub fn succeeded(&self) -> bool {
        self.code == Some(0)
    }

    /// Asserts exit code 0 and returns standard output.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.succeeded(), "should have succeeded: {self}");
        self.stdout
    }

    /// Asserts the exit code and returns the outcome.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert!(self.code == Some(code), "should have exited with {code}: {self}");
        self
    }

    /// Asserts an exit code other than 0, without a hang or a signal, and returns standard error.
    #[track_caller]
    pub fn fails(self) -> String {
        assert!(self.code.is_some_and(|code| code != 0), "should have failed: {self}");
        self.stderr
    }

    /// Asserts that it failed with a message that has all of `words`.
    #[track_caller]
    pub fn fails_with(self, words: &[&str]) -> String {
        for word in words {
            assert!(self.stderr.contains(word), "should have said {word:?}: {self}");
        }
        self.fails()
    }
}

/// A program about to be started.
#[derive(Debug)]
pub struct Invocation {
    command: Command,
    line: String,
    patience: Duration,
}

impl Invocation {
    /// Prepares `program` with `arguments`, nothing on standard input.
    pub fn new<S: AsRef<std::ffi::OsStr>>(program: S, arguments: &[&str]) -> Self {
        let mut command = Command::new(&program);
        command.args(arguments).stdin(Stdio::null()).process_group(0);
        let line = format!("{} {}", program.as_ref().to_string_lossy(), arguments.join(" "));
        Self { command, line, patience: patience() }
    }

    /// The program and its arguments, for another program to start.
    pub fn words(&self) -> Vec<String> {
        let words = std::iter::once(self.command.get_program()).chain(self.command.get_args());
        words.map(|word| word.to_string_lossy().into_owned()).collect()
    }

    /// Adds a variable to the environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Removes every variable of the environment.
    pub fn env_clear(mut self) -> Self {
        self.command.env_clear();
        self
    }

    /// Sets the working directory.
    pub fn cwd(mut self, directory: &std::path::Path) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// Runs the program as this user and group.
    pub fn user(mut self, id: u32) -> Self {
        self.command.uid(id).gid(id);
        self
    }

    /// Gives standard input.
    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Self {
        self.command.stdin(stdin);
        self
    }

    /// Changes how long the program may take.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Starts the program on a terminal: standard input, output and error are `terminal`.
    pub fn on_terminal(mut self, terminal: &OwnedFd) -> Running {
        let copy = || Stdio::from(terminal.try_clone().expect("descriptor copies"));
        self.command.stdin(copy()).stdout(copy()).stderr(copy());
        self.start(None)
    }

    /// Starts the program and does not wait.
    pub fn spawn(mut self) -> Running {
        let stdout = tempfile::tempfile().expect("temporary file");
        let stderr = tempfile::tempfile().expect("temporary file");
        self.command.stdout(stdout.try_clone().expect("descriptor copies"));
        self.command.stderr(stderr.try_clone().expect("descriptor copies"));
        self.start(Some((stdout, stderr)))
    }

    fn start(mut self, output: Option<(File, File)>) -> Running {
        let child = self.command.spawn().unwrap_or_else(|error| panic!("`{}` does not start: {error}", self.line));
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).expect("pidfd of our own child");
        Running { child, pidfd, output, line: self.line, deadline: Instant::now() + self.patience, reaped: false }
    }

    /// Runs the program to its end.
    pub fn run(self) -> Outcome {
        self.spawn().wait()
    }
}

/// A program that was started; killed with its process group when dropped before its end.
#[derive(Debug)]
pub struct Running {
    child: Child,
    pidfd: OwnedFd,
    output: Option<(File, File)>,
    line: String,
    deadline: Instant,
    reaped: bool,
}

impl Running {
    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the program alone.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("signal to our own child");
    }

    /// Standard output so far.
    pub fn stdout(&self) -> String {
        self.output.as_ref().map(|(stdout, _)| text(stdout)).unwrap_or_default()
    }

    /// Waits for the end, at most until the deadline; a hung program is killed.
    pub fn wait(mut self) -> Outcome {
        let hung = !self.ended_by_deadline();
        if hung {
            self.kill();
        }
        let status = self.child.wait().expect("our own child");
        self.reaped = true;
        let (bytes, stderr) =
            self.output.as_ref().map(|(stdout, stderr)| (contents(stdout), text(stderr))).unwrap_or_default();
        let stdout = String::from_utf8_lossy(&bytes).into_owned();
        Outcome { line: self.line.clone(), code: status.code(), signal: status.signal(), hung, stdout, bytes, stderr }
    }

    fn ended_by_deadline(&self) -> bool {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).expect("minutes fit");
        let mut descriptors = [PollFd::from_borrowed_fd(self.pidfd.as_fd(), PollFlags::IN)];
        matches!(poll(&mut descriptors, Some(&timeout)), Ok(1..))
    }

    fn kill(&mut self) {
        // The group may be gone already; the child itself is ours until it is reaped.
        let _group_may_be_gone = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        self.child.kill().expect("our own child");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.reaped {
            self.kill();
            let _status_is_of_no_interest = self.child.wait();
        }
    }
}

fn text(file: &File) -> String {
    String::from_utf8_lossy(&contents(file)).into_owned()
}

// Reads without moving the offset: the program shares it.
fn contents(file: &File) -> Vec<u8> {
    let length = file.metadata().expect("open file").len() as usize;
    let mut bytes = vec![0; length];
    let read = file.read_at(&mut bytes, 0).expect("temporary file is read");
    bytes.truncate(read);
    bytes
}
