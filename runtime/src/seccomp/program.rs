//! A profile as a program. The calls of an architecture are ranges of numbers with one answer; which range a call is in is
//! found by halving, so that it takes a dozen comparisons whatever the profile's length.

use super::arch::{Arch, X32_BIT};
use super::assembler::{Assembler, IF_AT_LEAST, IF_EQUAL, IF_GREATER, Instruction, Place};
use super::profile::{Call, Condition, KILL_THREAD, NO_SUCH_CALL, Profile, Rule, Section};
use oci_spec::runtime::LinuxSeccompOperator as Operator;
use std::collections::BTreeMap;

/// Offsets in `struct seccomp_data` (linux/seccomp.h).
pub(super) const NUMBER: u32 = 0;
pub(super) const ARCHITECTURE: u32 = 4;
pub(super) const ARGUMENTS: u32 = 16;

/// From `start` to the next range.
struct Range<'a> {
    start: u32,
    answer: Answer<'a>,
}

#[derive(Clone, Copy, PartialEq)]
enum Answer<'a> {
    Always(u32),
    First { rules: &'a [Rule], wide: bool },
}

pub(super) fn assemble(profile: &Profile) -> Vec<Instruction> {
    let mut out = Assembler::default();
    let mut tokens: BTreeMap<u32, Vec<Range<'_>>> = BTreeMap::new();
    for section in &profile.sections {
        tokens.entry(section.arch.token()).or_default().extend(ranges(section, profile.default));
    }
    let mut next = out.give(KILL_THREAD);
    for (token, ranges) in &mut tokens {
        close(ranges, *token, profile.default);
        let found = halve(&mut out, ranges, profile.default);
        let _the_next = out.go(found);
        let number = out.load(NUMBER);
        next = out.branch(IF_EQUAL, *token, number, next);
    }
    let _the_next = out.go(next);
    out.load(ARCHITECTURE);
    out.finish()
}

/// The ranges of a section, in order.
fn ranges(section: &Section, default: u32) -> Vec<Range<'_>> {
    let wide = section.arch.is_wide();
    let mut ranges = Ranges { section, default, all: Vec::with_capacity(2 * section.calls.len() + 3) };
    let mut next = if section.arch == Arch::X32 { X32_BIT } else { 0 };
    for (number, call) in &section.calls {
        ranges.gap(next, *number);
        let answer = match call {
            Call::Always(answer) => Answer::Always(*answer),
            Call::First(rules) => Answer::First { rules, wide },
        };
        ranges.push(*number, answer);
        next = number + 1;
    }
    ranges.gap(next, u32::MAX);
    ranges.all
}

struct Ranges<'a> {
    section: &'a Section,
    default: u32,
    all: Vec<Range<'a>>,
}

impl<'a> Ranges<'a> {
    fn push(&mut self, start: u32, answer: Answer<'a>) {
        if self.all.last().is_none_or(|last| last.answer != answer) {
            self.all.push(Range { start, answer });
        }
    }

    /// Numbers that no rule is about.
    fn gap(&mut self, start: u32, end: u32) {
        let (unknown, private) = (self.section.unknown_from, self.section.arch.private_from());
        for at in [Some(start), unknown, private].into_iter().flatten().filter(|at| (start..end).contains(at)) {
            let is_unknown = unknown.is_some_and(|from| at >= from) && !self.section.arch.is_private(at);
            self.push(at, Answer::Always(if is_unknown { NO_SUCH_CALL } else { self.default }));
        }
    }
}

/// The numbers of x32 are another architecture's where it is not listed: no rule of this profile is about them.
fn close(ranges: &mut Vec<Range<'_>>, token: u32, default: u32) {
    if token == Arch::X32.token() && ranges.iter().all(|range| range.start < X32_BIT) {
        ranges.push(Range { start: X32_BIT, answer: Answer::Always(KILL_THREAD) });
        // By this number a tracer has a call passed over (ptrace(2), PTRACE_EVENT_SECCOMP).
        ranges.push(Range { start: u32::MAX, answer: Answer::Always(default) });
    }
}

/// Finds the range of the loaded number.
fn halve(out: &mut Assembler, ranges: &[Range<'_>], default: u32) -> Place {
    match ranges {
        [] => out.give(default),
        [one] => answer(out, one.answer, default),
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let yes = halve(out, high, default);
            let no = halve(out, low, default);
            out.branch(IF_AT_LEAST, high[0].start, yes, no)
        }
    }
}

fn answer(out: &mut Assembler, answer: Answer<'_>, default: u32) -> Place {
    match answer {
        Answer::Always(value) => out.give(value),
        Answer::First { rules, wide } => {
            let otherwise = out.give(default);
            rules.iter().rev().fold(otherwise, |next, rule| apply(out, rule, wide, next))
        }
    }
}

/// Gives the rule's answer if all its conditions hold; else goes on at `next`.
fn apply(out: &mut Assembler, rule: &Rule, wide: bool, next: Place) -> Place {
    let yes = out.give(rule.answer);
    rule.conditions.iter().rev().fold(yes, |yes, condition| test(out, *condition, wide, yes, next))
}

/// Goes one way or the other by one condition. An argument of 64 bits is two words.
fn test(out: &mut Assembler, condition: Condition, wide: bool, yes: Place, no: Place) -> Place {
    let Condition { index, operator, mask, value } = condition;
    let low = Word { offset: ARGUMENTS + 8 * index, mask: mask as u32, value: value as u32 };
    let high = Word { offset: low.offset + 4, mask: (mask >> 32) as u32, value: (value >> 32) as u32 };
    let high = if wide { Some(high) } else { None };
    match operator {
        Operator::ScmpCmpEq | Operator::ScmpCmpMaskedEq => equal(out, low, high, yes, no),
        Operator::ScmpCmpNe => equal(out, low, high, no, yes),
        Operator::ScmpCmpGt => above(out, IF_GREATER, low, high, yes, no),
        Operator::ScmpCmpGe => above(out, IF_AT_LEAST, low, high, yes, no),
        Operator::ScmpCmpLe => above(out, IF_GREATER, low, high, no, yes),
        Operator::ScmpCmpLt => above(out, IF_AT_LEAST, low, high, no, yes),
    }
}

/// Half an argument, or all of a short one, and what it is compared with.
#[derive(Clone, Copy)]
struct Word {
    offset: u32,
    mask: u32,
    value: u32,
}

fn load(out: &mut Assembler, word: Word) -> Place {
    if word.mask != u32::MAX {
        out.mask(word.mask);
    }
    out.load(word.offset)
}

fn equal(out: &mut Assembler, low: Word, high: Option<Word>, yes: Place, no: Place) -> Place {
    out.branch(IF_EQUAL, low.value, yes, no);
    let same = load(out, low);
    match high {
        Some(high) => {
            out.branch(IF_EQUAL, high.value, same, no);
            load(out, high)
        }
        None => same,
    }
}

/// By the low word with `condition` where the high words are the same.
fn above(out: &mut Assembler, condition: u16, low: Word, high: Option<Word>, yes: Place, no: Place) -> Place {
    out.branch(condition, low.value, yes, no);
    let same = load(out, low);
    match high {
        Some(high) => {
            let not_above = out.branch(IF_EQUAL, high.value, same, no);
            out.branch(IF_GREATER, high.value, yes, not_above);
            load(out, high)
        }
        None => same,
    }
}
