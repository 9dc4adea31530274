//! What programs answer, by an interpreter of the kernel's filter machine; beside libseccomp where it is installed.

mod dice;
mod libseccomp;
mod meaning;

use super::arch::{Arch, Names};
use super::assembler::{AND, GO, IF_AT_LEAST, IF_EQUAL, IF_GREATER, LOAD, RETURN};
use super::program::{ARCHITECTURE, ARGUMENTS, NUMBER};
use super::*;
use serde_json::{Value, json};
use std::sync::LazyLock;

pub(super) const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0;
const EPERM: u32 = 0x5_0001;
const ENOSYS: u32 = 0x5_0000 | libc::ENOSYS as u32;

/// What the kernel's filter machine answers to a call.
pub(super) fn interpret(program: &[Instruction], arch: u32, number: u32, args: [u64; 6]) -> u32 {
    let word = |offset: u32| match offset {
        NUMBER => number,
        ARCHITECTURE => arch,
        offset => {
            let arg = args[((offset - ARGUMENTS) / 8) as usize];
            if offset % 8 == 0 { arg as u32 } else { (arg >> 32) as u32 }
        }
    };
    let (mut at, mut accumulator) = (0_usize, 0_u32);
    loop {
        let Instruction { code, yes, no, k } = program[at];
        at += 1;
        let mut branch = |condition: bool| at += usize::from(if condition { yes } else { no });
        match code {
            LOAD => accumulator = word(k),
            AND => accumulator &= k,
            GO => at += k as usize,
            IF_EQUAL => branch(accumulator == k),
            IF_GREATER => branch(accumulator > k),
            IF_AT_LEAST => branch(accumulator >= k),
            RETURN => return k,
            other => panic!("no such instruction: {other:#x}"),
        }
    }
}

static NAMES: LazyLock<Names> = LazyLock::new(Names::new);

/// The number of a call.
fn number(arch: Arch, name: &str) -> Option<u32> {
    NAMES.find(name)?.on(arch)
}

fn compile(profile: &Value, possible: &[Arch]) -> Result<Filter, Error> {
    plan_for(&serde_json::from_value(profile.clone()).unwrap(), possible)
}

fn ask(profile: &Value, arch: Arch, name: &str, args: &[u64]) -> u32 {
    let filter = compile(profile, &[Arch::X86_64, Arch::X86, Arch::X32]).unwrap();
    let mut all = [0; 6];
    all[..args.len()].copy_from_slice(args);
    interpret(&filter.instructions, arch.token(), number(arch, name).unwrap(), all)
}

#[test]
fn a_list_of_what_is_allowed() {
    let profile = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_ARM"],
        "syscalls": [
            {"names": ["read", "openat2", "no_such_call_yet"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["kexec_load"], "action": "SCMP_ACT_KILL_PROCESS"},
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
        ],
    });
    for arch in [Arch::X86_64, Arch::X86] {
        let answers = [("read", ALLOW), ("write", EPERM), ("kexec_load", 0x8000_0000), ("clone3", ENOSYS)];
        for (name, answer) in answers {
            assert_eq!(ask(&profile, arch, name, &[]), answer, "{name}");
        }
        // The newest that is named is openat2.
        assert_eq!(ask(&profile, arch, "openat2", &[]), ALLOW);
        assert_eq!(ask(&profile, arch, "pidfd_getfd", &[]), ENOSYS);
        assert_eq!(ask(&profile, arch, "mseal", &[]), ENOSYS);
    }
    assert_eq!(ask(&profile, Arch::X32, "read", &[]), KILL, "not listed");
    let filter = compile(&profile, &[Arch::X86_64, Arch::X86, Arch::X32]).unwrap();
    assert_eq!(interpret(&filter.instructions, Arch::Aarch64.token(), 0, [0; 6]), KILL);
}

#[test]
fn what_allows_by_default_or_says_so_itself_answers_newer_calls_as_ever() {
    let cases = [
        (json!({"defaultAction": "SCMP_ACT_ALLOW"}), ALLOW),
        (json!({"defaultAction": "SCMP_ACT_LOG"}), 0x7ffc_0000),
        (json!({"defaultAction": "SCMP_ACT_TRACE", "defaultErrnoRet": 7}), 0x7ff0_0007),
        (json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38}), ENOSYS),
        (json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 13}), ENOSYS),
        (json!({"defaultAction": "SCMP_ACT_KILL_PROCESS"}), ENOSYS),
    ];
    for (mut profile, answer) in cases {
        profile["syscalls"] = json!([{"names": ["read"], "action": "SCMP_ACT_TRAP"}]);
        assert_eq!(ask(&profile, Arch::X86_64, "mseal", &[]), answer, "{profile}");
    }
}

