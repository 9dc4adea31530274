//! The same profiles through libseccomp, by Debian's package of its Python module: whatever is called with whatever
//! arguments, both programs answer the same.

use super::super::arch::{ARM_PRIVATE, Arch, X32_BIT};
use super::super::{Instruction, plan_for};
use super::dice::{ACTIONS, Dice, a_condition, arguments, rounds};
use super::{interpret, number};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{Seek, Write};
use std::process::{Command, Stdio};

const ALL: [(&str, Arch); 5] =
    [("x86_64", Arch::X86_64), ("x86", Arch::X86), ("x32", Arch::X32), ("aarch64", Arch::Aarch64), ("arm", Arch::Arm)];

/// What libseccomp answers, a line each; `None`, and a word about it, where it is not installed.
fn libseccomp(asked: &[Value]) -> Option<Vec<String>> {
    let python = |arguments: &[&str]| {
        let mut command = Command::new("/usr/bin/timeout");
        command.args(["60", "/usr/bin/python3"]).args(arguments).stdin(Stdio::null());
        command
    };
    let installed =
        python(&["-c", "import seccomp"]).stderr(Stdio::null()).output().is_ok_and(|it| it.status.success());
    if !installed {
        let test = std::thread::current().name().unwrap_or_default().to_owned();
        let line = format!("SKIP {test}: python3-seccomp is not installed here\n");
        print!("{line}");
        if let Some(path) = std::env::var_os("SKIFF_SKIP_LOG") {
            let file = std::fs::File::options().append(true).create(true).open(path);
            file.unwrap().write_all(line.as_bytes()).unwrap();
        }
        return None;
    }
    let mut input = tempfile::tempfile().unwrap();
    asked.iter().for_each(|it| writeln!(input, "{it}").unwrap());
    input.rewind().unwrap();
    let output = python(&["-c", include_str!("compile.py")]).stdin(input).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success());
    let lines: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), asked.len());
    Some(lines)
}

/// Every name that one of the architectures has.
fn names() -> Vec<String> {
    let table = include_str!("../numbers.txt");
    let names: Vec<String> = table.lines().filter_map(|line| Some(line.split_once(' ')?.0.to_owned())).collect();
    assert!(names.is_sorted(), "they are found by halving");
    names
}

#[test]
fn numbers_are_libseccomps() {
    let names = names();
    let asked: Vec<Value> = ALL.iter().map(|(arch, _)| json!({"arch": arch, "names": names})).collect();
    let Some(lines) = libseccomp(&asked) else { return };
    for ((word, arch), line) in ALL.iter().zip(lines) {
        let theirs: Vec<i64> = serde_json::from_str(&line).unwrap();
        let differ = names.iter().zip(theirs).filter_map(|(name, theirs)| {
            // Negative: not there, or newer than libseccomp.
            let ours = number(*arch, name).map_or(-1, i64::from);
            if let Some(part) = arch.part(name) {
                let differs = i64::from(part.of) != theirs;
                return differs.then(|| format!("{name}: part of {}, libseccomp {theirs}", part.of));
            }
            let is_newer = ["uprobe", "uretprobe", "sync_file_range2"].contains(&name.as_str());
            let is_same = is_newer || ours == theirs || (theirs < 0 && (ours < 0 || ours & !i64::from(X32_BIT) > 440));
            (!is_same).then(|| format!("{name}: {ours}, libseccomp {theirs}"))
        });
        let differ: Vec<String> = differ.collect();
        assert!(differ.is_empty(), "{word}: {differ:#?}");
    }
}

/// The default allows, so that no call is unknown to the profile: that answer is ours to add, and not libseccomp's.
fn a_default(dice: &mut Dice) -> (&'static str, Option<u32>) {
    dice.of(&[
        ("SCMP_ACT_ALLOW", None),
        ("SCMP_ACT_LOG", None),
        ("SCMP_ACT_TRACE", Some(5)),
        ("SCMP_ACT_ERRNO", Some(38)),
    ])
}

fn a_profile(dice: &mut Dice, names: &[String]) -> Value {
    // As every profile has, some without conditions.
    let mut used = BTreeSet::from(["read", "brk", "getpid"].map(str::to_owned));
    let mut syscalls = vec![json!({"names": used, "action": "SCMP_ACT_ERRNO", "errnoRet": 99})];
    for _ in 0..dice.up_to(40) {
        let name = dice.of(names);
        // With conditions it does something else on 32-bit x86, where the arguments of such a call may be out of sight.
        let has_parts = Arch::X86.part(&name).is_some();
        // What rules with conditions say where several apply is nobody's promise, unless they say the same.
        let (action, errno) = dice.of(&ACTIONS);
        if !used.insert(name.clone()) {
            continue;
        }
        // As profiles have it: one rule about several arguments, or several about one, with short numbers. `programs_answer_as_
        // their_profiles_say` has the rest.
        let (rules, conditions) = if dice.up_to(2) == 0 { (1, dice.up_to(4)) } else { (dice.up_to(4), 1) };
        let most = if rules == 1 { u64::MAX } else { 0xffff_ffff };
        let first = dice.up_to(6);
        for _ in 0..rules {
            let args: Vec<Value> = (0..conditions).map(|at| a_condition(dice, (first + at) % 6, most)).collect();
            if !args.is_empty() && !has_parts {
                syscalls.push(json!({"names": [name], "action": action, "errnoRet": errno, "args": args}));
            }
        }
        if dice.up_to(3) == 0 {
            let (action, errno) = dice.of(&ACTIONS);
            syscalls.push(json!({"names": [name], "action": action, "errnoRet": errno}));
        }
    }
    let (action, errno) = a_default(dice);
    json!({"defaultAction": action, "defaultErrnoRet": errno, "syscalls": syscalls, "listenerPath": "/l"})
}

