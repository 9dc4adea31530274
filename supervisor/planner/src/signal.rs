//! Signals by name or number, as `stop_signal` has them. The numbers are those of every architecture that Skiff is built
//! for (signal(7); MIPS, SPARC and Alpha have others).

/// By number, from 1.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];

/// Real-time signals, as Docker and glibc count them: the C library keeps the two below for itself.
const REALTIME: std::ops::RangeInclusive<u32> = 34..=64;

/// The number of `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3` or `RTMAX-2`; none if there is no such signal.
#[must_use]
pub fn number(text: &str) -> Option<u32> {
    let digits =
        |text: &str| -> Option<u32> { text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit())) };
    if let Some(number) = digits(text) {
        return Some(number).filter(|number| (1..=*REALTIME.end()).contains(number));
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let realtime = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(""), _) => Some(*REALTIME.start()),
        (_, Some("")) => Some(*REALTIME.end()),
        (Some(rest), _) => rest.strip_prefix('+').and_then(digits).and_then(|more| REALTIME.start().checked_add(more)),
        (_, Some(rest)) => rest.strip_prefix('-').and_then(digits).and_then(|less| REALTIME.end().checked_sub(less)),
        (None, None) => None,
    };
    let named = || (1_u32..).zip(NAMES).find(|(_, known)| *known == name).map(|(number, _)| number);
    realtime.filter(|number| REALTIME.contains(number)).or_else(named)
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn names_and_numbers() {
        let cases = [
            ("SIGTERM", 15),
            ("term", 15),
            ("SIGHUP", 1),
            ("KILL", 9),
            ("SIGSYS", 31),
            ("15", 15),
            ("64", 64),
            ("SIGRTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-2", 62),
            ("SIGWINCH", 28),
            ("SIGQUIT", 3),
        ];
        for (text, expected) in cases {
            assert_eq!(number(text), Some(expected), "{text}");
        }
        for text in ["", "SIG", "SIGNOPE", "0", "65", "-9", "+9", "SIGRTMIN+31", "SIGRTMIN-1", "SIGRTMAX-31", "RTMIN+"]
        {
            assert_eq!(number(text), None, "{text}");
        }
    }
}
