//! The program and the v1 list must give the same answers as the rules themselves, for every device near a rule.

use super::*;
use crate::sys::bpf::Insn;

fn rule(allow: bool, text: &str) -> Rule {
    let (kind, rest) = text.split_once(' ').unwrap();
    let (numbers, letters) = rest.split_once(' ').unwrap();
    let (major, minor) = numbers.split_once(':').unwrap();
    let kind = match kind {
        "a" => None,
        "b" => Some(DeviceKind::Block),
        _ => Some(DeviceKind::Char),
    };
    let bits = letters.bytes().map(|letter| match letter {
        b'm' => 1,
        b'r' => 2,
        _ => 4,
    });
    Rule { allow, kind, major: major.parse().ok(), minor: minor.parse().ok(), access: Access(bits.sum()) }
}

/// `+` allows, `-` denies.
fn parse_all(text: &str) -> Vec<Rule> {
    text.split(", ").filter(|word| !word.is_empty()).map(|word| rule(word.starts_with('+'), &word[1..])).collect()
}

/// The meaning itself: each kind of access is decided by the last rule that speaks of it.
fn allowed(rules: &[Rule], kind: DeviceKind, major: u32, minor: u32, access: u8) -> bool {
    let speaks = |rule: &&Rule, bit: u8| {
        rule.access.0 & bit != 0
            && rule.kind.is_none_or(|wanted| wanted == kind)
            && rule.major.is_none_or(|wanted| wanted == major)
            && rule.minor.is_none_or(|wanted| wanted == minor)
    };
    let mut bits = [1, 2, 4].into_iter().filter(|bit| access & bit != 0);
    bits.all(|bit| rules.iter().rev().find(|rule| speaks(rule, bit)).is_some_and(|rule| rule.allow))
}

/// Runs the few instructions that the assembler knows.
fn run(insns: &[Insn], kind: DeviceKind, major: u32, minor: u32, access: u8) -> bool {
    let context = [u64::from(access) << 16 | program::kind_number(kind) as u64, u64::from(major), u64::from(minor)];
    let (mut registers, mut at) = ([0_u64; 11], 0_usize);
    loop {
        let insn = insns[at];
        let (to, from) = insn.registers();
        let (value, imm) = (registers[to], i64::from(insn.imm) as u64);
        at += 1;
        match insn.code {
            0x61 => registers[to] = context[insn.off as usize / 4],
            0xbc => registers[to] = registers[from],
            0xb4 => registers[to] = imm,
            0x54 => registers[to] = value & imm,
            0x74 => registers[to] = value >> imm,
            0x55 if value != imm => at += insn.off as usize,
            0x15 if value == imm => at += insn.off as usize,
            0x55 | 0x15 => {}
            0x95 => return registers[0] == 1,
            other => panic!("unknown instruction {other:#x}"),
        }
    }
}

const TABLES: [&str; 14] = [
    "",
    "-a *:* rwm",
    "-a *:* rwm, +c 1:3 rwm, +c 1:5 r, +b 8:* rw",
    "+a *:* rwm, -c 1:3 w",
    "+a *:* rwm, -c 1:* rwm, +c 1:3 r",
    "-a *:* rwm, +c 1:* rwm, -c 1:3 w, +c 1:3 m",
    "+c 1:3 rwm, -a *:* rwm, +b *:* m",
    "+c 1:3 r, +c 1:3 w, +c 1:* m",
    "+a *:* rw, -b *:0 r",
    "-a *:* rwm, +a *:* r, -c 5:* r",
    "+a 1:3 r, -c 1:3 r",
    "+c 4095:1048575 rw, +c *:5 rwm, -c 5:5 wm",
    "+a *:* rwm, -a *:* m",
    "+c 1:3 rw, -c *:* rwm, +c 1:5 rw",
];

#[test]
fn the_program_answers_like_the_rules() {
    for table in TABLES {
        for usual in [&[][..], &ALWAYS[..]] {
            let rules: Vec<Rule> = parse_all(table).into_iter().chain(usual.iter().copied()).collect();
            let insns = program(&rules);
            for kind in [DeviceKind::Block, DeviceKind::Char] {
                for (major, minor) in [0, 1, 5, 8, 136, 4095]
                    .into_iter()
                    .flat_map(|major| [0, 1, 3, 5, 1_048_575].into_iter().map(move |minor| (major, minor)))
                {
                    for access in 1..=7 {
                        let answer = insns.as_ref().is_none_or(|insns| run(insns, kind, major, minor, access));
                        let expected = allowed(&rules, kind, major, minor, access);
                        assert_eq!(answer, expected, "`{table}`: {kind:?} {major}:{minor} {access}");
                    }
                }
            }
        }
    }
}

