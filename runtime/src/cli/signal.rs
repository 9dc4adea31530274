//! Signals by name and number, as `kill(1)` and runc take them.

/// Linux signal names in the order of their numbers, which are the same on all architectures that Skiff supports
/// (signal(7): x86, ARM and RISC-V share one column).
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];
const ALIASES: [(&str, i32); 3] = [("IOT", 6), ("CLD", 17), ("POLL", 29)];
/// What glibc's SIGRTMIN is: the kernel's 32 and 33 are used by the threading library.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// Not a signal.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a signal; give a name such as TERM or a number from 0 to 64")]
pub(super) struct Unknown(String);

/// The number of a signal given as `9`, `KILL`, `SIGKILL` or `RTMIN+3`; 0 asks only whether one could be sent.
pub(super) fn parse(text: &str) -> Result<i32, Unknown> {
    let unknown = || Unknown(text.to_owned());
    if let Ok(number) = text.parse::<i32>() {
        return if (0..=RTMAX).contains(&number) { Ok(number) } else { Err(unknown()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(index) = NAMES.iter().position(|known| *known == name) {
        return i32::try_from(index + 1).map_err(|_| unknown());
    }
    if let Some((_, number)) = ALIASES.iter().find(|(alias, _)| *alias == name) {
        return Ok(*number);
    }
    real_time(name).filter(|number| (RTMIN..=RTMAX).contains(number)).ok_or_else(unknown)
}

fn real_time(name: &str) -> Option<i32> {
    let (base, offset) = if let Some(offset) = name.strip_prefix("RTMIN") {
        (RTMIN, offset)
    } else {
        (RTMAX, name.strip_prefix("RTMAX")?)
    };
    if offset.is_empty() { Some(base) } else { base.checked_add(offset.parse().ok()?) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        let cases = [
            ("9", 9),
            ("KILL", 9),
            ("sigterm", 15),
            ("SYS", 31),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("64", 64),
            ("0", 0),
        ];
        for (text, number) in cases {
            assert_eq!(parse(text), Ok(number), "{text}");
        }
        for text in ["", "65", "-9", "SIG", "RTMIN+99", "RTMAX+1", "TERMINATE", "9x"] {
            assert_eq!(parse(text), Err(Unknown(text.to_owned())));
        }
    }
}
