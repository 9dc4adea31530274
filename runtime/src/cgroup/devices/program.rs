//! Assembles the rules into a program for cgroup v2 (`BPF_PROG_TYPE_CGROUP_DEVICE`), which the kernel asks at every
//! open(2) and mknod(2) of a device node and which answers 1 for allowed.

use super::{Access, DeviceKind, Rule};
use crate::sys::bpf::Insn;

// Registers. The kernel passes the address of a `bpf_cgroup_dev_ctx` in R1.
const ANSWER: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
/// The kinds of access asked for that no rule has allowed yet.
const LEFT: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

// Offsets in `bpf_cgroup_dev_ctx`; the first word holds access << 16 | kind.
const ACCESS_TYPE_AT: i16 = 0;
const MAJOR_AT: i16 = 4;
const MINOR_AT: i16 = 8;

/// The program, or nothing if everything is allowed. Rules are asked from the last to the first, so that the last one
/// that speaks of an access decides; a total rule ends the program, as nothing after it could be reached and the
/// verifier refuses dead code.
pub(in crate::cgroup) fn program(rules: &[Rule]) -> Option<Vec<Insn>> {
    let total = rules.iter().rposition(Rule::is_total);
    let (default, asked) = match total {
        Some(at) => (rules[at].allow, &rules[at + 1..]),
        None => (false, rules),
    };
    if default && asked.iter().all(|rule| rule.allow) {
        return None;
    }
    let mut insns = vec![
        Insn::load_u32(KIND, CONTEXT, ACCESS_TYPE_AT),
        Insn::copy(LEFT, KIND),
        Insn::and(KIND, 0xffff),
        Insn::shift_right(LEFT, 16),
        Insn::load_u32(MAJOR, CONTEXT, MAJOR_AT),
        Insn::load_u32(MINOR, CONTEXT, MINOR_AT),
    ];
    for rule in asked.iter().rev() {
        insns.extend(block(rule));
    }
    insns.extend(answer(default));
    Some(insns)
}

/// One rule: tests that jump behind it where it does not apply, then what it does.
fn block(rule: &Rule) -> Vec<Insn> {
    let mut tests = Vec::new();
    if let Some(kind) = rule.kind {
        tests.push((KIND, kind_number(kind)));
    }
    // Numbers were checked to fit when the rule was made; a rule with another one could match nothing.
    tests.extend(rule.major.map(|major| (MAJOR, major as i32)));
    tests.extend(rule.minor.map(|minor| (MINOR, minor as i32)));
    let body = if rule.allow { allow(rule.access) } else { deny(rule.access) };
    let length = tests.len() + body.len();
    let jumps = tests.iter().enumerate().map(|(at, (register, value))| {
        // Three tests and five instructions at most.
        Insn::jump_if_not(*register, *value, (length - at - 1) as i16)
    });
    jumps.chain(body).collect()
}

/// Takes the allowed kinds off what is left, and answers once nothing is.
fn allow(access: Access) -> Vec<Insn> {
    let mut body = Vec::new();
    if access != Access::ALL {
        body.push(Insn::and(LEFT, i32::from(Access::ALL.0 & !access.0)));
        body.push(Insn::jump_if_not(LEFT, 0, 2));
    }
    body.extend(answer(true));
    body
}

/// Answers if any kind that is left is denied.
fn deny(access: Access) -> Vec<Insn> {
    let mut body = Vec::new();
    if access != Access::ALL {
        body.push(Insn::copy(SCRATCH, LEFT));
        body.push(Insn::and(SCRATCH, i32::from(access.0)));
        body.push(Insn::jump_if(SCRATCH, 0, 2));
    }
    body.extend(answer(false));
    body
}

fn answer(allowed: bool) -> [Insn; 2] {
    [Insn::set(ANSWER, i32::from(allowed)), Insn::exit()]
}

/// `BPF_DEVCG_DEV_*` of linux/bpf.h.
pub(super) fn kind_number(kind: DeviceKind) -> i32 {
    match kind {
        DeviceKind::Block => 1,
        DeviceKind::Char => 2,
    }
}
