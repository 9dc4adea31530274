//! Lists of processors and of memory nodes as `cpuset(7)` writes them ("List format"): `0-3,7`.

/// The first number that a list may not name, which is how many bits the masks have here. No kernel has more memory nodes
/// (`MAX_NUMNODES`), and few have more processors.
pub const END: u32 = 1024;

/// The numbers of a list, in order and each once. Spaces around an item and empty items are passed over, as in runc.
///
/// # Errors
/// What is wrong, as the rest of a sentence that begins with the name of the list.
pub fn parse(text: &str) -> Result<Vec<u32>, String> {
    // However long the list, it takes no more than this.
    let mut named = [false; END as usize];
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let (Some(first), Some(last)) = (number(first), number(last)) else {
            return Err(format!("has `{item}`, which is neither a number nor a range; write it like `0-3,7`"));
        };
        if first > last {
            return Err(format!("has the range `{item}`, which ends before it begins"));
        }
        if last >= END {
            return Err(format!("has `{item}`; the highest number is {}", END - 1));
        }
        named[first as usize..=last as usize].fill(true);
    }
    let numbers: Vec<u32> = (0..END).zip(named).filter_map(|(number, is_named)| is_named.then_some(number)).collect();
    if numbers.is_empty() {
        return Err(format!("is `{text}`, which names no number; write it like `0-3,7`, or leave it out"));
    }
    Ok(numbers)
}

/// Digits and nothing else; `parse` alone would take `+1`. One that does not fit is too large, and not no number.
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        assert_eq!(parse("0-3,7").unwrap(), [0, 1, 2, 3, 7]);
        assert_eq!(parse(" 5 , 1-2,2,,1023").unwrap(), [1, 2, 5, 1023]);
        for (text, said) in [
            ("", "names no number"),
            (",", "names no number"),
            ("a", "`a`"),
            ("1-", "`1-`"),
            ("-1", "`-1`"),
            ("+1", "`+1`"),
            ("1-2-3", "`1-2-3`"),
            ("1 2", "`1 2`"),
            ("3-1", "ends before"),
            ("1024", "highest number is 1023"),
            ("0-99999999999", "highest number is 1023"),
        ] {
            let problem = parse(text).unwrap_err();
            assert!(problem.contains(said), "{text}: {problem}");
        }
    }
}
