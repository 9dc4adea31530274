//! The four shapes of a cgroup file.

/// A file that is one number; `max` stands for no limit.
pub(super) fn number(text: &str) -> Option<u64> {
    match text.trim() {
        "max" => Some(u64::MAX),
        text => text.parse().ok(),
    }
}

/// A file of `name value` lines.
pub(super) fn flat(text: &str) -> impl Fn(&str) -> u64 + '_ {
    move |name| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
    }
}

/// A device by its two numbers, and what is counted of it.
type Device<'a> = ((u64, u64), Vec<(&'a str, u64)>);

/// A file of `MAJ:MIN name=value …` lines (version 2).
pub(super) fn nested(text: &str) -> Vec<Device<'_>> {
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
pub(super) fn operations(text: &str) -> Vec<(u64, u64, &str, u64)> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (major, minor) = device_numbers(words.next()?)?;
            let operation = words.next()?;
            Some((major, minor, operation, words.next()?.parse().ok()?))
        })
        .collect()
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
        assert_eq!(operations("8:0 Read 10\n8:0 Write 20\nTotal 30\n"), [(8, 0, "Read", 10), (8, 0, "Write", 20)]);
    }
}
