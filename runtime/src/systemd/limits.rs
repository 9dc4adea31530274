//! What systemd is told of the limits: each write of a cgroup's plan that there is a unit property for, in systemd's
//! units (systemd.resource-control(5)). What has no property is set in the cgroup alone.

use super::{Error, Place, Property};
use crate::cgroup::{Kind, Location, Place as Hierarchy, Write};
use crate::dbus::Value;

/// systemd's word for no limit.
const INFINITY: u64 = u64::MAX;
/// systemd keeps a CPU quota in whole percents once it has read the unit anew: microseconds of a second.
const PERCENT: u64 = 10_000;
/// The kernel's own period, in microseconds.
const PERIOD: u64 = 100_000;
/// The most CPUs of a kernel (CONFIG_NR_CPUS), and more than there are memory nodes.
const MOST_CPUS: usize = 8192;

/// The properties for these writes. `version` is systemd's: what it is too old for is left out, as it does not write
/// those files either.
///
/// # Errors
/// [`Error::Untold`] for what systemd would undo.
pub fn limits<'a>(writes: impl IntoIterator<Item = &'a Write>, version: u32) -> Result<Vec<Property>, Error> {
    let mut limits = Limits { version, properties: Vec::new(), quota: None, period: None };
    for write in writes {
        let told = match write.place {
            Hierarchy::V2 => limits.v2(write),
            Hierarchy::V1 => limits.v1(write),
        };
        if !told {
            let value = write.tries.first().map(|(_, value)| value.clone()).unwrap_or_default();
            return Err(Error::Untold { property: write.property.clone().into_owned(), value, version });
        }
    }
    Ok(limits.finish())
}

/// What every container's unit has: the place, that what is below is ours, that nothing of it stays when it is over, and
/// no limit that was not asked for.
#[must_use]
pub fn basic(id: &str, place: &Place, location: &Location) -> Vec<Property> {
    let unified = location.dirs.iter().all(|dir| dir.kind == Kind::V2);
    let io = if unified { "IOAccounting" } else { "BlockIOAccounting" };
    let switches = [
        ("Delegate", true),
        ("DefaultDependencies", false),
        ("CPUAccounting", true),
        ("MemoryAccounting", true),
        ("TasksAccounting", true),
        (io, true),
    ];
    let text = |name: &str, text: &str| (name.to_owned(), Value::string(text));
    let mut properties = vec![
        text("Description", &format!("skiff container {id}")),
        text("Slice", &place.slice),
        text("CollectMode", "inactive-or-failed"),
        // Or it would have systemd's own default, 15 % of what the machine can have.
        ("TasksMax".into(), Value::Uint64(INFINITY)),
    ];
    properties.extend(switches.map(|(name, on)| (name.to_owned(), Value::Bool(on))));
    properties
}

/// The rules for devices where they are a list of what is allowed, paths and accesses, as systemd keeps it. Of others
/// it is told nothing, so that it forbids nothing that they allow.
#[must_use]
pub fn devices(allowed: Option<Vec<(String, String)>>) -> Vec<Property> {
    let Some(allowed) = allowed else { return Vec::new() };
    let entry = |(path, access)| Value::Struct(vec![Value::String(path), Value::String(access)]);
    vec![
        ("DevicePolicy".into(), Value::string("strict")),
        ("DeviceAllow".into(), Value::Array("(ss)".into(), allowed.into_iter().map(entry).collect())),
    ]
}

struct Limits {
    version: u32,
    properties: Vec<Property>,
    /// Microseconds of a period; none for no limit.
    quota: Option<Option<u64>>,
    /// Microseconds.
    period: Option<u64>,
}

impl Limits {
    /// Whether systemd keeps the value, or leaves the file alone.
    fn v2(&mut self, write: &Write) -> bool {
        let mut any = false;
        // Of two files for one limit one has a property; which of them the kernel has is not known here.
        for (file, text) in &write.tries {
            any |= self.file(file, text.trim());
        }
        any
    }

    fn file(&mut self, file: &str, text: &str) -> bool {
        match file {
            "memory.max" => self.size("MemoryMax", text, 1),
            "memory.high" => self.size("MemoryHigh", text, 1),
            "memory.low" => self.size("MemoryLow", text, 0),
            "memory.min" => self.size("MemoryMin", text, 0),
            "memory.swap.max" => self.size("MemorySwapMax", text, 0),
            "memory.zswap.max" if self.version >= 253 => self.size("MemoryZSwapMax", text, 0),
            "pids.max" => self.size("TasksMax", text, 1),
            "cpu.weight" => self.number("CPUWeight", text, 1..=10_000),
            // Idle is a weight of zero there, and none when it ends, as the kernel has it.
            "cpu.idle" if self.version >= 252 => {
                self.set("CPUWeight", Value::Uint64(if text == "1" { 0 } else { INFINITY }))
            }
            "cpu.max" => self.bandwidth(text),
            "cpuset.cpus" if self.version >= 244 => self.set_of("AllowedCPUs", text),
            "cpuset.mems" if self.version >= 244 => self.set_of("AllowedMemoryNodes", text),
            "io.weight" => text.lines().all(|line| self.io_weight(line)),
            "io.max" => text.lines().all(|line| self.io_max(line)),
            // It writes these from properties that are not the kernel's values, or that cannot be set on a scope.
            "memory.oom.group" | "cpu.weight.nice" | "io.bfq.weight" => false,
            "memory.zswap.writeback" if self.version >= 256 => false,
            _ => true,
        }
    }

