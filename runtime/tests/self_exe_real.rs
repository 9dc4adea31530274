//! Proves on the running kernel that a protected process cannot be used to write to its own binary, that the program
//! runs on unharmed after its pages were exchanged, and that each fallback does the same. The test copies itself,
//! runs the copy with `SKIFF_VICTIM` set, and attacks the copy through `/proc/<pid>/exe`.

#![allow(clippy::unwrap_used, reason = "a test: every failure is to be loud")]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use skiff::sys::self_exe::{self, Protection};

const VICTIM: &str = "SKIFF_VICTIM";

fn main() {
    if std::env::var_os(VICTIM).is_some() {
        victim();
        return;
    }
    // What libtest and nextest ask of a test binary.
    if std::env::args().any(|argument| argument == "--list") {
        println!("self_exe_real: test");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let binary = folder.path().join("victim");
    fs::copy("/proc/self/exe", &binary).unwrap();
    // (what fails, what must stand behind the link, whether the program was executed a second time)
    attack(&binary, "nothing fails", &[], "ReadOnlyMount");
    attack(&binary, "PR_SET_MM fails", &["prctl:error=EPERM"], "Already");
    attack(&binary, "PR_SET_MM is unknown", &["prctl:error=EINVAL"], "Already");
    attack(&binary, "no open_tree", &["open_tree:error=ENOSYS"], "SealedCopy");
    attack(&binary, "no mount_setattr", &["mount_setattr:error=ENOSYS"], "SealedCopy");
    attack(&binary, "no open_tree, no PR_SET_MM", &["open_tree:error=ENOSYS", "prctl:error=EPERM"], "Already");
    attack(&binary, "no memory for the segments", &["mremap:error=ENOMEM"], "Already");
    attack(&binary, "no MFD_EXEC", &["open_tree:error=EPERM", "memfd_create:error=EINVAL:when=1"], "SealedCopy");
    buried(&binary);
    // Without any capability: nothing can be mounted or swapped.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    attack_by(victim_of(&binary, &[]).uid(65_534), &binary, "an ordinary user", "Already");
    refusal(&binary);
    deleted(folder.path(), &binary);
    println!("self_exe_real: ok");
}

// ---- the attacker ----

fn victim_of(binary: &Path, injections: &[&str]) -> Command {
    let mut command = match injections {
        [] => Command::new(binary),
        _ => {
            let mut strace = Command::new("strace");
            strace.args([
                "-qq",
                "-f",
                "-o",
                "/dev/null",
                "-e",
                "trace=open_tree,mount_setattr,prctl,mremap,memfd_create",
            ]);
            for injection in injections {
                strace.arg("-e").arg(format!("inject={injection}"));
            }
            strace.arg(binary);
            strace
        }
    };
    command.args(["first", "", "last"]).env(VICTIM, "1").stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// Reads what the victim says until it waits for its standard input to close.
fn listen(child: &mut Child) -> BTreeMap<String, String> {
    let mut text = String::new();
    let mut byte = [0u8; 1];
    let output = child.stdout.as_mut().unwrap();
    while !text.ends_with("\nready\n") && output.read(&mut byte).unwrap() == 1 {
        text.push(char::from(byte[0]));
    }
    text.lines().filter_map(|line| line.split_once('=')).map(|(key, value)| (key.into(), value.into())).collect()
}

fn attack(binary: &Path, what: &str, injections: &[&str], expected: &str) {
    attack_by(&mut victim_of(binary, injections), binary, what, expected);
}

fn attack_by(command: &mut Command, binary: &Path, what: &str, expected: &str) {
    let before = fs::read(binary).unwrap();
    let mut child = command.spawn().unwrap();
    let said = listen(&mut child);
    println!("{what}: {said:?}");
    assert_eq!(said.get("protection").map(String::as_str), Some(expected), "{what}: {said:?}");
    assert_eq!(said["health"], "good", "{what}");
    assert_eq!(said["arguments"], "first||last", "{what}");

    let link = PathBuf::from(format!("/proc/{}/exe", said["pid"]));
    let path_only = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(&link).unwrap();
    let readable = File::open(&link).unwrap();
    assert!(open_for_writing(&link).is_err(), "{what}: opened while it runs");

    drop(child.stdin.take());
    assert!(child.wait().unwrap().success(), "{what}");
    // ETXTBSY is over now: only the mount or the seals stand in the way.
    for descriptor in [&path_only, &readable] {
        let link = PathBuf::from(format!("/proc/self/fd/{}", descriptor.as_raw_fd()));
        match open_for_writing(&link) {
            Err(errno) => assert_eq!(errno, libc::EROFS, "{what}"),
            Ok(mut memory) => {
                assert_ne!(memory.metadata().unwrap().ino(), fs::metadata(binary).unwrap().ino(), "{what}: the binary");
                assert_eq!(memory.write(b"#!/bin/evil").unwrap_err().raw_os_error(), Some(libc::EPERM), "{what}");
            }
        }
    }
    assert!(fs::read(binary).unwrap() == before, "{what}: the binary changed");
}

fn open_for_writing(path: &Path) -> Result<File, i32> {
    OpenOptions::new().write(true).open(path).map_err(|error| error.raw_os_error().unwrap())
}

/// The mount that was thrown away together with an old root is as dead as one that was dropped.
fn buried(binary: &Path) {
    let mut command = victim_of(binary, &[]);
    attack_by(command.env("SKIFF_VICTIM_PIVOT", "1"), binary, "buried", "ReadOnlyMount");
}

/// When nothing works, the error says so and the program is not executed for ever.
fn refusal(binary: &Path) {
    let mut child = victim_of(binary, &["open_tree:error=ENOSYS", "memfd_create:error=EACCES"]).spawn().unwrap();
    let said = listen(&mut child);
    assert!(said["error"].contains("sealed memory file"), "{said:?}");
    child.wait().unwrap();
}

/// A binary that an upgrade has replaced while it was starting is protected all the same.
fn deleted(folder: &Path, binary: &Path) {
    let doomed = folder.join("doomed");
    fs::copy(binary, &doomed).unwrap();
    let mut child = victim_of(&doomed, &[]).env("SKIFF_VICTIM_UNLINK", &doomed).spawn().unwrap();
    let said = listen(&mut child);
    assert_eq!(said.get("health").map(String::as_str), Some("good"), "{said:?}");
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

// ---- the victim ----

static WRITTEN: AtomicUsize = AtomicUsize::new(7);
static UNWRITTEN: AtomicUsize = AtomicUsize::new(0);
static RELOCATED: [&str; 3] = ["text", "that", "pointers lead to"];
thread_local!(static LOCAL: Cell<usize> = const { Cell::new(3) });

fn victim() {
    if let Some(path) = std::env::var_os("SKIFF_VICTIM_UNLINK") {
        let _gone_in_second_life = fs::remove_file(path);
    }
    WRITTEN.store(8, Ordering::Relaxed);
    let before = protections();
    let start = Instant::now();
    let protection = self_exe::protect();
    let elapsed = start.elapsed();
    match protection {
        Err(error) => {
            println!("error={error}");
            return;
        }
        Ok(shield) => {
            println!("protection={:?}", shield.protection());
            end(shield);
            // In no name space: not even its owner can make the mount writable again.
            let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
            let remounted = mount(None::<&str>, "/proc/self/exe", None::<&str>, flags, None::<&str>);
            let refusal =
                if nix::unistd::geteuid().is_root() { nix::errno::Errno::EINVAL } else { nix::errno::Errno::EPERM };
            assert_eq!(remounted, Err(refusal));
        }
    }
    println!("microseconds={}", elapsed.as_micros());
    println!("pid={}", std::process::id());
    println!("arguments={}", std::env::args().skip(1).collect::<Vec<_>>().join("|"));
    println!("name={}", fs::read_to_string("/proc/self/comm").unwrap().trim());
    println!("health={}", if health(&before, &protections()) { "good" } else { "bad" });
    // A second call sees that there is nothing to do.
    assert_eq!(self_exe::protect().unwrap().protection(), Protection::Already);
    println!("ready");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// Gets rid of the tree: at once, or by way of a mount name space whose root is thrown away.
fn end(shield: self_exe::Shield) {
    if std::env::var_os("SKIFF_VICTIM_PIVOT").is_none() {
        drop(shield);
        return;
    }
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
    let mounts = |text: &str| text.lines().count();
    let before = mounts(&fs::read_to_string("/proc/self/mountinfo").unwrap());
    shield.bury();
    assert_eq!(mounts(&fs::read_to_string("/proc/self/mountinfo").unwrap()), before + 1, "not attached");
    // A new root over the old one, as `init` does it; /proc and the rest come along by a recursive bind.
    let root = std::env::temp_dir();
    mount(Some("tmpfs"), &root, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    fs::create_dir(root.join("proc")).unwrap();
    mount(Some("/proc"), &root.join("proc"), None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    nix::unistd::chdir(&root).unwrap();
    nix::unistd::pivot_root(".", ".").unwrap();
    umount2(".", MntFlags::MNT_DETACH).unwrap();
    nix::unistd::chdir("/").unwrap();
}

/// Statics, heap, thread locals, relocated pointers, unwinding, threads and formatting all work; pages keep their
/// protections.
fn health(before: &[(u64, String)], after: &[(u64, String)]) -> bool {
    assert_eq!(before, after);
    assert_eq!(WRITTEN.fetch_add(1, Ordering::Relaxed), 8);
    assert_eq!(UNWRITTEN.fetch_add(1, Ordering::Relaxed), 0);
    assert_eq!(RELOCATED.concat().len(), 24);
    LOCAL.with(|local| local.set(local.get() + 1));
    let heap: Vec<String> = (0..10_000).map(|number| format!("{number:>8}")).collect();
    assert_eq!(heap.iter().map(String::len).sum::<usize>(), 80_000);
    std::panic::set_hook(Box::new(|_| ()));
    let caught = cfg!(panic = "abort") || std::panic::catch_unwind(|| panic!("{}", heap.len())).is_err();
    #[allow(clippy::disallowed_methods, reason = "threads must work after the swap, too")]
    let thread = std::thread::spawn(|| LOCAL.with(Cell::get)).join().unwrap();
    caught && thread == 3 && LOCAL.with(Cell::get) == 4
}

/// The protection of each page of this program, by address: a list that must not change.
fn protections() -> Vec<(u64, String)> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let program = maps.lines().take_while(|line| !line.ends_with("[heap]") && !line.contains(".so"));
    let mut pages = Vec::new();
    for line in program {
        let mut words = line.split_ascii_whitespace();
        let (range, protection) = (words.next().unwrap(), words.next().unwrap());
        let (start, end) = range.split_once('-').unwrap();
        let (start, end) = (u64::from_str_radix(start, 16).unwrap(), u64::from_str_radix(end, 16).unwrap());
        let own = (WRITTEN.as_ptr() as u64).abs_diff(start) < 1 << 28;
        pages.extend((start..end).step_by(4096).filter(|_| own).map(|page| (page, protection.to_string())));
    }
    pages
}