fn decode(hex: &str) -> Vec<Instruction> {
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
    let word = |at: &[u8]| u32::from_le_bytes(at.try_into().unwrap());
    let instruction =
        |it: &[u8]| Instruction { code: u16::from_le_bytes([it[0], it[1]]), yes: it[2], no: it[3], k: word(&it[4..]) };
    bytes.chunks_exact(8).map(instruction).collect()
}

/// The machines of this kind: what is native comes first, as in `OURS`.
const MACHINES: [&[(&str, Arch)]; 3] = [
    &[("x86_64", Arch::X86_64), ("x86", Arch::X86), ("x32", Arch::X32)],
    &[("aarch64", Arch::Aarch64), ("arm", Arch::Arm)],
    &[("arm", Arch::Arm)],
];

#[test]
fn programs_answer_as_libseccomps_do() {
    let mut dice = Dice::new();
    // Those that libseccomp knows, without those of 32-bit x86 that are parts of one call there.
    let names: Vec<String> = names().into_iter().filter(|name| is_comparable(name)).collect();
    let asked: Vec<(usize, Value)> =
        (0..rounds()).map(|_| (dice.up_to(MACHINES.len()), a_profile(&mut dice, &names))).collect();
    let possible = |machine: usize| MACHINES[machine].iter().map(|(word, _)| *word).collect::<Vec<_>>();
    let lines: Vec<Value> =
        asked.iter().map(|(machine, profile)| json!({"possible": possible(*machine), "profile": profile})).collect();
    let Some(theirs) = libseccomp(&lines) else { return };
    for ((machine, profile), theirs) in asked.iter().zip(theirs) {
        compare(&mut dice, MACHINES[*machine], profile, &decode(&theirs));
    }
}

fn is_comparable(name: &str) -> bool {
    number(Arch::X86_64, name).or_else(|| number(Arch::Arm, name)).or_else(|| number(Arch::X86, name)).is_some_and(
        |number| {
            let is_old = number <= 440 || number >= ARM_PRIVATE;
            is_old && !["uretprobe", "uprobe", "sync_file_range2", "socketcall", "ipc"].contains(&name)
        },
    )
}

fn compare(dice: &mut Dice, machine: &[(&str, Arch)], profile: &Value, theirs: &[Instruction]) {
    let arches: Vec<Arch> = machine.iter().map(|(_, arch)| *arch).collect();
    let all = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"];
    let mut listed = profile.clone();
    listed["architectures"] = json!(all);
    let ours = plan_for(&serde_json::from_value(listed).unwrap(), &arches).unwrap();
    let entries = profile["syscalls"].as_array().unwrap();
    for arch in arches {
        let bit = if arch == Arch::X32 { X32_BIT } else { 0 };
        let is_about = |entry: &&Value, called: u32| {
            let names = entry["names"].as_array().unwrap();
            names.iter().any(|name| {
                let name = name.as_str().unwrap();
                number(arch, name) == Some(called) || arch.part(name).is_some_and(|part| part.of == called)
            })
        };
        let check = |number: u32, args: [u64; 6]| {
            let [ours, theirs] = [&ours.instructions[..], theirs].map(|it| interpret(it, arch.token(), number, args));
            if ours != theirs {
                let entries: Vec<_> = entries.iter().filter(|entry| is_about(entry, number)).collect();
                let entries = serde_json::to_string(&entries).unwrap();
                panic!(
                    "{arch:?} call {number} {args:x?}: {ours:#x}, libseccomp {theirs:#x}; {} {entries}",
                    profile["defaultAction"]
                );
            }
        };
        // Of `ipc(2)` libseccomp compares more bits than say which part is meant.
        let ipc = arch.part("semop").map(|part| part.of);
        let numbers = (0..=600).chain(ARM_PRIVATE..ARM_PRIVATE + 8);
        for number in numbers.filter(|number| Some(*number) != ipc) {
            check(number | bit, arguments(dice, &[], arch.is_wide()));
        }
        // A call that a tracer has taken back.
        check(u32::MAX, arguments(dice, &[], arch.is_wide()));
        for part in (0..30).filter(|_| arch == Arch::X86) {
            check(number(arch, "socketcall").unwrap(), [part, 1, 2, 3, 4, 5]);
            check(number(arch, "ipc").unwrap(), [part, 1, 2, 3, 4, 5]);
        }
        for entry in entries {
            let name = entry["names"][0].as_str().unwrap();
            let Some(number) = number(arch, name) else { continue };
            let same = |other: &&Value| other["names"][0] == entry["names"][0];
            let conditions: Vec<&Value> =
                entries.iter().filter(same).flat_map(|it| it["args"].as_array().into_iter().flatten()).collect();
            for _ in 0..20 {
                check(number, arguments(dice, &conditions, arch.is_wide()));
            }
        }
    }
    assert_ne!(interpret(&ours.instructions, 0x1234, 0, [0; 6]), super::ALLOW, "an architecture that nobody has");
}
