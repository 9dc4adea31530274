//! A thousand lives of a container, one after the other: nothing stays of them on the host or with their caller.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{WaitOptions, getpid, set_child_subreaper, wait};
use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::command::eventually;
use skiff_integration_tests::compare::each;
use skiff_integration_tests::leftovers;
use skiff_integration_tests::runtime::{Kind, Runtime};
use skiff_integration_tests::skip::test_name;
use skiff_integration_tests::{cgroups, is_full_sweep, rounds};

/// Set for the second execution of this test.
const ALONE: &str = "SKIFF_TEST_CYCLES_ALONE";

/// What is counted before and after.
#[derive(Debug, PartialEq, Eq)]
struct Figures {
    descriptors: usize,
    /// Processes whose parent this is, living or not.
    children: usize,
    /// Everything mounted, but for what other tests mount.
    mounts: BTreeSet<String>,
}

impl Figures {
    fn now(runtime: &Runtime) -> Self {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let own = runtime.root().to_string_lossy();
        let ours = |line: &&str| line.contains(&*own) || !line.contains("/skt-");
        Self {
            descriptors: fs::read_dir("/proc/self/fd").unwrap().count(),
            children: children(),
            mounts: table.lines().filter(ours).map(str::to_owned).collect(),
        }
    }
}

fn children() -> usize {
    let own = std::process::id().to_string();
    let stats = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse::<u32>().ok()?;
        fs::read_to_string(format!("/proc/{pid}/stat")).ok()
    });
    stats.filter(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.split(' ').nth(1) == Some(&own))).count()
}

/// Cgroups of version 2 that are removed and still hold memory; none where there is no such hierarchy.
fn dying() -> usize {
    let text = cgroups::mount_points().into_iter().find_map(|point| fs::read_to_string(point.join("cgroup.stat")).ok());
    let text = text.unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("nr_dying_descendants "));
    line.map_or(0, |number| number.parse().unwrap())
}

/// Reaps what the runtime left to its caller's reaper, as any init does. The runtime's own children are waited for elsewhere.
fn reap() {
    while let Ok(Some(_ended)) = wait(WaitOptions::NOHANG) {}
}

fn live(runtime: &Runtime, bundle: &Bundle, cycles: usize) {
    let before = Figures::now(runtime);
    let dying_before = dying();
    runtime.write(bundle);
    let path = bundle.path().to_string_lossy();
    let began = Instant::now();
    for cycle in 0..cycles {
        let id = format!("{}-{cycle}x", bundle.id);
        let verb = |words: &[&str]| runtime.command(words).env("SKIFF_TEST_ID", &id).run().ok();
        verb(&["create", "--bundle", &path, &id]);
        verb(&["start", &id]);
        eventually("its program has ended", || verb(&["state", &id]).contains("stopped").then_some(()));
        verb(&["delete", &id]);
        reap();
    }
    let took = began.elapsed();
    let left = leftovers::until_none(|| leftovers::of(&bundle.id, bundle.path(), runtime.root()));
    assert!(left.is_empty(), "{left:#?}");
    assert_eq!(fs::read_dir(runtime.root()).unwrap().count(), 0, "state is left");
    // Other tests come and go meanwhile, and the kernel lets go of the last ones late; what stays of each life would not.
    let bearable = dying_before + cycles / 10;
    let deadline = Instant::now() + Duration::from_secs(20);
    while dying() > bearable && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(200));
    }
    let (after, dying_after) = (Figures::now(runtime), dying());
    println!(
        "{}: {cycles} cycles in {:.1} s; descriptors {} -> {}, children {} -> {}, mounts {} -> {}, dying cgroups {dying_before} -> {dying_after}",
        runtime.kind,
        took.as_secs_f64(),
        before.descriptors,
        after.descriptors,
        before.children,
        after.children,
        before.mounts.len(),
        after.mounts.len(),
    );
    assert_eq!(after, before);
    assert!(dying_after <= bearable, "{dying_before} dying cgroups became {dying_after}");
}

/// Create, start, delete; a thousand times with `SKIFF_SWEEP=full`. In a process of its own: descriptors and children of
/// the other tests would be counted with it.
#[test]
fn a_thousand_lives_leave_nothing() {
    if std::env::var_os(ALONE).is_none() {
        let name = test_name();
        let words = ["--exact", &name, "--include-ignored", "--nocapture"];
        let program = std::env::current_exe().unwrap();
        let outcome = Command::new(program).args(words).env(ALONE, "1").output().unwrap();
        let said = String::from_utf8_lossy(&outcome.stdout).into_owned() + &String::from_utf8_lossy(&outcome.stderr);
        println!("{}", said.lines().filter(|line| line.contains("cycles in")).collect::<Vec<_>>().join("\n"));
        assert!(outcome.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    set_child_subreaper(Some(getpid())).unwrap();
    each(&[(Kind::Reference, "leaves its folder")], |runtime| {
        let bundle = Bundle::new();
        // The others only show that the counting is right.
        let cycles = match runtime.kind {
            Kind::Skiff if is_full_sweep() => 1000,
            Kind::Skiff => rounds(100),
            _others => 20,
        };
        live(runtime, &bundle, cycles);
    });
}