#[test]
fn conditions() {
    let profile = |args: Value| json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": args}]});
    let far = 1_u64 << 40;
    let cases: &[(Value, &[(u64, bool)])] = &[
        (json!({"index": 0, "op": "SCMP_CMP_EQ", "value": 5}), &[(5, true), (4, false), (5 | far, false)]),
        (json!({"index": 0, "op": "SCMP_CMP_NE", "value": 5}), &[(5, false), (4, true), (5 | far, true)]),
        (json!({"index": 0, "op": "SCMP_CMP_LT", "value": 5}), &[(4, true), (5, false), (far, false)]),
        (json!({"index": 0, "op": "SCMP_CMP_LE", "value": 5}), &[(5, true), (6, false), (far, false)]),
        (
            json!({"index": 0, "op": "SCMP_CMP_GE", "value": far}),
            &[(far, true), (far - 1, false), (far + 1, true), (u64::MAX, true)],
        ),
        (
            json!({"index": 0, "op": "SCMP_CMP_GT", "value": far}),
            &[(far, false), (far + 1, true), (far << 1, true), (7, false)],
        ),
        (
            json!({"index": 0, "op": "SCMP_CMP_MASKED_EQ", "value": 0xf0, "valueTwo": 0x10}),
            &[(0x1f, true), (0x10 | far, true), (0x20, false)],
        ),
    ];
    for (arg, calls) in cases {
        for (value, allowed) in *calls {
            let answer = ask(&profile(json!([arg])), Arch::X86_64, "socket", &[*value]);
            assert_eq!(answer == ALLOW, *allowed, "{arg} {value:#x}");
        }
    }
    let both = json!([{"index": 0, "op": "SCMP_CMP_EQ", "value": 1}, {"index": 5, "op": "SCMP_CMP_EQ", "value": 2}]);
    assert_eq!(ask(&profile(both.clone()), Arch::X86_64, "socket", &[1, 0, 0, 0, 0, 2]), ALLOW);
    assert_eq!(ask(&profile(both), Arch::X86_64, "socket", &[1, 0, 0, 0, 0, 3]), EPERM);
    let either = json!([{"index": 0, "op": "SCMP_CMP_EQ", "value": 1}, {"index": 0, "op": "SCMP_CMP_EQ", "value": 2}]);
    assert_eq!(ask(&profile(either.clone()), Arch::X86_64, "socket", &[2]), ALLOW);
    assert_eq!(ask(&profile(either), Arch::X86_64, "socket", &[3]), EPERM);
}

#[test]
fn what_cannot_be_enforced_is_named() {
    let one = |entry: Value| json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [entry]});
    let cases = [
        (json!({"defaultAction": "SCMP_ACT_NOTIFY"}), "`linux.seccomp.listenerPath` is missing"),
        (
            json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4096}),
            "`linux.seccomp.defaultErrnoRet` is 4096",
        ),
        (json!({"defaultAction": "SCMP_ACT_KILL", "defaultErrnoRet": 1}), "`linux.seccomp.defaultErrnoRet` is of use"),
        (
            json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"}),
            "`linux.seccomp.listenerMetadata` is for whoever listens",
        ),
        (one(json!({"names": ["read"], "action": "SCMP_ACT_NOTIFY"})), "`linux.seccomp.listenerPath` is missing"),
        (
            one(json!({"names": ["read"], "action": "SCMP_ACT_KILL", "errnoRet": 1})),
            "`linux.seccomp.syscalls[0].errnoRet`",
        ),
        (one(json!({"names": ["raed"], "action": "SCMP_ACT_KILL"})), "`linux.seccomp.syscalls[0].names` has `raed`"),
        (
            one(
                json!({"names": ["read"], "action": "SCMP_ACT_KILL", "args": [{"index": 6, "op": "SCMP_CMP_EQ", "value": 1}]}),
            ),
            "`linux.seccomp.syscalls[0].args[0]` is about argument 6",
        ),
    ];
    for (profile, beginning) in cases {
        let text = compile(&profile, arch::OURS).unwrap_err().to_string();
        assert!(text.starts_with(beginning), "{text}");
    }
    // It stays refused, as all that is not named.
    let profile =
        json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["raed"], "action": "SCMP_ACT_ALLOW"}]});
    assert!(compile(&profile, arch::OURS).is_ok());
    let name = |number: u64| json!({"names": ["prctl"], "action": "SCMP_ACT_KILL", "args": [{"index": 1, "op": "SCMP_CMP_EQ", "value": number}]});
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": (0..2500).map(name).collect::<Vec<_>>()});
    assert!(matches!(compile(&profile, arch::OURS), Err(Error::TooLong { .. })));
}

