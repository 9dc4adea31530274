//! Races: a neighbour that shares the root file system, or a volume in it, exchanges what the runtime is about to use with
//! something else, as fast as it can, while containers are started.

use std::fs;
use std::os::unix::fs::symlink;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use serde_json::json;
use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::command::Outcome;
use skiff_integration_tests::compare::{Exemption, each};
use skiff_integration_tests::leftovers::{self, until_none};
use skiff_integration_tests::runtime::{Kind, Runtime};
use skiff_integration_tests::{is_full_sweep, rounds};
use skiff_lanes::runs;

use super::{Canaries, NOT_MEASURED};

/// Two names below the root file system that change places.
type Pair = (&'static str, &'static str);

/// What the attackers and the starts share.
struct Siege<'a> {
    rootfs: &'a Path,
    pairs: &'a [Pair],
    /// Number of the start under way: it decides which pairs are exchanged.
    round: AtomicUsize,
    exchanges: AtomicUsize,
    done: AtomicBool,
}

impl Siege<'_> {
    fn attack(&self, attacker: usize) {
        while !self.done.load(Ordering::Relaxed) {
            let (one, other) = self.pairs[(self.round.load(Ordering::Relaxed) + attacker) % self.pairs.len()];
            let (one, other) = (self.rootfs.join(one), self.rootfs.join(other));
            match renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE) {
                Ok(()) => drop(self.exchanges.fetch_add(1, Ordering::Relaxed)),
                // The other attacker has exchanged a folder above.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(error) => panic!("{} and {}: {error}", one.display(), other.display()),
            }
            // The start needs a processor, too.
            std::thread::yield_now();
        }
    }
}

/// Starts the bundle again and again between two attackers; `verdict` judges each outcome. The canaries are looked at in the
/// end, and for what is left.
fn besieged(runtime: &Runtime, bundle: &Bundle, pairs: &[Pair], starts: usize, verdict: impl Fn(&Outcome)) {
    let rootfs = bundle.rootfs();
    let (round, exchanges) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let siege = Siege { rootfs: &rootfs, pairs, round, exchanges, done: AtomicBool::new(false) };
    runtime.write(bundle);
    let path = bundle.path().to_string_lossy();
    let mut succeeded = 0;
    std::thread::scope(|scope| {
        for attacker in 0..2 {
            let siege = &siege;
            scope.spawn(move || siege.attack(attacker));
        }
        // Whatever happens the attackers must be told to end, or the scope would wait for ever.
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            for start in 0..starts {
                siege.round.store(start, Ordering::Relaxed);
                let outcome = runtime.container(bundle).verb("run", &["--bundle", &path], &[]).run();
                assert!(!outcome.hung, "{outcome}");
                succeeded += usize::from(outcome.succeeded());
                verdict(&outcome);
            }
        }));
        siege.done.store(true, Ordering::Relaxed);
        if let Err(panic) = outcome {
            resume_unwind(panic);
        }
    });
    let exchanges = siege.exchanges.load(Ordering::Relaxed);
    println!("{}: {starts} starts, {succeeded} succeeded, {exchanges} exchanges", runtime.kind);
    assert!(exchanges >= starts, "the attackers were too slow: {exchanges} exchanges");
    let left = until_none(|| leftovers::of(&bundle.id, bundle.path(), runtime.root()));
    assert!(left.is_empty(), "{left:#?}");
}

/// Ten thousand with `SKIFF_SWEEP=full`.
fn starts(usual: usize) -> usize {
    if is_full_sweep() { 10_000 } else { rounds(usual) }
}

/// A folder to mount in, and a link to the canaries to exchange it with.
const TARGET: Pair = ("data/target", "data/link");

fn with_target(bundle: Bundle, canaries: &Canaries) -> Bundle {
    fs::create_dir_all(bundle.rootfs().join("data/target/sub")).unwrap();
    symlink(canaries.path(), bundle.rootfs().join("data/link")).unwrap();
    bundle
}

/// A volume shared with a container that exchanges the next one's targets.
#[runs(everywhere)]
fn cve_2021_30465_mount_targets_that_are_exchanged_meanwhile() {
    const OPEN: [Exemption; 3] =
        [(Kind::Runc, "1.1.5 makes folders on the host (CVE-2024-45310)"), NOT_MEASURED[1], NOT_MEASURED[2]];
    each(&OPEN, |runtime| {
        let canaries = Canaries::new();
        // What was mounted on the host's folder does not come along into the container.
        let bundle = with_target(Bundle::script("grep -cE '/(sub|flag) ' /proc/self/mountinfo").writable(), &canaries);
        let file = bundle.path().join("file");
        fs::write(&file, "file\n").unwrap();
        let bundle = bundle
            .mount(json!({"destination": "/data/target/sub", "type": "tmpfs", "source": "tmpfs"}))
            .mount(json!({"destination": "/data/target/flag", "source": file, "options": ["bind"]}));
        besieged(runtime, &bundle, &[TARGET], rounds(60), |outcome| {
            assert!(!outcome.succeeded() || outcome.stdout == "2\n", "{outcome}");
        });
        canaries.unchanged();
    });
}

