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
mod tests {
    use super::*;
    use crate::cgroup::{DeviceControl, Host, plan};

    /// As words, from a section of the configuration to the properties.
    fn told(resources: &str, v1: bool, version: u32) -> String {
        let words = ["memory", "cpu", "cpuset", "pids", "io", "blkio", "hugetlb"];
        let kind = if v1 { Kind::V1(words.map(str::to_owned).to_vec()) } else { Kind::V2 };
        let hierarchies = vec![crate::cgroup::Hierarchy { kind, mount: "/c".into(), root: "/".into() }];
        let host = Host { hierarchies, v2_controllers: words.map(str::to_owned).to_vec(), ..Host::default() };
        let resources = serde_json::from_str(resources).unwrap();
        let plan = plan(Some(&resources), &host, DeviceControl::Skip).unwrap();
        let all = match limits(plan.writes.iter().chain(&plan.memory), version) {
            Ok(all) => all,
            Err(error) => return error.to_string(),
        };
        all.iter().map(|(name, value)| format!("{name}={}", word(value))).collect::<Vec<_>>().join(" ")
    }

    fn word(value: &Value) -> String {
        match value {
            Value::Uint64(INFINITY) => "infinity".into(),
            Value::Uint64(number) => number.to_string(),
            Value::Byte(number) => number.to_string(),
            Value::String(text) => text.clone(),
            Value::Array(_, values) | Value::Struct(values) => {
                format!("[{}]", values.iter().map(word).collect::<Vec<_>>().join(","))
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn limits_are_told_in_systemds_units() {
        let cases = [
            (r#"{"pids":{"limit":5},"cpu":{"shares":1024}}"#, "CPUWeight=39 TasksMax=5"),
            (r#"{"pids":{"limit":-1}}"#, "TasksMax=infinity"),
            (r#"{"cpu":{"quota":50000,"period":200000}}"#, "CPUQuotaPerSecUSec=250000 CPUQuotaPeriodUSec=200000"),
            // Rounded up, or the cgroup's own quota could not be had after a reload.
            (r#"{"cpu":{"quota":12345}}"#, "CPUQuotaPerSecUSec=130000 CPUQuotaPeriodUSec=100000"),
            (r#"{"cpu":{"quota":-1}}"#, "CPUQuotaPerSecUSec=infinity CPUQuotaPeriodUSec=100000"),
            (r#"{"cpu":{"cpus":"0-2,9","mems":"0"}}"#, "AllowedCPUs=[7,2] AllowedMemoryNodes=[1]"),
            (r#"{"cpu":{"idle":1}}"#, "CPUWeight=0"),
            (r#"{"cpu":{"idle":0}}"#, "CPUWeight=infinity"),
            (r#"{"cpu":{"idle":0,"shares":2}}"#, "CPUWeight=1"),
            (
                r#"{"memory":{"limit":1000,"swap":1500,"reservation":500}}"#,
                "MemorySwapMax=500 MemoryMax=1000 MemoryLow=500",
            ),
            (r#"{"blockIO":{"weight":100}}"#, "IOWeight=910"),
            (
                r#"{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":5},{"major":8,"minor":16,"rate":0}]}}"#,
                "IOReadBandwidthMax=[[/dev/block/8:0,5],[/dev/block/8:16,infinity]]",
            ),
        ];
        for (resources, wanted) in cases {
            assert_eq!(told(resources, false, 252), wanted, "{resources}");
        }
    }

    #[test]
    fn raw_keys_are_told_where_there_is_a_property() {
        let unified = |key: &str, value: &str| told(&format!(r#"{{"unified":{{"{key}":"{value}"}}}}"#), false, 252);
        assert_eq!(unified("memory.high", "1M"), "MemoryHigh=1048576");
        assert_eq!(unified("memory.min", "max"), "MemoryMin=infinity");
        assert_eq!(unified("cpu.weight", "7"), "CPUWeight=7");
        assert_eq!(unified("cpu.max", "max"), "CPUQuotaPerSecUSec=infinity");
        assert_eq!(unified("io.weight", "default 50"), "IOWeight=50");
        assert_eq!(unified("io.weight", "8:0 50"), "IODeviceWeight=[[/dev/block/8:0,50]]");
        assert_eq!(
            unified("io.max", "8:0 rbps=1 wiops=max"),
            "IOReadBandwidthMax=[[/dev/block/8:0,1]] IOWriteIOPSMax=[[/dev/block/8:0,infinity]]"
        );
        for key in ["memory.swap.high", "hugetlb.2MB.max", "io.latency"] {
            assert_eq!(unified(key, "1"), "", "{key}: systemd leaves it alone");
        }
    }

    #[test]
    fn what_systemd_would_undo_is_refused_by_name() {
        let cases = [
            ("memory.oom.group", "1"),
            ("cpu.weight.nice", "3"),
            ("pids.max", "0"),
            ("memory.max", "0"),
            ("memory.high", "much"),
            ("cpu.weight", "0"),
            ("cpu.max", "50000 some"),
            ("cpuset.cpus", "0-8:1/2"),
            ("cpuset.cpus", "9000"),
            ("io.max", "8:0 rbps"),
            ("io.max", "8:0 burst=1"),
            ("io.bfq.weight", "5"),
        ];
        for (key, value) in cases {
            let said = told(&format!(r#"{{"unified":{{"{key}":"{value}"}}}}"#), false, 252);
            let wanted = format!("`linux.resources.unified.{key}` cannot be kept at `{value}`: systemd 252");
            assert!(said.starts_with(&wanted), "{said}");
        }
        assert_eq!(told(r#"{"unified":{"cpuset.cpus":"0-8:1/2"}}"#, false, 243), "", "it writes no cpusets");
    }

    #[test]
    fn an_old_systemd_is_not_told_what_it_does_not_know() {
        assert_eq!(told(r#"{"cpu":{"quota":5000,"cpus":"0","idle":1}}"#, false, 241), "CPUQuotaPerSecUSec=50000");
    }

    #[test]
    fn version_one_has_its_own_properties() {
        let resources =
            r#"{"memory":{"limit":1000},"cpu":{"shares":512,"quota":-1,"cpus":"0"},"blockIO":{"weight":20}}"#;
        assert_eq!(
            told(resources, true, 245),
            "CPUShares=512 BlockIOWeight=20 MemoryLimit=1000 CPUQuotaPerSecUSec=infinity"
        );
    }

    #[test]
    fn devices_are_a_strict_list_or_nothing() {
        assert_eq!(devices(None), vec![]);
        let told = devices(Some(vec![("char-*".into(), "m".into())]));
        assert_eq!(told.iter().map(|(_, value)| word(value)).collect::<Vec<_>>(), ["strict", "[[char-*,m]]"]);
    }
}