    /// There systemd writes little again, and has fewer properties.
    fn v1(&mut self, write: &Write) -> bool {
        let Some((file, text)) = write.tries.first() else { return true };
        match file.as_ref() {
            "memory.limit_in_bytes" => self.size("MemoryLimit", text, 1),
            "pids.max" => self.size("TasksMax", text, 1),
            "cpu.shares" => self.number("CPUShares", text, 2..=262_144),
            "cpu.cfs_quota_us" => {
                self.quota = Some(text.parse().ok());
                true
            }
            "cpu.cfs_period_us" => {
                self.period = text.parse().ok();
                true
            }
            "blkio.weight" => self.number("BlockIOWeight", text, 10..=1000),
            "blkio.throttle.read_bps_device" => self.device("BlockIOReadBandwidth", text),
            "blkio.throttle.write_bps_device" => self.device("BlockIOWriteBandwidth", text),
            _ => true,
        }
    }

    /// Of two writes for one property the later one counts, as in the cgroup.
    fn set(&mut self, name: &str, value: Value) -> bool {
        self.properties.retain(|(known, _)| known != name);
        self.properties.push((name.into(), value));
        true
    }

    fn size(&mut self, name: &str, text: &str, least: u64) -> bool {
        size(text).filter(|size| *size >= least).is_some_and(|size| self.set(name, Value::Uint64(size)))
    }

    fn number(&mut self, name: &str, text: &str, range: std::ops::RangeInclusive<u64>) -> bool {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.is_some_and(|number| self.set(name, Value::Uint64(number)))
    }

    /// `max 100000`, `50000 100000` or `50000`.
    fn bandwidth(&mut self, text: &str) -> bool {
        let mut words = text.split_whitespace();
        let quota = match words.next() {
            Some("max") => None,
            word => match word.and_then(|word| word.parse().ok()) {
                Some(quota) => Some(quota),
                None => return false,
            },
        };
        self.quota = Some(quota);
        match words.next().map(str::parse) {
            Some(Ok(period)) => self.period = Some(period),
            Some(Err(_)) => return false,
            None => {}
        }
        true
    }

    /// `0-2,4` becomes a bit for each, in bytes of which the first has the lowest.
    fn set_of(&mut self, name: &str, text: &str) -> bool {
        let bytes = |bits: Vec<u8>| Value::Array("y".into(), bits.into_iter().map(Value::Byte).collect());
        bits(text).is_some_and(|bits| self.set(name, bytes(bits)))
    }

    /// `100`, `default 100` or `8:0 100`.
    fn io_weight(&mut self, text: &str) -> bool {
        match text.split_once(' ') {
            None => self.number("IOWeight", text, 1..=10_000),
            Some(("default", weight)) => self.number("IOWeight", weight.trim(), 1..=10_000),
            Some(_) => self.device("IODeviceWeight", text),
        }
    }

    /// `8:0 rbps=1048576 wiops=max`
    fn io_max(&mut self, line: &str) -> bool {
        let mut words = line.split_whitespace();
        let Some(device) = words.next() else { return false };
        words.all(|word| {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            let name = match key {
                "rbps" => "IOReadBandwidthMax",
                "wbps" => "IOWriteBandwidthMax",
                "riops" => "IOReadIOPSMax",
                "wiops" => "IOWriteIOPSMax",
                _ => return false,
            };
            self.device(name, &format!("{device} {value}"))
        })
    }

    /// `8:0 100`; each device is an element of the one array.
    fn device(&mut self, name: &str, text: &str) -> bool {
        let Some((device, value)) = text.split_once(' ') else { return false };
        let Some(value) = size(value.trim()) else { return false };
        let entry = Value::Struct(vec![Value::String(format!("/dev/block/{device}")), Value::Uint64(value)]);
        match self.properties.iter_mut().find(|(known, _)| known == name) {
            Some((_, Value::Array(_, entries))) => entries.push(entry),
            _ => self.properties.push((name.into(), Value::Array("(st)".into(), vec![entry]))),
        }
        true
    }

    fn finish(mut self) -> Vec<Property> {
        if let Some(quota) = self.quota {
            let period = self.period.filter(|period| *period > 0).unwrap_or(PERIOD);
            let of_second = |quota: u64| (quota.saturating_mul(1_000_000) / period).next_multiple_of(PERCENT);
            self.set("CPUQuotaPerSecUSec", Value::Uint64(quota.map_or(INFINITY, of_second)));
        }
        if let Some(period) = self.period.filter(|_| self.version >= 242) {
            self.set("CPUQuotaPeriodUSec", Value::Uint64(period));
        }
        self.properties
    }
}

/// A number of bytes or of things, as the kernel reads it (memparse), `max`, or -1 of version 1.
fn size(text: &str) -> Option<u64> {
    if matches!(text, "max" | "-1") {
        return Some(INFINITY);
    }
    let (digits, shift) = match text.as_bytes().last()? {
        b'k' | b'K' => (&text[..text.len() - 1], 10),
        b'm' | b'M' => (&text[..text.len() - 1], 20),
        b'g' | b'G' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

fn bits(text: &str) -> Option<Vec<u8>> {
    let mut bits = Vec::new();
    for range in text.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if last >= MOST_CPUS {
            return None;
        }
        for number in first..=last {
            bits.resize(bits.len().max(number / 8 + 1), 0);
            bits[number / 8] |= 1 << (number % 8);
        }
    }
    Some(bits)
}

#[cfg(test)]
mod tests;
