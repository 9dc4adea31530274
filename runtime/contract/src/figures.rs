//! The shapes of the files in which the kernel counts what a cgroup uses (cgroup-v2.rst, "Interface Files"; cgroup-v1/).

use serde::Serialize;

/// A file that is one number; `max` stands for no limit.
#[must_use]
pub fn number(text: &str) -> Option<u64> {
    match text.trim() {
        "max" => Some(u64::MAX),
        text => text.parse().ok(),
    }
}

/// A file of `name value` lines.
pub fn flat(text: &str) -> impl Fn(&str) -> u64 + '_ {
    move |name| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
    }
}

/// A device by its two numbers, and what is counted of it.
pub type Device<'a> = ((u64, u64), Vec<(&'a str, u64)>);

/// A file of `MAJ:MIN name=value …` lines (version 2).
#[must_use]
pub fn nested(text: &str) -> Vec<Device<'_>> {
    text.lines()
        .filter_map(|line| {
            let (device, rest) = line.split_once(' ')?;
            let pairs = rest.split_whitespace().filter_map(|pair| pair.split_once('='));
            let counts = pairs.filter_map(|(name, value)| Some((name, value.parse().ok()?))).collect();
            Some((device_numbers(device)?, counts))
        })
        .collect()
}

/// A file of `MAJ:MIN Operation value` lines with a total at its end (blkio of version 1).
#[must_use]
pub fn operations(text: &str) -> Vec<(u64, u64, &str, u64)> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (major, minor) = device_numbers(words.next()?)?;
            let operation = words.next()?;
            Some((major, minor, operation, words.next()?.parse().ok()?))
        })
        .collect()
}

/// One line of a pressure file (Documentation/accounting/psi.rst): in percent of time, and in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Pressure {
    /// Over ten seconds.
    pub avg10: f64,
    /// Over a minute.
    pub avg60: f64,
    /// Over five minutes.
    pub avg300: f64,
    /// Microseconds since the cgroup was made.
    pub total: u64,
}

/// The line of a pressure file that begins with `name` (`some` or `full`): `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`.
#[must_use]
pub fn pressure(text: &str, name: &str) -> Option<Pressure> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    let value = |name: &str| line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    let average = |name: &str| value(name).and_then(hundredths).map_or(0.0, |value| f64::from(value) / 100.0);
    let total = value("total").and_then(|value| value.parse().ok()).unwrap_or(0);
    Some(Pressure { avg10: average("avg10"), avg60: average("avg60"), avg300: average("avg300"), total })
}

/// Of a number with two digits behind the point, as the kernel writes them; the general case would be ten times the code.
fn hundredths(text: &str) -> Option<u32> {
    let (whole, part) = text.split_once('.')?;
    let part: u32 = Some(part).filter(|part| part.len() == 2)?.parse().ok()?;
    whole.parse::<u32>().ok()?.checked_mul(100)?.checked_add(part)
}

/// A list of numbers and ranges, as of processors: `0-2,4`.
#[must_use]
pub fn list(text: &str) -> Vec<u16> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<u16>().ok()?..=last.parse::<u16>().ok()?)
    };
    text.trim().split(',').filter_map(range).flatten().collect()
}

fn device_numbers(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes() {
        assert_eq!(number("42\n"), Some(42));
        assert_eq!(number("max\n"), Some(u64::MAX));
        assert_eq!((number(""), number("-1"), number("a")), (None, None, None));
        let stat = flat("user 5\nuser_long 6\nbad x\n");
        assert_eq!((stat("user"), stat("user_long"), stat("bad"), stat("absent")), (5, 6, 0, 0));
        assert_eq!(
            nested("8:0 rbytes=1 wbytes=2 odd\n8:16\nx rbytes=1\n"),
            [((8, 0), vec![("rbytes", 1), ("wbytes", 2)])]
        );
        let text = "some avg10=1.50 avg60=0.10 avg300=0.00 total=77\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";
        assert_eq!(pressure(text, "some"), Some(Pressure { avg10: 1.5, avg60: 0.1, avg300: 0.0, total: 77 }));
        assert_eq!(pressure(text, "full").map(|full| full.total), Some(7));
        assert_eq!(pressure("some avg10=0.00\n", "full"), None);
        assert_eq!(list("0-2,4\n"), [0, 1, 2, 4]);
        assert_eq!((list(""), list("\n"), list("a-3,7")), (vec![], vec![], vec![7]));
        assert_eq!(operations("8:0 Read 10\n8:0 Write 20\nTotal 30\n"), [(8, 0, "Read", 10), (8, 0, "Write", 20)]);
    }
}
