//! Has cargo and make build what a lane runs: the programs, and the test binaries.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// What could not be built or started, in words for the table.
#[derive(Debug)]
pub struct Failure(pub String);

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// The four programs that users get.
pub const PROGRAMS: [&str; 4] = ["skiff", "containerd-shim-skiff-v1", "skiffd", "skiffctl"];

/// The top of the project.
#[must_use]
pub fn top() -> PathBuf {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_folder.parent().expect("this crate lies one below the top").to_owned()
}

fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(top());
    command
}

/// Runs `command` to its end, with its words on our own error output.
///
/// # Errors
/// [`Failure`] with `what` when it does not succeed.
pub fn succeed(what: &str, command: &mut Command) -> Result<(), Failure> {
    let status = command.stdout(std::io::stderr()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure(format!("{what} ended with {status}"))),
        Err(error) => Err(Failure(format!("{what} does not start: {error}"))),
    }
}

/// Debug builds of every program, and the reference runtime; the folder in which they are.
///
/// # Errors
/// [`Failure`] when cargo fails.
pub fn programs() -> Result<PathBuf, Failure> {
    succeed("cargo build --workspace --bins", cargo().args(["build", "--workspace", "--bins"]))?;
    let reference =
        ["build", "-p", "skiff-integration-tests", "--features", "reference", "--bin", "reference", "--quiet"];
    succeed("building the reference runtime", cargo().args(reference))?;
    Ok(top().join("target/debug"))
}

/// Static builds for this architecture, not optimised as a whole; the folder in which they are.
///
/// # Errors
/// [`Failure`] when cargo fails.
pub fn static_programs() -> Result<PathBuf, Failure> {
    let triple = Command::new("rustc").arg("-vV").output().map_err(|error| Failure(format!("rustc -vV: {error}")))?;
    let text = String::from_utf8_lossy(&triple.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.ok_or_else(|| Failure("rustc -vV names no host".to_owned()))?;
    let packages = ["-p", "skiff", "-p", "skiff-shim", "-p", "skiff-supervisor", "--bins"];
    let mut command = cargo();
    command.args(["build", "--profile", "guest", "--target", host]).args(packages);
    command.env("RUSTFLAGS", "-C target-feature=+crt-static");
    succeed("cargo build --profile guest", &mut command)?;
    Ok(top().join("target").join(host).join("guest"))
}

/// The same for a 64-bit ARM machine; not optimised, as what the tests of the crates are built of is there already.
///
/// # Errors
/// [`Failure`] when the compiler cannot be had, or cargo fails.
pub fn arm64_programs() -> Result<PathBuf, Failure> {
    let mut command = Command::new("integration-tests/setup-cross.sh");
    let output = command.args(["programs", "aarch64"]).current_dir(top()).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| Failure(format!("setup-cross.sh programs: {error}")))?;
    if !output.status.success() {
        return Err(Failure(format!("setup-cross.sh programs ended with {}", output.status)));
    }
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

/// The test binary of each suite, built for this machine.
///
/// # Errors
/// [`Failure`] when cargo fails.
pub fn tests(suites: &[&str]) -> Result<Vec<(String, PathBuf)>, Failure> {
    let mut command = cargo();
    command.args(["test", "--no-run", "-p", "skiff-integration-tests", "--message-format=json"]);
    binaries(suites, &mut command)
}

/// The test binary of each suite for a 64-bit ARM machine, built as the tests of the crates are (`arm-unit.sh`).
///
/// # Errors
/// [`Failure`] when the compiler cannot be had, or cargo fails.
pub fn arm64_tests(suites: &[&str]) -> Result<Vec<(String, PathBuf)>, Failure> {
    let mut command = Command::new("integration-tests/setup-cross.sh");
    command.current_dir(top()).args(["tests", "aarch64", "-p", "skiff-integration-tests"]);
    let output = output(suites, &mut command)?;
    // A line for each: architecture, name, folder of its crate, path.
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let lines: Vec<Vec<String>> = output.lines().map(words).collect();
    let path =
        |suite: &str| Some(PathBuf::from(lines.iter().find(|line| line.get(1).is_some_and(|it| it == suite))?.get(3)?));
    named(suites, path)
}

/// Runs a `cargo test --no-run` that reports in JSON, and reads where the binaries are.
fn binaries(suites: &[&str], command: &mut Command) -> Result<Vec<(String, PathBuf)>, Failure> {
    let output = output(suites, command)?;
    let messages: Vec<Value> = output.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    named(suites, |suite| {
        let is_it = |message: &&Value| message["target"]["name"] == suite && message["executable"].is_string();
        messages.iter().find(is_it)?["executable"].as_str().map(PathBuf::from)
    })
}

/// Asks for the tests of these suites; what the command prints.
fn output(suites: &[&str], command: &mut Command) -> Result<String, Failure> {
    for suite in suites {
        command.args(["--test", suite]);
    }
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| Failure(format!("building the tests: {error}")))?;
    if !output.status.success() {
        return Err(Failure(format!("building the tests ended with {}", output.status)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn named(suites: &[&str], path: impl Fn(&str) -> Option<PathBuf>) -> Result<Vec<(String, PathBuf)>, Failure> {
    let found = |suite: &&str| match path(suite) {
        Some(path) => Ok(((*suite).to_owned(), path)),
        None => Err(Failure(format!("cargo built no test binary of `{suite}`"))),
    };
    suites.iter().map(found).collect()
}
