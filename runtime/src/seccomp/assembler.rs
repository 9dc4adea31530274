//! Lays out a program for the kernel's filter machine (linux/filter.h) from its end to its beginning: whatever is jumped
//! to is there already, so that each distance is known, and one that a jump cannot reach gets a stepping stone.

use std::collections::BTreeMap;

/// One instruction, laid out as `struct sock_filter`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// What it does.
    pub code: u16,
    /// How many instructions a true condition skips.
    pub yes: u8,
    /// How many a false one skips.
    pub no: u8,
    /// The constant.
    pub k: u32,
}

/// `BPF_LD | BPF_W | BPF_ABS`
pub(super) const LOAD: u16 = 0x20;
/// `BPF_JMP | BPF_JA`
pub(super) const GO: u16 = 0x05;
/// `BPF_JMP | BPF_JEQ | BPF_K`
pub(super) const IF_EQUAL: u16 = 0x15;
/// `BPF_JMP | BPF_JGT | BPF_K`
pub(super) const IF_GREATER: u16 = 0x25;
/// `BPF_JMP | BPF_JGE | BPF_K`
pub(super) const IF_AT_LEAST: u16 = 0x35;
/// `BPF_ALU | BPF_AND | BPF_K`
pub(super) const AND: u16 = 0x54;
/// `BPF_RET | BPF_K`
pub(super) const RETURN: u16 = 0x06;

/// A place in the program, counted from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(usize);

/// How far a condition jumps, less one for a stepping stone that the other of its two ways may need.
const REACH: usize = 254;

#[derive(Debug, Default)]
pub(super) struct Assembler {
    /// The last instruction first.
    reversed: Vec<Instruction>,
    /// The latest place that returns a value.
    returns: BTreeMap<u32, Place>,
}

impl Assembler {
    /// Goes before all that is there.
    fn push(&mut self, code: u16, yes: u8, no: u8, k: u32) -> Place {
        self.reversed.push(Instruction { code, yes, no, k });
        Place(self.reversed.len() - 1)
    }

    /// Ends with a value.
    pub(super) fn give(&mut self, value: u32) -> Place {
        match self.returns.get(&value) {
            Some(place) if self.distance(*place) <= REACH => *place,
            _ => {
                let place = self.push(RETURN, 0, 0, value);
                self.returns.insert(value, place);
                place
            }
        }
    }

    /// Loads a word of the call's data, then does what was laid out last, which must be the place to go on at.
    pub(super) fn load(&mut self, offset: u32) -> Place {
        self.push(LOAD, 0, 0, offset)
    }

    /// Keeps some bits of the word, then does what was laid out last.
    pub(super) fn mask(&mut self, bits: u32) -> Place {
        self.push(AND, 0, 0, bits)
    }

    /// Compares the loaded word with a constant and goes one way or the other.
    pub(super) fn branch(&mut self, condition: u16, k: u32, yes: Place, no: Place) -> Place {
        let yes = self.within_reach(yes);
        let no = self.within_reach(no);
        let (yes, no) = (self.distance(yes) as u8, self.distance(no) as u8);
        self.push(condition, yes, no, k)
    }

    /// Makes the next instruction one from which to go on at `place`.
    pub(super) fn go(&mut self, place: Place) -> Place {
        match self.distance(place) {
            0 => place,
            distance => self.push(GO, 0, 0, distance as u32),
        }
    }

    /// How many instructions the next one would skip to get to `place`.
    fn distance(&self, place: Place) -> usize {
        self.reversed.len() - place.0 - 1
    }

    fn within_reach(&mut self, place: Place) -> Place {
        let distance = self.distance(place);
        if distance <= REACH {
            return place;
        }
        match self.reversed[place.0] {
            Instruction { code: RETURN, k, .. } => self.give(k),
            _ => self.push(GO, 0, 0, distance as u32),
        }
    }

    /// The program; it begins with what was laid out last.
    pub(super) fn finish(mut self) -> Vec<Instruction> {
        self.reversed.reverse();
        self.reversed
    }
}
