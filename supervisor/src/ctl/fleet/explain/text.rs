//! The explanation as people read it.

use super::{Resolved, Shown};
use skiff_planner::fleet::Gate;
use skiff_planner::name::ServiceName;
use skiff_planner::release::{Bundle, Condition, NetworkMode, Service};
use skiff_planner::restart::{self, Again};
use skiff_planner::select::{Considered, Demand};
use std::fmt::{Display, Write as _};

/// What a device adds to its labels by itself.
const OF_THE_MACHINE: [&str; 3] = ["arch", "hostname", "os"];

/// Lines that grow one by one.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, line: impl Display) {
        // Writing to a string does not fail.
        let _infallible = writeln!(self.0, "{line}");
    }
}

/// All of it.
pub(super) fn render(shown: &Shown<'_>) -> String {
    let (mut lines, why) = (Lines::default(), &shown.explanation);
    lines.add(format_args!("device `{}` in fleet `{}`, serial {}", shown.device, shown.fleet, shown.serial));
    let labels: Vec<String> = shown.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    lines.add(format_args!("  labels: {}", if labels.is_empty() { "none".to_owned() } else { labels.join(", ") }));
    for group in &why.considered {
        add_group(&mut lines, group);
    }
    for group in &why.not_reached {
        lines.add(format_args!("group `{group}`: not looked at; the first that matches counts"));
    }
    if why.group.is_none() {
        lines.add("no group matches");
    }
    match &why.pin {
        None => lines.add(format_args!("pin: none for `{}`", shown.device)),
        Some(pin) if pin.reason.is_empty() => lines.add(format_args!("pin: `{}`, which beats a group", pin.release)),
        Some(pin) => lines.add(format_args!("pin: `{}` ({}), which beats a group", pin.release, pin.reason)),
    }
    match (&why.version, &shown.document) {
        (Some(version), Some(document)) => {
            lines.add(format_args!("release `{version}`: {}", document.display()));
            lines.add(format_args!("  {}", gate(&why.gate)));
        }
        _ => lines.add("no release: what runs is left alone"),
    }
    for (name, resolved) in &shown.services {
        add_service(&mut lines, name, resolved);
    }
    let unknown = |demand: &Demand| demand.found.is_none() && OF_THE_MACHINE.contains(&demand.key.as_str());
    if why.considered.iter().flat_map(|group| &group.demands).any(unknown) {
        lines.add(
            "note: a device adds `arch`, `hostname` and `os` to its labels; here they are known only by `--label`",
        );
    }
    lines.0
}

fn add_group(lines: &mut Lines, group: &Considered) {
    let outcome = if group.matches { "matches" } else { "does not match" };
    lines.add(format_args!("group `{}`: {outcome}; its release is `{}`", group.group, group.release));
    if group.demands.is_empty() {
        lines.add("  yes  it demands nothing");
    }
    for demand in &group.demands {
        match (demand.holds, &demand.found) {
            (true, _) => lines.add(format_args!("  yes  {demand}")),
            (false, Some(value)) => lines.add(format_args!("  no   {demand}; it is `{value}`")),
            (false, None) => lines.add(format_args!("  no   {demand}; there is no such label")),
        }
    }
}

fn gate(gate: &Gate) -> String {
    let after = if gate.auto_revert { "the device returns to the release before" } else { "it stays as it is" };
    format!(
        "counts as good when healthy for {} without a break; if not so within {}, {after}",
        gate.min_healthy, gate.deadline
    )
}

fn add_service(lines: &mut Lines, name: &ServiceName, resolved: &Resolved) {
    let service = &resolved.service;
    let instances: Vec<String> = resolved.instances.iter().map(ToString::to_string).collect();
    lines.add(format_args!(
        "service `{name}`: {}",
        if instances.is_empty() { "none".into() } else { instances.join(", ") }
    ));
    lines.add(match &service.bundle {
        Bundle::Archive { digest, size } => format!("  bundle   {digest}, {size} bytes"),
        Bundle::Path(path) if path.starts_with('/') => format!("  bundle   {path} on the device"),
        Bundle::Path(path) => format!("  bundle   {path}, which `build` packs"),
    });
    if let Some(command) = &service.command {
        lines.add(format_args!("  command  {}", command.join(" ")));
    }
    lines.add(format_args!("  restart  {}", policy(service)));
    lines.add(format_args!("  limits   {}", limits(service)));
    let network = match service.network_mode {
        NetworkMode::None => "its own, loopback alone",
        NetworkMode::Host => "the machine's",
    };
    let root = if service.read_only { "read-only" } else { "writable" };
    lines.add(format_args!("  network  {network}; root file system {root}"));
    for (other, condition) in &service.depends_on {
        let until = match condition {
            Condition::ServiceStarted => "runs",
            Condition::ServiceHealthy => "is ready",
            Condition::ServiceCompletedSuccessfully => "has completed",
        };
        lines.add(format_args!("  after    `{other}` {until}"));
    }
}

fn policy(service: &Service) -> String {
    let policy = restart::policy(service);
    let when = match (policy.again, policy.attempts) {
        (Again::Never, _) => return "never".to_owned(),
        (Again::OnFailure, None) => "when it failed".to_owned(),
        (Again::OnFailure, Some(most)) => format!("when it failed, at most {most} times in a row"),
        (Again::Always, None) => "always".to_owned(),
        (Again::Always, Some(most)) => format!("always, at most {most} times in a row"),
    };
    format!("{when}; after {}, later each time up to {}", policy.base, policy.max)
}

fn limits(service: &Service) -> String {
    let limits = &service.deploy.resources.limits;
    let cpus = limits
        .cpus
        .map_or("all processors".to_owned(), |cpus| format!("{}.{:03} processors", cpus.0 / 1000, cpus.0 % 1000));
    let memory = limits.memory.map_or("all memory".to_owned(), |memory| match memory.0 {
        bytes if bytes % (1 << 20) == 0 => format!("{} MiB of memory", bytes >> 20),
        bytes => format!("{bytes} bytes of memory"),
    });
    format!("{cpus}, {memory}, {} processes", limits.pids.unwrap_or(512))
}
