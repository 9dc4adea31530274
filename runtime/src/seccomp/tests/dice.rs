//! Profiles and calls by chance.

use serde_json::{Value, json};

/// Numbers that look random, the same for a seed (xorshift).
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(super) fn up_to(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub(super) fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.up_to(all.len())].clone()
    }

    /// Small ones, ones at the borders of words, and any.
    pub(super) fn argument(&mut self) -> u64 {
        let base = self.of(&[
            0,
            1,
            2,
            38,
            40,
            0x7fff_ffff,
            0x8000_0000,
            0xffff_ffff,
            0x1_0000_0000,
            u64::MAX,
            self.0,
            self.0 >> 33,
        ]);
        base.wrapping_add(self.of(&[0, 0, 1, u64::MAX]))
    }
}

pub(super) const ACTIONS: [(&str, Option<u32>); 10] = [
    ("SCMP_ACT_ALLOW", None),
    ("SCMP_ACT_ERRNO", None),
    ("SCMP_ACT_ERRNO", Some(38)),
    ("SCMP_ACT_ERRNO", Some(0)),
    ("SCMP_ACT_KILL", None),
    ("SCMP_ACT_KILL_PROCESS", None),
    ("SCMP_ACT_TRAP", None),
    ("SCMP_ACT_LOG", None),
    ("SCMP_ACT_NOTIFY", None),
    ("SCMP_ACT_TRACE", Some(77)),
];

pub(super) fn a_condition(dice: &mut Dice, index: usize, most: u64) -> Value {
    let operator = dice.of(&["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"]);
    let (value, two) = match operator {
        "MASKED_EQ" => {
            // Without a bit, of the lower half for 32-bit programs, it is no condition; what libseccomp makes of one beside
            // others is nobody's promise.
            let mask = dice.argument() & most | 1;
            (mask, dice.argument())
        }
        _ => (dice.argument() & most, 0),
    };
    json!({"index": index, "op": format!("SCMP_CMP_{operator}"), "value": value, "valueTwo": two})
}

/// Arguments at and around those that the profile compares with.
pub(super) fn arguments(dice: &mut Dice, conditions: &[&Value], wide: bool) -> [u64; 6] {
    let mut args = [0; 6];
    for arg in &mut args {
        *arg = dice.argument();
    }
    for condition in conditions {
        let index = condition["index"].as_u64().unwrap() as usize;
        let (value, two) = (condition["value"].as_u64().unwrap(), condition["valueTwo"].as_u64().unwrap());
        args[index] = match dice.up_to(4) {
            0 => args[index],
            1 => value.wrapping_add(dice.of(&[0, 1, u64::MAX])),
            2 => two | (dice.argument() & !value),
            _ => value,
        };
    }
    // What a program of 32 bits cannot pass does not come.
    args.map(|arg| if wide { arg } else { arg & 0xffff_ffff })
}

impl Dice {
    /// The same for a seed (`SKIFF_SEED`), which is told.
    pub(super) fn new() -> Self {
        let given = std::env::var("SKIFF_SEED").ok().and_then(|text| text.parse::<u64>().ok());
        let seed = given.unwrap_or(u64::from(std::process::id()) + 1);
        println!("seed {seed} (SKIFF_SEED)");
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
}

/// `SKIFF_PROFILES`, or as many as take no time to speak of.
pub(super) fn rounds() -> u64 {
    std::env::var("SKIFF_PROFILES").ok().and_then(|text| text.parse().ok()).unwrap_or(150)
}
