//! Descriptors of the host that the runtime or its caller holds (CVE-2024-21626): as working directory, and on the way to the
//! program.

use serde_json::json;
use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::compare::each;
use skiff_integration_tests::rounds;
use skiff_integration_tests::runtime::Kind;
use skiff_lanes::runs;

use super::Canaries;
use crate::exec::NO_EXEC;

/// Every number that a descriptor may have here. The caller leaks folders of the host as 7 and 8.
const NUMBERS: std::ops::RangeInclusive<u32> = 3..=64;

/// All of them, or the first where each takes long.
fn numbers() -> impl Iterator<Item = u32> {
    NUMBERS.take(rounds(NUMBERS.count()))
}

const LEAK: &str = "exec 7</ 8<$0; exec \"$@\"";

fn climb(canaries: &Canaries) -> String {
    let flag = canaries.path().join("flag");
    format!("cat ../../../../../../../..{0} 2>/dev/null; cat ./flag 2>/dev/null; exit 0", flag.display())
}

#[runs(everywhere)]
fn cve_2024_21626_a_leaked_descriptor_as_cwd_of_run() {
    each(&[(Kind::Crun, "1.8 goes where its caller's descriptor is")], |runtime| {
        let canaries = Canaries::new();
        let shell = ["sh", "-c", LEAK, &*canaries.path().to_string_lossy()];
        for number in numbers() {
            let bundle = Bundle::script(&climb(&canaries))
                .edit(|config| config["process"]["cwd"] = json!(format!("/proc/self/fd/{number}")));
            let outcome = runtime.container(&bundle).run_under(&shell, &[]).run();
            assert!(!outcome.hung && !outcome.stdout.contains("canary"), "{number}: {outcome}");
            canaries.unchanged();
        }
    });
}

/// The process that enters has no id in the container, so that its /proc/self leads nowhere; if it led somewhere, the same guards
/// as for `run` would hold.
#[runs(everywhere)]
fn cve_2024_21626_a_leaked_descriptor_as_cwd_of_exec() {
    each(&[NO_EXEC, (Kind::Crun, "1.8 goes where its caller's descriptor is")], |runtime| {
        let canaries = Canaries::new();
        let bundle = Bundle::sleeper();
        let container = runtime.container(&bundle);
        container.run(&["--detach"]).ok();
        let shell = ["sh", "-c", LEAK, &*canaries.path().to_string_lossy()];
        let climb = climb(&canaries);
        for number in numbers() {
            let cwd = format!("/proc/self/fd/{number}");
            let words = ["exec", "--cwd", &cwd, &container.id, "/bin/sh", "-c", &climb];
            let outcome = runtime.command_under(&shell, &words).env("SKIFF_TEST_ID", &container.id).run();
            assert!(!outcome.hung && !outcome.stdout.contains("canary"), "{number}: {outcome}");
            canaries.unchanged();
        }
        container.delete(&["--force"]).ok();
        container.assert_gone();
    });
}

/// The program itself is named by way of a descriptor: a file of the host would be executed.
#[runs(everywhere)]
fn cve_2024_21626_a_program_by_way_of_a_leaked_descriptor() {
    each(&[], |runtime| {
        let canaries = Canaries::new();
        let shell = ["sh", "-c", LEAK, &*canaries.path().to_string_lossy()];
        for number in numbers() {
            let bundle = Bundle::new().args(&[&format!("/proc/self/fd/{number}/program")]);
            let outcome = runtime.container(&bundle).run_under(&shell, &[]).run();
            assert!(!outcome.hung && !outcome.succeeded() && !outcome.stdout.contains("canary"), "{number}: {outcome}");
            canaries.unchanged();
        }
    });
}