/// Through these two calls of 32-bit x86 arguments cannot be seen.
#[test]
fn conditions_on_parts_of_calls_are_refusals() {
    let rule = |name: &str, action: &str| json!([{"names": [name], "action": action, "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 7}]}]);
    for (name, call, part) in [("socket", "socketcall", 1), ("semop", "ipc", 0x1_0001)] {
        let allows = json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86"], "syscalls": rule(name, "SCMP_ACT_ALLOW")});
        assert_ne!(ask(&allows, Arch::X86, call, &[part]), ALLOW, "{call}");
        let refuses = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"], "syscalls": rule(name, "SCMP_ACT_ERRNO")});
        assert_eq!(ask(&refuses, Arch::X86, call, &[part]), EPERM, "{call}");
        assert_eq!(ask(&refuses, Arch::X86, call, &[part + 1]), ALLOW, "{call}");
    }
}

#[test]
fn flags_are_the_kernels() {
    let flags =
        |flags: Value| compile(&json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": flags}), arch::OURS).unwrap().flags;
    assert_eq!(flags(Value::Null), 4);
    assert_eq!(flags(json!([])), 0);
    // It is about listeners, and there is none.
    assert_eq!(flags(json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"])), 0);
    let asking = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
        "listenerPath": "/l",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}],
    });
    let filter = compile(&asking, arch::OURS).unwrap();
    assert!(filter.listens());
    assert_eq!(filter.flags, 1 << 3 | 1 << 5);
    assert_eq!(flags(json!(["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"])), 2);
}

#[test]
fn far_jumps_have_stepping_stones() {
    // Of each call another answer: a thousand ranges, and conditions over conditions.
    let entries: Vec<Value> = (0..300_u64)
        .map(|number| {
            json!({"names": ["ioctl"], "action": "SCMP_ACT_ERRNO", "errnoRet": 100 + number,
                   "args": [{"index": 1, "op": "SCMP_CMP_EQ", "value": number << 33 | 1}]})
        })
        .collect();
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": entries});
    for number in [0, 1, 150, 298, 299_u64] {
        assert_eq!(ask(&profile, Arch::X86_64, "ioctl", &[0, number << 33 | 1]), 0x5_0000 | (100 + number) as u32);
    }
    assert_eq!(ask(&profile, Arch::X86_64, "ioctl", &[0, 300 << 33 | 1]), ALLOW);
    assert_eq!(ask(&profile, Arch::X86_64, "read", &[]), ALLOW);
}

#[test]
fn a_filter_is_stored_and_read_again() {
    let filter = compile(&json!({"defaultAction": "SCMP_ACT_ALLOW"}), arch::OURS).unwrap();
    let bytes = filter.to_bytes();
    assert_eq!(Filter::from_bytes(&bytes).unwrap(), filter);
    for cut in 0..bytes.len() {
        let read = Filter::from_bytes(&bytes[..cut]);
        assert!(read.is_err() || (cut > 4 && cut % 8 == 4), "{cut}");
    }
    assert!(Filter::from_bytes(&vec![0; 4 + 8 * 4097]).is_err());
}

/// `configs/seccomp/default.json`, on each machine that it may be used on.
#[test]
fn the_default_profile_keeps_the_kernel_from_programs() {
    let profile: Value = serde_json::from_str(include_str!("../../../configs/seccomp/default.json")).unwrap();
    let machines: [&[Arch]; 3] = [&[Arch::X86_64, Arch::X86, Arch::X32], &[Arch::Aarch64, Arch::Arm], &[Arch::Arm]];
    for machine in machines {
        let filter = compile(&profile, machine).unwrap();
        for arch in machine {
            let ask = |name: &str, args: &[u64]| {
                let mut all = [0; 6];
                all[..args.len()].copy_from_slice(args);
                let number = number(*arch, name)?;
                Some(interpret(&filter.instructions, arch.token(), number, all))
            };
            check_default(*arch, &ask);
        }
    }
}

fn check_default(arch: Arch, ask: &dyn Fn(&str, &[u64]) -> Option<u32>) {
    const AF_UNIX: u64 = 1;
    const AF_INET6: u64 = 10;
    const AF_NETLINK: u64 = 16;
    const AF_ALG: u64 = 38;
    const AF_VSOCK: u64 = 40;
    for family in [AF_UNIX, AF_INET6, AF_NETLINK] {
        assert_eq!(ask("socket", &[family, 1]), Some(ALLOW), "{arch:?} {family}");
    }
    // The kernel looks at the lower half only.
    for family in [AF_ALG, AF_VSOCK, AF_ALG | 1 << 32, AF_VSOCK | 1 << 63]
        .map(|it| if arch.is_wide() { it } else { it & 0xffff_ffff })
    {
        assert_eq!(ask("socket", &[family, 5]), Some(EPERM), "{arch:?} {family:#x}");
    }
    // On 32-bit x86 a family could be hidden in it.
    assert!(ask("socketcall", &[1]).is_none_or(|answer| answer == ENOSYS), "{arch:?}");
    const NAMESPACES: [u64; 7] = [1 << 17, 1 << 25, 1 << 26, 1 << 27, 1 << 28, 1 << 29, 1 << 30];
    for flag in NAMESPACES {
        assert_eq!(ask("clone", &[flag | 17]), Some(EPERM), "{arch:?} {flag:#x}");
    }
    assert_eq!(ask("clone", &[0x3d_0f00]), Some(ALLOW), "a thread");
    assert_eq!(ask("clone3", &[]), Some(ENOSYS), "its flags cannot be seen");
    assert_eq!(ask("personality", &[0x0004_0000]), Some(EPERM), "no randomisation of addresses");
    let refused = [
        "unshare",
        "setns",
        "mount",
        "umount2",
        "pivot_root",
        "chroot",
        "open_tree",
        "move_mount",
        "fsopen",
        "fsconfig",
        "fsmount",
        "mount_setattr",
        "bpf",
        "perf_event_open",
        "userfaultfd",
        "io_uring_setup",
        "io_uring_enter",
        "io_uring_register",
        "add_key",
        "request_key",
        "keyctl",
        "init_module",
        "finit_module",
        "delete_module",
        "kexec_load",
        "reboot",
        "swapon",
        "swapoff",
        "settimeofday",
        "clock_settime",
        "acct",
        "quotactl",
        "open_by_handle_at",
        "ioperm",
        "iopl",
        "kcmp",
        "syslog",
        "sethostname",
        "setdomainname",
        "vhangup",
        "nfsservctl",
        "lookup_dcookie",
        "move_pages",
        "mbind",
        "set_mempolicy",
    ];
    for name in refused {
        assert!(ask(name, &[]).is_none_or(|answer| answer == EPERM), "{arch:?} {name}");
    }
    for name in ["read", "openat", "execve", "futex", "epoll_ctl", "rseq", "landlock_create_ruleset", "statx", "prctl"]
    {
        assert_eq!(ask(name, &[]), Some(ALLOW), "{arch:?} {name}");
    }
    assert_eq!(ask("file_setattr", &[]), Some(ENOSYS), "newer than all that are named");
}

/// A benchmark: `cargo test --release -p skiff --lib how_long -- --ignored --nocapture`.
#[test]
#[ignore = "a benchmark"]
fn how_long_it_takes_to_compile_the_default_profile() {
    let text = include_str!("../../../configs/seccomp/default.json");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cache");
    for _ in 0..5 {
        let began = std::time::Instant::now();
        let profile: LinuxSeccomp = serde_json::from_str(text).unwrap();
        let read = began.elapsed();
        let filter = plan(&profile).unwrap();
        let compiled = began.elapsed() - read;
        println!("read in {read:?}, compiled in {compiled:?}: {} instructions", filter.instructions.len());
        // The least that a cache would take: the profile as a key to compare with, one file, and what is in it as a filter.
        std::fs::write(&file, [serde_json::to_vec(&profile).unwrap(), filter.to_bytes()].concat()).unwrap();
        let began = std::time::Instant::now();
        let key = serde_json::to_vec(&profile).unwrap();
        let kept = std::fs::read(&file).unwrap();
        let found = kept.strip_prefix(&*key).and_then(|bytes| Filter::from_bytes(bytes).ok()).unwrap();
        println!("from a cache in {:?}: {} instructions", began.elapsed(), found.instructions.len());
    }
}
