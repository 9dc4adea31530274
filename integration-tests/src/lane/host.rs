//! Runs a lane on this machine, and counts what any test program prints.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use super::build::{Failure, top};
use super::selection::select;
use super::tally::Tally;
use super::{Between, Lane, Round};

/// Runs `command`, passing its output on to `out` and counting it.
///
/// # Errors
/// [`Failure`] when it does not start.
pub fn count(tally: &mut Tally, command: &mut Command, out: &mut dyn Write) -> Result<ExitStatus, Failure> {
    let name = command.get_program().to_string_lossy().into_owned();
    let failed = |error| Failure(format!("`{name}`: {error}"));
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(failed)?;
    let mut output = BufReader::new(child.stdout.take().expect("asked for above"));
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line).map_err(failed)? > 0 {
        tally.line(String::from_utf8_lossy(&line).trim_end());
        out.write_all(&line).and_then(|()| out.flush()).map_err(failed)?;
        line.clear();
    }
    child.wait().map_err(failed)
}

/// The names of the tests of `binary` that run in `lane`.
///
/// # Errors
/// [`Failure`] when it does not list them.
pub fn list(binary: &Path, lane: &Lane, filters: &[String]) -> Result<Vec<String>, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure(format!("`{} --list`: {error}", binary.display()));
    let output = Command::new(binary).arg("--list").output().map_err(|error| failed(&error))?;
    if !output.status.success() {
        return Err(failed(&output.status));
    }
    Ok(select(&String::from_utf8_lossy(&output.stdout), lane, filters))
}

/// Complains when fewer or more tests told of themselves than were asked for.
pub fn check_told(tally: &mut Tally, asked: usize, before: usize, suite: &str) {
    let told = tally.told() - before;
    if told != asked {
        tally.fail(format!("{suite}: {told} of {asked} tests said how they ended"));
    }
}

/// Runs the lane's tests of each suite.
///
/// # Errors
/// [`Failure`] when something cannot be started.
pub fn run(round: &mut Round, between: Between, suites: &[(String, PathBuf)]) -> Result<Tally, Failure> {
    let lane = round.lane;
    let mut tally = Tally::default();
    let skiff = stand_between(lane, between)?;
    for (suite, binary) in suites {
        let tests = list(binary, lane, round.filters)?;
        if tests.is_empty() {
            continue;
        }
        let before = tally.told();
        let mut command = Command::new(binary);
        command.args(["--exact", "--include-ignored"]).args(&tests).current_dir(top().join("integration-tests"));
        command.env("SKIFF_SKIP_LOG", round.skips).envs(lane.variables());
        if let Some(skiff) = &skiff {
            command.env("SKIFF_BIN", skiff);
        }
        if let Between::Without(words) = between {
            command.env("SKIFF_TEST_WITHOUT", words);
        }
        count(&mut tally, &mut command, round.out)?;
        check_told(&mut tally, tests.len(), before, suite);
    }
    Ok(tally)
}

/// A script in the place of `skiff`, if this lane puts something between it and its callers.
fn stand_between(lane: &Lane, between: Between) -> Result<Option<PathBuf>, Failure> {
    let built = top().join("target/debug");
    let (skiff, without) = (built.join("skiff"), built.join("without"));
    let line = match between {
        Between::Nothing => return Ok(None),
        Between::Without(words) => format!("exec '{}' {words} '{}' \"$@\"", without.display(), skiff.display()),
        Between::Flags(flags) => format!("exec '{}' {flags} \"$@\"", skiff.display()),
    };
    let folder = top().join("target/lanes").join(lane.name);
    let script = folder.join("skiff");
    let written = fs::create_dir_all(&folder)
        .and_then(|()| fs::write(&script, format!("#!/bin/sh\n{line}\n")))
        .and_then(|()| fs::set_permissions(&script, fs::Permissions::from_mode(0o755)));
    written.map_err(|error| Failure(format!("`{}`: {error}", script.display())))?;
    Ok(Some(script))
}
