//! Lets lanes that run side by side be heard one after the other: one speaks and is heard at once, what the others say is
//! kept until it has ended.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Where all speak.
#[derive(Debug)]
pub struct Floor<W>(Mutex<State<W>>);

#[derive(Debug)]
struct State<W> {
    out: W,
    speaker: Option<usize>,
    kept: BTreeMap<usize, Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    words: Vec<u8>,
    has_ended: bool,
}

/// One who speaks; whatever is written in one piece stays together.
#[derive(Debug)]
pub struct Voice<'a, W: Write> {
    floor: &'a Floor<W>,
    number: usize,
}

impl<W: Write> Floor<W> {
    /// Nobody speaks yet.
    pub fn new(out: W) -> Self {
        Self(Mutex::new(State { out, speaker: None, kept: BTreeMap::new() }))
    }

    /// A voice; of those who wait, the one with the lowest number is heard next.
    pub fn voice(&self, number: usize) -> Voice<'_, W> {
        Voice { floor: self, number }
    }

    fn state(&self) -> MutexGuard<'_, State<W>> {
        // What a voice that panicked left is whole: it was writing, not changing.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Write> Write for Voice<'_, W> {
    fn write(&mut self, words: &[u8]) -> io::Result<usize> {
        let mut state = self.floor.state();
        if *state.speaker.get_or_insert(self.number) == self.number {
            state.out.write_all(words)?;
        } else {
            state.kept.entry(self.number).or_default().words.extend_from_slice(words);
        }
        Ok(words.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.floor.state().out.flush()
    }
}

impl<W: Write> Drop for Voice<'_, W> {
    fn drop(&mut self) {
        let mut state = self.floor.state();
        if state.speaker != Some(self.number) {
            state.kept.entry(self.number).or_default().has_ended = true;
            return;
        }
        state.speaker = None;
        while let Some((number, kept)) = state.kept.pop_first() {
            // Who listens may have gone; the lanes are to end in order all the same.
            let _heard_or_not = state.out.write_all(&kept.words).and_then(|()| state.out.flush());
            if !kept.has_ended {
                state.speaker = Some(number);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_heard_after_the_other() {
        let floor = Floor::new(Vec::new());
        let (mut a, mut b, mut c) = (floor.voice(0), floor.voice(1), floor.voice(2));
        let say = |voice: &mut Voice<'_, _>, words: &str| voice.write_all(words.as_bytes()).unwrap();
        say(&mut b, "b1 ");
        say(&mut a, "a1 ");
        say(&mut c, "c1 ");
        say(&mut b, "b2 ");
        drop(c);
        drop(b);
        say(&mut a, "a2 ");
        assert_eq!(floor.state().out, b"b1 b2 a1 a2 ");
        drop(a);
        assert_eq!(floor.state().out, b"b1 b2 a1 a2 c1 ");
        let mut d = floor.voice(3);
        say(&mut d, "d");
        drop(d);
        assert_eq!(floor.state().out, b"b1 b2 a1 a2 c1 d");
    }
}
