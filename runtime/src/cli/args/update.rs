//! The words of `update`: runc's flags, each of which is a member of `linux.resources`, or a document with all of them.

use super::{Command, Error, usage};
use lexopt::{Arg, Parser, ValueExt};
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPids, LinuxResources};
use std::path::PathBuf;
use std::str::FromStr;

/// `update`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Update {
    /// The container's id as typed.
    pub(in crate::cli) id: String,
    /// Where the new limits are.
    pub(in crate::cli) source: Source,
}

/// Where the new limits are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Source {
    /// `--resources -`
    StandardInput,
    /// `--resources FILE`
    File(PathBuf),
    /// In the flags.
    Flags(Box<LinuxResources>),
}

const RDT: &str = "skiff sets neither cache nor bandwidth of Intel RDT";

/// Parses what follows the verb.
pub(super) fn update(parser: &mut Parser) -> Result<Command, Error> {
    let (mut id, mut file, mut limits) = (None, None, Limits::default());
    let mut first_limit: Option<String> = None;
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("resources") | Arg::Short('r') => file = Some(PathBuf::from(parser.value()?)),
            Arg::Long("help") | Arg::Short('h') => return Ok(Command::Help(usage::verb("update"))),
            Arg::Long(name @ ("l3-cache-schema" | "mem-bw-schema")) => {
                return Err(Error::Refused { verb: format!("update --{name}"), reason: RDT });
            }
            Arg::Long(name) => {
                let name = name.to_owned();
                let Some(flag) = FLAGS.iter().find(|flag| flag.name[2..] == name || flag.alias == name) else {
                    return Err(Arg::Long(&name).unexpected().into());
                };
                let value = parser.value()?.string()?;
                let refuse = || Error::Value { flag: flag.name, value: value.clone(), hint: flag.hint };
                (flag.set)(&mut limits, &value).ok_or_else(refuse)?;
                first_limit.get_or_insert(name);
            }
            Arg::Value(value) if id.is_none() => id = Some(value.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let id = id.ok_or(Error::NoId("update"))?;
    let source = match (file, first_limit) {
        (Some(_), Some(name)) => return Err(Error::Twice(name)),
        (Some(path), None) if path.as_os_str() == "-" => Source::StandardInput,
        (Some(path), None) => Source::File(path),
        (None, _) => Source::Flags(Box::new(limits.resources())),
    };
    Ok(Command::Update(Update { id, source }))
}

/// The sections that flags can speak of; untouched ones are left out of the document.
#[derive(Default)]
struct Limits {
    memory: Option<LinuxMemory>,
    cpu: Option<LinuxCpu>,
    pids: Option<LinuxPids>,
    block_io: Option<LinuxBlockIo>,
}

impl Limits {
    fn resources(self) -> LinuxResources {
        let mut resources = LinuxResources::default();
        resources.set_memory(self.memory).set_cpu(self.cpu).set_pids(self.pids).set_block_io(self.block_io);
        resources
    }

    fn memory(&mut self) -> &mut LinuxMemory {
        self.memory.get_or_insert_with(Default::default)
    }

    fn cpu(&mut self) -> &mut LinuxCpu {
        self.cpu.get_or_insert_with(Default::default)
    }
}

struct Flag {
    /// With its dashes, for messages.
    name: &'static str,
    /// Without; empty if it has none.
    alias: &'static str,
    hint: &'static str,
    /// `None` for a value that is not understood.
    set: fn(&mut Limits, &str) -> Option<()>,
}

const BYTES: &str = "give a number of bytes, also as 64M or 1.5G, or -1 for no limit";
const MICROSECONDS: &str = "give a number of microseconds";
const QUOTA: &str = "give a number of microseconds, or -1 for no limit";
const LIST: &str = "give a list such as 0-2,4";

const fn flag(name: &'static str, hint: &'static str, set: fn(&mut Limits, &str) -> Option<()>) -> Flag {
    Flag { name, alias: "", hint, set }
}

const FLAGS: [Flag; 16] = [
    flag("--memory", BYTES, |limits, text| put(limits.memory().set_limit(Some(bytes(text)?)))),
    flag("--memory-reservation", BYTES, |limits, text| put(limits.memory().set_reservation(Some(bytes(text)?)))),
    flag("--memory-swap", BYTES, |limits, text| put(limits.memory().set_swap(Some(bytes(text)?)))),
    #[allow(deprecated, reason = "it is set to be refused by name")]
    flag("--kernel-memory", BYTES, |limits, text| put(limits.memory().set_kernel(Some(bytes(text)?)))),
    flag("--kernel-memory-tcp", BYTES, |limits, text| put(limits.memory().set_kernel_tcp(Some(bytes(text)?)))),
    flag("--cpu-period", MICROSECONDS, |limits, text| put(limits.cpu().set_period(Some(number(text)?)))),
    flag("--cpu-quota", QUOTA, |limits, text| put(limits.cpu().set_quota(Some(number(text)?)))),
    flag("--cpu-burst", MICROSECONDS, |limits, text| put(limits.cpu().set_burst(Some(number(text)?)))),
    Flag {
        alias: "cpu-shares",
        ..flag("--cpu-share", "give a number from 2 to 262144", |limits, text| {
            put(limits.cpu().set_shares(Some(number(text)?)))
        })
    },
    flag("--cpu-rt-period", MICROSECONDS, |limits, text| put(limits.cpu().set_realtime_period(Some(number(text)?)))),
    flag("--cpu-rt-runtime", MICROSECONDS, |limits, text| put(limits.cpu().set_realtime_runtime(Some(number(text)?)))),
    flag("--cpu-idle", "give 0 or 1", |limits, text| put(limits.cpu().set_idle(Some(idle(text)?)))),
    flag("--cpuset-cpus", LIST, |limits, text| put(limits.cpu().set_cpus(Some(list(text)?)))),
    flag("--cpuset-mems", LIST, |limits, text| put(limits.cpu().set_mems(Some(list(text)?)))),
    flag("--pids-limit", "give a number of processes, or -1 for no limit", |limits, text| {
        put(limits.pids.get_or_insert_with(Default::default).set_limit(number(text)?))
    }),
    flag("--blkio-weight", "give a number from 10 to 1000", |limits, text| {
        put(limits.block_io.get_or_insert_with(Default::default).set_weight(Some(number(text)?)))
    }),
];

/// Setters give what they set; a flag has nothing to give.
fn put<T>(_section: &mut T) -> Option<()> {
    Some(())
}

/// Digits with at most a minus before them: `+5`, which Rust takes, is nobody's limit.
fn number<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok().filter(|_| !text.starts_with('+'))
}

