//! skiffd may be killed at any moment: every container goes on, is found again, and none is started twice.

use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::command::{Invocation, eventually, patience};
use skiff_integration_tests::device::{Device, free_port};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[test]
fn a_killed_skiffd_finds_every_container_again() {
    let mut device = Device::new();
    let bundle = device.bundle(Bundle::sleeper());
    let web = device.name("web");
    device.release("1", &format!("  {web}: {{bundle: {bundle}, deploy: {{replicas: 4}}}}\n"));
    device.publish("1");
    device.serve();
    device.start();
    let pids = |device: &Device| -> Vec<u64> {
        let pid = |replica| device.instance("web", replica).filter(|it| it["state"] == "running")?["pid"].as_u64();
        eventually("four replicas run", || (0..4).map(pid).collect::<Option<Vec<_>>>())
    };
    let before = pids(&device);
    for _ in 0..3 {
        device.kill_daemon();
        device.start();
        assert_eq!(pids(&device), before);
    }
    // One that ends while nobody looks is seen to have ended, with its status, and is started again.
    device.kill_daemon();
    let victim = rustix::process::Pid::from_raw(before[2] as i32).unwrap();
    rustix::process::kill_process(victim, rustix::process::Signal::KILL).unwrap();
    device.start();
    let again = eventually("the third is started again", || {
        device.instance("web", 2).filter(|it| it["state"] == "running" && it["pid"] != before[2])
    });
    assert_eq!(again["lastExit"]["code"], 137, "{again:#}");
    let after = pids(&device);
    assert_eq!((after[0], after[1], after[3]), (before[0], before[1], before[3]));
    device.finish();
}

/// A skiffd that is killed while it starts a child leaves the lock with that child until its exec.
#[test]
fn a_lock_that_is_let_go_of_late_is_waited_for() {
    let mut device = Device::new();
    let lock = device.text("run/skiffd.lock");
    let holder = Invocation::new("flock", &[&lock, "sleep", "0.7"]).spawn();
    eventually("the lock is held", || {
        (!Invocation::new("flock", &["-n", &lock, "true"]).run().succeeded()).then_some(())
    });
    device.start();
    assert!(holder.wait().succeeded());
    device.finish();
}

/// A bundle whose program holds a port of the machine while it runs, which the kernel gives to one at a time, and notes each
/// overlap of two in its root, so that what skiffd believes plays no part in the proof.
fn witness() -> (Bundle, PathBuf) {
    let port = free_port();
    let script = format!(
        "busybox httpd -f -p 127.0.0.1:{port} -h /data & held=$!; echo $EDITION >>/data/starts; trap 'exit 0' TERM; \
         while :; do kill -0 $held 2>/dev/null || {{ echo overlap of $EDITION >>/data/overlaps; exit 1; }}; sleep 0.05; done"
    );
    let bundle = Bundle::script(&script).writable();
    bundle.write();
    let data = bundle.rootfs().join("data");
    (bundle, data)
}

/// The witness can tell: a second one beside it notes it.
#[test]
fn the_witness_of_overlaps_is_not_blind() {
    let mut device = Device::new();
    let (bundle, data) = witness();
    let service = |name: &str| {
        let name = device.name(name);
        format!(
            "  {name}: {{bundle: {}, read_only: false, network_mode: host, restart: \"no\"}}\n",
            bundle.path().display()
        )
    };
    device.release("1", &format!("{}{}", service("one"), service("two")));
    device.publish("1");
    device.serve();
    device.start();
    eventually("the overlap is noted", || {
        fs::read_to_string(data.join("overlaps")).ok().filter(|text| !text.is_empty())
    });
    device.finish();
}

fn alive(data: &Path) -> usize {
    let marker = data.parent().unwrap().to_owned();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let shell = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.starts_with(b"/bin/sh\0-c\0busybox httpd") && sees(*pid, &marker)
    };
    pids.filter(shell).count()
}

fn sees(pid: u32, rootfs: &Path) -> bool {
    let name = fs::read_dir(rootfs)
        .unwrap()
        .flatten()
        .map(|it| it.file_name())
        .find(|it| it.to_string_lossy().starts_with(".skt"));
    Path::new(&format!("/proc/{pid}/root")).join(name.expect("a bundle has a marker")).exists()
}

/// Numbers that look random, the same for a seed (xorshift).
struct Dice(u64);

impl Dice {
    fn up_to(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Of each round: one kill while its decision is carried out, and three while a new skiffd finds out what that left.
const KILLS_OF_A_ROUND: u64 = 4;

/// `SKIFF_KILLS` kills (100 without it) at random moments of a start, a switch, a stop and an adoption.
#[test]
fn killed_at_a_hundred_moments_none_is_lost_and_none_runs_twice() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let kills = number("SKIFF_KILLS").unwrap_or(100);
    let seed = number("SKIFF_SEED").unwrap_or(u64::from(std::process::id()) + 1);
    println!("seed {seed} (SKIFF_SEED)");
    let mut dice = Dice(seed);
    let mut device = Device::new();
    let witnesses = [witness(), witness()];
    let names = [device.name("one"), device.name("two")];
    let services = |edition: u64, which: &[usize]| -> String {
        let line = |at: &usize| {
            let (bundle, name) = (witnesses[*at].0.path().display(), &names[*at]);
            format!(
                "  {name}: {{bundle: {bundle}, read_only: false, network_mode: host, stop_grace_period: 5s, environment: {{EDITION: \"{edition}\"}}}}\n"
            )
        };
        which.iter().map(line).collect()
    };
    device.serve();
    device.start();
    for round in 1..=kills.div_ceil(KILLS_OF_A_ROUND) {
        // Start both, switch both, stop one: in turn.
        let which: &[usize] = if round % 3 == 0 { &[0] } else { &[0, 1] };
        let edition = if round % 3 == 2 { round } else { round - round % 3 };
        let version = format!("r{round}");
        device.release(&version, &services(edition, which));
        device.publish_with(&version, "gate: {minHealthy: 200ms, deadline: 60s}");
        device.ctl(&["sync"]).ok();
        decided(&device, &version);
        // To carry it out takes some 100 ms here; a little is beyond its end. So is a start with its adoptions.
        std::thread::sleep(Duration::from_micros(dice.up_to(150_000)));
        device.kill_daemon();
        for _ in 1..KILLS_OF_A_ROUND {
            device.launch();
            std::thread::sleep(Duration::from_micros(dice.up_to(150_000)));
            device.kill_daemon();
        }
        device.start();
        for (at, (_, data)) in witnesses.iter().enumerate() {
            let wanted = usize::from(which.contains(&at));
            eventually(&format!("round {round}, seed {seed}: service {at} runs {wanted} times"), || {
                (alive(data) == wanted).then_some(())
            });
        }
        device.until_status(&format!("release {version} runs"), |status| {
            status["release"]["running"] == version.as_str()
        });
        for (_, data) in &witnesses {
            let overlaps = fs::read_to_string(data.join("overlaps")).unwrap_or_default();
            assert_eq!(overlaps, "", "round {round}, seed {seed}: two at once");
        }
    }
    device.finish();
}

/// Waits, as closely as it can be seen, until the decision to switch is on disk, which is before it is carried out.
fn decided(device: &Device, version: &str) {
    let (rollout, wanted) = (device.path("state/rollout.json"), format!("\"{version}\""));
    let deadline = Instant::now() + patience();
    while !fs::read_to_string(&rollout).is_ok_and(|text| text.contains(&wanted)) {
        assert!(Instant::now() < deadline, "{version} is never decided on: {:#}", device.status());
        std::thread::sleep(Duration::from_micros(300));
    }
}
