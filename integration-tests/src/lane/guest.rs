//! Runs a lane in a virtual machine: takes in the programs and the test binaries, and lets one boot serve all tests.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::build::{Failure, PROGRAMS, succeed, top};
use super::host::{check_told, count, list};
use super::tally::Tally;
use super::{Lane, Machine, Round};

/// Seconds that the tests of one lane may take; `SKIFF_VM_TIMEOUT` changes it.
const LIMIT: &str = "2400";

/// What is taken into the machine.
#[derive(Debug)]
pub struct Load {
    /// The folder of the four programs.
    pub programs: PathBuf,
    /// The test binary of each suite, for the machine's architecture.
    pub tests: Vec<(String, PathBuf)>,
    /// The same suites for this machine: they know the names of the tests.
    pub listed_by: Vec<(String, PathBuf)>,
    /// The reference runtime, if the machine can execute it.
    pub reference: Option<PathBuf>,
}

/// Builds the machine's image and boots it, so that a run later begins at once.
#[must_use]
pub fn preparation(machine: &Machine) -> Command {
    let mut command = vm_run(machine);
    command.arg("-p");
    command
}

fn vm_run(machine: &Machine) -> Command {
    let mut command = Command::new(top().join("integration-tests/guest/vm-run.sh"));
    command.args(["-S", machine.suite, "-a", machine.arch, "-m", &machine.memory.to_string(), "-s", "2"]);
    if !machine.kernel_arguments.is_empty() {
        command.args(["-A", machine.kernel_arguments]);
    }
    command
}

/// Runs the lane's tests.
///
/// # Errors
/// [`Failure`] when the machine cannot be had or does not come back.
pub fn run(round: &mut Round, machine: &Machine, load: &Load) -> Result<Tally, Failure> {
    let folder = tempfile::Builder::new().prefix("skiff-guest-").tempdir();
    let folder = folder.map_err(|error| Failure(format!("a temporary folder: {error}")))?;
    let (stage, out) = (folder.path().join("tests"), folder.path().join("out"));
    let asked = fill(&stage, round.lane, load, round.filters)?;
    if asked == 0 {
        return Ok(Tally::default());
    }
    let limit = std::env::var("SKIFF_VM_TIMEOUT").unwrap_or_else(|_| LIMIT.to_owned());
    let mut command = vm_run(machine);
    command.args(["-t", &limit, "-i"]).arg(format!("tests={}", stage.display())).arg("-o").arg(&out);
    command.arg("bash $IN/tests/go");
    let mut tally = Tally::default();
    let status = count(&mut tally, &mut command, round.out)?;
    check_told(&mut tally, asked, 0, "the guest");
    if !status.success() && tally.failed.is_empty() {
        tally.fail(format!("the guest ended with {status}"));
    }
    if let Ok(text) = fs::read_to_string(out.join("skips")) {
        fs::write(round.skips, text).map_err(|error| Failure(format!("`{}`: {error}", round.skips.display())))?;
    }
    Ok(tally)
}

/// Puts everything into `stage`; says how many tests there are.
fn fill(stage: &Path, lane: &Lane, load: &Load, filters: &[String]) -> Result<usize, Failure> {
    let at = |path: &Path, error: std::io::Error| Failure(format!("`{}`: {error}", path.display()));
    let bin = stage.join("bin");
    fs::create_dir_all(&bin).map_err(|error| at(&bin, error))?;
    for program in PROGRAMS {
        let source = load.programs.join(program);
        fs::copy(&source, bin.join(program)).map_err(|error| at(&source, error))?;
    }
    if let Some(reference) = &load.reference {
        take_binary(reference, &stage.join("reference"))?;
    }
    let mut script = preamble(lane);
    let mut asked = 0;
    for (suite, listed_by) in &load.listed_by {
        let tests = list(listed_by, lane, filters)?;
        if tests.is_empty() {
            continue;
        }
        asked += tests.len();
        let names = stage.join(format!("{suite}-names"));
        fs::write(&names, tests.join("\n")).map_err(|error| at(&names, error))?;
        let binary = load.tests.iter().find(|(name, _)| name == suite).map(|(_, binary)| binary);
        let binary = binary.ok_or_else(|| Failure(format!("no test binary of `{suite}` for the guest")))?;
        take_binary(binary, &stage.join(format!("{suite}-tests")))?;
        let line = format!(
            "$IN/tests/{suite}-tests --test-threads 2 --exact --include-ignored $(cat $IN/tests/{suite}-names)"
        );
        let _never_fails = writeln!(script, "{line} || status=1");
    }
    script.push_str("exit $status\n");
    let go = stage.join("go");
    fs::write(&go, script).map_err(|error| at(&go, error))?;
    Ok(asked)
}

/// Debug information is nine tenths of a test binary, and the guest reads it through an emulated disk.
fn take_binary(from: &Path, to: &Path) -> Result<(), Failure> {
    fs::copy(from, to).map_err(|error| Failure(format!("`{}`: {error}", from.display())))?;
    // This machine's own may not know the other's binaries.
    let stripped = Command::new("strip").arg("--strip-debug").arg(to).stderr(std::process::Stdio::null()).status();
    if !stripped.is_ok_and(|status| status.success()) {
        succeed("aarch64-linux-gnu-strip", Command::new("aarch64-linux-gnu-strip").arg("--strip-debug").arg(to))?;
    }
    Ok(())
}

fn preamble(lane: &Lane) -> String {
    // A newer systemd has a tmpfs without device nodes on /tmp, where a bundle's would be dead.
    let mut script = "export SKIFF_BIN_DIR=$IN/tests/bin SKIFF_BIN=$IN/tests/bin/skiff\n\
        export SKIFF_SHIM_BIN=$IN/tests/bin/containerd-shim-skiff-v1 SKIFF_SKIP_LOG=$OUT/skips PATH=$IN/tests/bin:$PATH\n\
        [ -x $IN/tests/reference ] && export SKIFF_REFERENCE_BIN=$IN/tests/reference\n\
        export TMPDIR=/var/tmp\ncd /tmp\nstatus=0\n"
        .to_owned();
    for (name, value) in lane.variables() {
        let _never_fails = writeln!(script, "export {name}='{value}'");
    }
    script
}