#[test]
fn rules_that_allow_everything_need_no_program() {
    assert_eq!(program(&parse_all("-c 1:3 r, +a *:* rwm, +c 1:3 r")), None);
    assert!(program(&parse_all("+a *:* rwm, -c 1:3 r")).is_some());
}

fn lines(text: &str) -> String {
    match list(&parse_all(text)) {
        Ok(lines) => lines.iter().map(|(file, line)| format!("{}<{line}", &file[8..])).collect::<Vec<_>>().join(", "),
        Err(error) => error.to_string(),
    }
}

#[test]
fn v1_gets_a_default_and_exceptions() {
    assert_eq!(lines(""), "deny<a");
    assert_eq!(
        lines("-a *:* rwm, +c 1:3 r, +c 1:3 w, +a 5:* m"),
        "deny<a, allow<c 1:3 rw, allow<b 5:* m, allow<c 5:* m"
    );
    assert_eq!(lines("+c 1:3 r, +a *:* rwm, -b 8:0 rwm"), "allow<a, deny<b 8:0 rwm");
    assert_eq!(lines("+c 1:3 rwm, +c 1:5 rw, -c 1:* w"), "deny<a, allow<c 1:3 rm, allow<c 1:5 r");
    assert!(lines("+c 1:* rwm, -c 1:3 w").contains("linux.resources.devices[1]` is refused: cgroup v1"));
}

#[test]
fn systemd_is_told_a_list_or_nothing() {
    let told = |json: &str| {
        let devices: Vec<LinuxDeviceCgroup> = serde_json::from_str(json).unwrap();
        let words = super::allowed(Some(&devices)).unwrap()?;
        Some(words.iter().map(|(path, access)| format!("{path} {access}")).collect::<Vec<_>>().join(", "))
    };
    let usual = "char-* m, block-* m, /dev/char/1:3 rwm, /dev/char/1:5 rwm, /dev/char/1:7 rwm, /dev/char/1:8 rwm, \
                 /dev/char/1:9 rwm, /dev/char/5:0 rwm, /dev/char/5:2 rwm, char-136 rwm";
    assert_eq!(told(r#"[{"allow":false,"access":"rwm"}]"#).unwrap(), usual);
    assert_eq!(told("[]").unwrap(), usual);
    let disk = told(r#"[{"allow":true,"type":"b","major":8,"minor":0,"access":"r"}]"#).unwrap();
    assert_eq!(disk, format!("/dev/block/8:0 r, {usual}"));
    // Everything; every minor 5; a hole in what is allowed: systemd has no words for these.
    assert_eq!(told(r#"[{"allow":true,"access":"rwm"}]"#), None);
    assert_eq!(told(r#"[{"allow":true,"type":"c","minor":5,"access":"r"}]"#), None);
    let hole = r#"[{"allow":true,"type":"c","major":9,"access":"r"},{"allow":false,"type":"c","major":9,"minor":1,"access":"r"}]"#;
    assert_eq!(told(hole), None);
}

#[test]
fn the_configuration_is_read_strictly() {
    let read = |json: &str| match rules(Some(&[serde_json::from_str(json).unwrap()])) {
        Ok(rules) => format!("{:?}", rules[0]),
        Err(error) => error.to_string(),
    };
    let expected = rule(true, "c 10:* rm");
    assert_eq!(read(r#"{"allow":true,"type":"c","major":10,"minor":-1,"access":"mr"}"#), format!("{expected:?}"));
    assert!(read(r#"{"allow":false}"#).contains("devices[0].access` is refused: it is empty"));
    assert!(read(r#"{"allow":false,"access":"rx"}"#).contains("letters"));
    assert!(read(r#"{"allow":false,"access":"r","type":"p"}"#).contains("devices[0].type"));
    assert!(read(r#"{"allow":true,"access":"r","type":"c","major":4294967296}"#).contains("devices[0].major"));
    assert_eq!(rules(None).unwrap(), ALWAYS);
}
