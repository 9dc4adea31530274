//! Profiles without any limit but their length, held to a plain reading of their JSON.

use super::super::arch::Arch;
use super::dice::{ACTIONS, Dice, a_condition, arguments, rounds};
use super::{ALLOW, interpret, number};
use crate::seccomp::plan_for;
use serde_json::{Value, json};

const NAMES: [&str; 8] = ["read", "socket", "clone", "ioctl", "personality", "openat2", "mseal", "time"];
const MACHINE: [Arch; 3] = [Arch::X86_64, Arch::X86, Arch::X32];

fn a_profile(dice: &mut Dice) -> Value {
    let mut syscalls = Vec::new();
    for _ in 0..dice.up_to(20) {
        let (action, errno) = dice.of(&ACTIONS);
        let conditions = if dice.up_to(4) == 0 { 0 } else { dice.up_to(5) };
        let args: Vec<Value> = (0..conditions)
            .map(|_| {
                let index = dice.up_to(6);
                a_condition(dice, index, u64::MAX)
            })
            .collect();
        syscalls.push(json!({"names": [dice.of(&NAMES)], "action": action, "errnoRet": errno, "args": args}));
    }
    let (action, errno) = dice.of(&ACTIONS);
    let architectures = ["SCMP_ARCH_X86", "SCMP_ARCH_X32"].map(|name| (dice.up_to(2) == 0).then_some(name));
    let architectures: Vec<&str> = architectures.into_iter().flatten().collect();
    let (listener, architectures) = ("/l", Value::from(architectures));
    json!({"defaultAction": action, "defaultErrnoRet": errno, "syscalls": syscalls, "architectures": architectures, "listenerPath": listener})
}

fn value_of(action: &Value, errno: &Value) -> u32 {
    let errno = errno.as_u64().unwrap_or(1) as u32;
    match action.as_str().unwrap() {
        "SCMP_ACT_ALLOW" => ALLOW,
        "SCMP_ACT_LOG" => 0x7ffc_0000,
        "SCMP_ACT_NOTIFY" => 0x7fc0_0000,
        "SCMP_ACT_TRACE" => 0x7ff0_0000 | errno,
        "SCMP_ACT_ERRNO" => 0x5_0000 | errno,
        "SCMP_ACT_TRAP" => 0x3_0000,
        "SCMP_ACT_KILL_PROCESS" => 0x8000_0000,
        _ => 0,
    }
}

fn holds(condition: &Value, args: [u64; 6], wide: bool) -> bool {
    let mask = if wide { u64::MAX } else { 0xffff_ffff };
    let arg = args[condition["index"].as_u64().unwrap() as usize] & mask;
    let (value, two) = (condition["value"].as_u64().unwrap() & mask, condition["valueTwo"].as_u64().unwrap() & mask);
    match condition["op"].as_str().unwrap() {
        "SCMP_CMP_EQ" => arg == value,
        "SCMP_CMP_NE" => arg != value,
        "SCMP_CMP_LT" => arg < value,
        "SCMP_CMP_LE" => arg <= value,
        "SCMP_CMP_GT" => arg > value,
        "SCMP_CMP_GE" => arg >= value,
        _ => arg & value == two & value,
    }
}

/// The whole meaning, once more, as simply as it can be said.
fn expected(profile: &Value, arch: Arch, name: &str, args: [u64; 6]) -> u32 {
    let listed = profile["architectures"].as_array().unwrap();
    if arch != Arch::X86_64 && !listed.contains(&json!(arch.name())) {
        return 0;
    }
    let default = value_of(&profile["defaultAction"], &profile["defaultErrnoRet"]);
    let entries = profile["syscalls"].as_array().unwrap();
    let about: Vec<(&Value, u32)> = entries
        .iter()
        .filter(|entry| entry["names"][0] == name)
        .map(|entry| (entry, value_of(&entry["action"], &entry["errnoRet"])))
        .filter(|(_, answer)| *answer != default)
        .collect();
    let conditions = |entry: &Value| entry["args"].as_array().unwrap().clone();
    if let Some((_, answer)) = about.iter().find(|(entry, _)| conditions(entry).is_empty()) {
        return *answer;
    }
    for (entry, answer) in about {
        let conditions = conditions(entry);
        let twice = conditions.iter().any(|a| conditions.iter().filter(|b| a["index"] == b["index"]).count() > 1);
        let mut held = conditions.iter().map(|condition| holds(condition, args, arch.is_wide()));
        if if twice { held.any(|it| it) } else { held.all(|it| it) } {
            return answer;
        }
    }
    let numbers = entries.iter().filter_map(|entry| number(arch, entry["names"][0].as_str().unwrap()));
    let newest = numbers.filter(|number| !arch.is_private(*number)).max();
    let is_permissive = [ALLOW, 0x7ffc_0000].contains(&default) || default >> 16 == 0x7ff0;
    match newest {
        Some(newest)
            if !is_permissive
                && (newest + 1..arch.private_from().unwrap_or(u32::MAX)).contains(&number(arch, name).unwrap()) =>
        {
            0x5_0026
        }
        _ => default,
    }
}

#[test]
fn programs_answer_as_their_profiles_say() {
    let mut dice = Dice::new();
    for _ in 0..rounds() {
        let profile = a_profile(&mut dice);
        let filter = plan_for(&serde_json::from_value(profile.clone()).unwrap(), &MACHINE).unwrap();
        let all: Vec<&Value> = profile["syscalls"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|entry| entry["args"].as_array().unwrap())
            .collect();
        for arch in MACHINE {
            for _ in 0..100 {
                let name = dice.of(&NAMES);
                let args = arguments(&mut dice, &all, arch.is_wide());
                let answer = interpret(&filter.instructions, arch.token(), number(arch, name).unwrap(), args);
                let expected = expected(&profile, arch, name, args);
                assert_eq!(answer, expected, "{arch:?} {name} {args:x?} of {profile:#}");
            }
        }
    }
}