fn idle(text: &str) -> Option<i64> {
    number(text).filter(|idle| matches!(idle, 0 | 1))
}

/// A list of the kernel's form (cpuset(7), "Formats"). The kernel says whether there are such CPUs.
fn list(text: &str) -> Option<String> {
    let well_formed = |letter: char| letter.is_ascii_digit() || matches!(letter, '-' | ',' | ':' | '/');
    Some(text.to_owned()).filter(|text| !text.is_empty() && text.chars().all(well_formed))
}

/// Bytes as runc takes them: digits, a fraction if need be, and a binary unit that may be followed by `b` or `ib`.
fn bytes(text: &str) -> Option<i64> {
    if text == "-1" {
        return Some(-1);
    }
    let lower = text.to_ascii_lowercase();
    let digits = lower.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(lower.len());
    let (amount, unit) = lower.split_at(digits);
    let unit = unit.strip_prefix(' ').unwrap_or(unit);
    let letter = unit.strip_suffix('b').map_or(unit, |unit| unit.strip_suffix('i').unwrap_or(unit));
    let shift = match letter {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return None,
    };
    scaled(amount, shift)
}

/// `amount` times two to the power of `shift`, cut to a whole number.
fn scaled(amount: &str, shift: u32) -> Option<i64> {
    /// Nine decimals tell bytes of a gigabyte apart, and keep the sum far from the end of the type.
    const MOST_DECIMALS: usize = 9;
    let (whole, decimals) = amount.split_once('.').unwrap_or((amount, "0"));
    if whole.is_empty() || decimals.is_empty() || decimals.len() > MOST_DECIMALS {
        return None;
    }
    let fraction = decimals.parse::<u128>().ok()?.checked_shl(shift)? / 10_u128.pow(decimals.len() as u32);
    let whole = u128::from(whole.parse::<u64>().ok()?).checked_shl(shift)?;
    i64::try_from(whole + fraction).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let cases = [
            ("0", 0),
            ("-1", -1),
            ("64", 64),
            ("64b", 64),
            ("64k", 65_536),
            ("64 MiB", 67_108_864),
            ("1.5G", 1_610_612_736),
            ("8g", 8 << 30),
            ("2tb", 2 << 40),
            ("0.5k", 512),
            ("9223372036854775807", i64::MAX),
        ];
        for (text, expected) in cases {
            assert_eq!(bytes(text), Some(expected), "{text}");
        }
        let wrong = ["", " ", "-2", "--1", "+5", "M", ".5M", "5.", "1.2.3", "64x", "64Mbb", "64i", "1e3", "0x10", "٣"];
        for text in wrong.into_iter().chain(["9223372036854775808", "8193p", "99999999999999999999", "1.0000000000"]) {
            assert_eq!(bytes(text), None, "{text}");
        }
    }
}