/// Folders of a mount point are made where it is in the root, never behind a link that came meanwhile.
#[runs(everywhere)]
fn cve_2024_45310_folders_that_are_made_while_others_are_exchanged() {
    each(&NOT_MEASURED, |runtime| {
        let canaries = Canaries::new();
        let bundle = with_target(Bundle::new().writable(), &canaries)
            .mount(json!({"destination": "/data/target/a/b/c", "type": "tmpfs", "source": "tmpfs"}))
            .edit(|config| config["process"]["cwd"] = json!("/data/target/d/e"));
        let target = bundle.rootfs().join("data");
        besieged(runtime, &bundle, &[TARGET], rounds(60), |_either_way| {
            // What was made is in the way of being made again.
            for name in ["target/a", "link/a", "target/d", "link/d"] {
                let _may_be_the_link = fs::remove_dir_all(target.join(name));
            }
        });
        canaries.unchanged();
    });
}

/// Looks for a procfs or sysfs, wherever it is by now, whose masks or read-only paths were put elsewhere. What is written is
/// the name of a domain in the container's own uts namespace.
const UNPROTECTED: &str = r#"
for place in /proc /false/proc /empty/proc; do
    cd $place && [ -e self/stat ] || continue
    (echo x >sys/kernel/domainname) && echo "UNPROTECTED $place/sys is writable"
    [ -f kcore ] && echo "UNPROTECTED $place/kcore is there"
done
for place in /sys /false/sys; do
    cd $place && [ -e kernel ] || continue
    for file in firmware/*; do [ -e $file ] && echo "UNPROTECTED $place/$file is there"; done
done
exit 0
"#;

const PROTECTED: [Pair; 3] = [("proc", "false/proc"), ("sys", "false/sys"), ("proc", "empty/proc")];

/// Folders to exchange procfs and sysfs with: what masks and read-only paths name is there, or nothing is.
fn with_false_folders(bundle: Bundle) -> Bundle {
    let bundle = bundle.args(&["/bin/sh", "-c", &format!("{{ {UNPROTECTED} }} 2>/dev/null")]);
    for folder in ["false/proc/sys", "false/proc/bus", "false/sys/firmware", "empty/proc"] {
        fs::create_dir_all(bundle.rootfs().join(folder)).unwrap();
    }
    bundle.file("/false/proc/kcore", 0o644, "").file("/false/proc/timer_list", 0o644, "")
}

/// The masks land on what was put in the place of procfs for that moment.
#[test]
fn cve_2019_19921_proc_is_exchanged_while_it_is_protected() {
    each(&NOT_MEASURED, |runtime| {
        let bundle = with_false_folders(Bundle::new());
        besieged(runtime, &bundle, &PROTECTED, rounds(150), |outcome| {
            assert!(!outcome.stdout.contains("UNPROTECTED"), "{outcome}");
        });
    });
}

/// All of it at once: targets, what is bound and masked, /proc, /sys and /dev.
#[test]
fn everything_of_the_root_is_exchanged_while_containers_start() {
    const PAIRS: [Pair; 8] = [
        TARGET,
        PROTECTED[0],
        ("etc/file", "etc/link"),
        PROTECTED[1],
        ("data", "false/data"),
        PROTECTED[2],
        ("etc/secret", "etc/open"),
        ("dev", "false/dev"),
    ];
    each(&NOT_MEASURED, |runtime| {
        let canaries = Canaries::new();
        let bundle = with_target(with_false_folders(Bundle::new().writable()), &canaries);
        let bundle = bundle.file("/etc/file", 0o644, "").file("/etc/secret", 0o644, "").file("/etc/open", 0o644, "");
        fs::create_dir(bundle.rootfs().join("false/data")).unwrap();
        symlink(canaries.path().join("flag"), bundle.rootfs().join("etc/link")).unwrap();
        symlink(canaries.path(), bundle.rootfs().join("false/dev")).unwrap();
        let file = bundle.path().join("file");
        fs::write(&file, "file\n").unwrap();
        let bundle = bundle
            .mount(json!({"destination": "/data/target/sub", "type": "tmpfs", "source": "tmpfs"}))
            .mount(json!({"destination": "/data/target/a/b", "type": "tmpfs", "source": "tmpfs"}))
            .mount(json!({"destination": "/etc/file", "source": file, "options": ["bind"]}))
            .edit(|config| {
                let masked = config["linux"]["maskedPaths"].as_array_mut().unwrap();
                masked.push(json!("/etc/secret"));
            });
        besieged(runtime, &bundle, &PAIRS, starts(150), |outcome| {
            assert!(!outcome.stdout.contains("UNPROTECTED") && !outcome.stdout.contains("canary"), "{outcome}");
        });
        canaries.unchanged();
    });
}
