//! Signals by number.

use rustix::process::Signal;

/// The signal of this number, when Linux has one: 1 to 64, the real-time ones included.
pub(crate) fn signal(number: u32) -> Option<Signal> {
    let number = i32::try_from(number).ok().filter(|number| (1..=64).contains(number))?;
    // SAFETY: the value must be a signal's number, which 1 to 64 are on every Linux we build for. It must not be used to
    // take a signal away from the C library (32 to 34 are its own): it is only ever sent, and to another program.
    Some(unsafe { Signal::from_raw_unchecked(number) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(signal(15), Some(Signal::TERM));
        assert_eq!(signal(37).map(Signal::as_raw), Some(37));
        for number in [0, 65, u32::MAX] {
            assert_eq!(signal(number), None);
        }
    }
}
