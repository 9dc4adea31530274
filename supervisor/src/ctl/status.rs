//! `skiffctl status`: the device in some ten lines. That it is not well is told; the exit status says so only if asked, so
//! that "does skiffd answer" and "is all well" are two questions.

use super::client::Client;
use super::words::{count, plain, size, span};
use super::{Format, print, why, words};
use crate::clock::rfc3339;
use crate::view::{Device, Fleet};
use anyhow::Context as _;
use clap::Args;
use serde_json::Value;
use std::process::ExitCode;

/// What was typed.
#[derive(Args)]
pub(super) struct Arguments {
    /// Exit with 1 when it is not well
    #[arg(long)]
    check: bool,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Sums up.
pub(super) async fn run(client: &Client, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let device: Device = client.get("/v1/device").await?;
    let well = device.is_well();
    let text = match arguments.format {
        Format::Table => summary(&device),
        Format::Json => json(&device, well)?,
    };
    print::text(&text)?;
    Ok(if arguments.check && !well { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The device as it is told, with the conclusion.
fn json(device: &Device, well: bool) -> anyhow::Result<String> {
    let mut document = serde_json::to_value(device).context("cannot write the device as JSON")?;
    document["well"] = Value::Bool(well);
    Ok(format!("{}\n", words::plain_json(&format!("{document:#}"))))
}

fn summary(device: &Device) -> String {
    let labels: Vec<_> = device.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let labels = if labels.is_empty() { String::new() } else { format!(" ({})", labels.join(", ")) };
    let agent = &device.agent;
    let memory = agent.pss_ki_b.map(|kib| format!(", {} of memory", size(kib.saturating_mul(1024))));
    let (version, pid, uptime) = (&agent.version, agent.pid, span(agent.uptime_s));
    let mut lines = vec![
        ("device", format!("{}{labels}", device.device)),
        ("skiffd", format!("{version}, process {pid}, up {uptime}{}", memory.unwrap_or_default())),
        ("fleet", device.fleet.as_ref().map_or_else(|| "none is followed".into(), |it| fleet(it, &device.time))),
        ("release", release(device)),
        ("services", services(device)),
    ];
    lines.extend(node(device).map(|text| ("machine", text)));
    if device.dropped_events > 0 {
        lines.push(("events", format!("{} fell off before anybody could read them", device.dropped_events)));
    }
    let lines = lines.iter().map(|(name, text)| format!("{name:<10}{}\n", plain(text)));
    let reasons = why::of_device(device);
    let reasons =
        if device.is_well() { "all is as desired\n".into() } else { format!("not well:\n{}", indented(&reasons)) };
    format!("{}{reasons}", lines.collect::<String>())
}

fn fleet(fleet: &Fleet, now: &str) -> String {
    let mut parts = match (&fleet.name, fleet.serial) {
        (Some(name), Some(serial)) => vec![format!("{name}, serial {serial}")],
        _ => vec!["no index is believed yet".into()],
    };
    parts.extend(fleet.group.as_ref().map(|group| format!("group {group}")));
    parts.push(match fleet.last_contact.as_deref().map(|time| (time, since(time, now))) {
        Some((_, Some(seconds))) => format!("heard {} ago", span(seconds)),
        Some((time, None)) => format!("heard at {time}"),
        None => "not heard since skiffd started".into(),
    });
    format!("{} ({})", parts.join(", "), fleet.url)
}

/// Seconds from one time to another, neither of them later than the other.
fn since(time: &str, now: &str) -> Option<u64> {
    let (time, now) = (rfc3339::parse(time)?, rfc3339::parse(now)?);
    now.duration_since(time).ok().map(|passed| passed.as_secs())
}

fn release(device: &Device) -> String {
    let release = &device.release;
    let Some(running) = &release.running else { return "none runs yet".into() };
    let mut text = format!("{running}, {}", release.state);
    if let Some(target) = release.target.as_ref().filter(|target| *target != running) {
        text += &format!("; the fleet wants {target}");
    }
    if let Some(revert) = &release.last_revert {
        text += &format!("; {} was returned from: {}", revert.release, revert.reason);
    }
    text
}

fn services(device: &Device) -> String {
    let all = device.services.len();
    let sum = |number: fn(&crate::view::Service) -> u64| device.services.values().map(number).sum::<u64>();
    let (running, ready) = (sum(|service| service.running.into()), sum(|service| service.ready.into()));
    let mut text = format!("{}: {running} running, {ready} ready", count(all as u64, "service"));
    let restarts = sum(|service| service.restarts);
    if restarts > 0 {
        text += &format!(", {}", count(restarts, "restart"));
    }
    let kills = sum(|service| service.oom_kills);
    if kills > 0 {
        text += &format!(", {} at a memory limit", count(kills, "kill"));
    }
    text
}

fn node(device: &Device) -> Option<String> {
    let node = &device.node;
    let mut parts = Vec::new();
    let of = |kib: u64| size(kib.saturating_mul(1024));
    parts.extend(node.mem_avail_ki_b.map(|kib| format!("{} of memory available", of(kib))));
    parts.extend(node.disk_free_ki_b.map(|kib| format!("{} of disk free", of(kib))));
    let stalls: Vec<_> =
        node.psi.iter().map(|(what, share)| format!("{} {share}%", what.trim_end_matches("10"))).collect();
    if !stalls.is_empty() {
        parts.push(format!("stalled {}", stalls.join(" ")));
    }
    if parts.is_empty() { None } else { Some(parts.join(", ")) }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::specimen;

    #[test]
    fn a_device_that_is_well() {
        assert_eq!(
            summary(&specimen::device()),
            "device    till-0042 (role=kiosk)\n\
             skiffd    0.1.0, process 99, up 1d 1h, 3.4M of memory\n\
             fleet     kiosks, serial 7, group shops, heard 12s ago (https://fleet.example)\n\
             release   2, committed\n\
             services  1 service: 1 running, 1 ready\n\
             machine   412M of memory available, 5G of disk free, stalled mem 0.25%\n\
             all is as desired\n"
        );
    }

    #[test]
    fn a_device_that_is_not() {
        let mut device = specimen::device();
        device.fleet = None;
        device.node = crate::view::Node::default();
        device.blocked = Some("\u{1b}[2Jthe disk takes nothing".into());
        device.release.target = Some("3".into());
        device.release.last_revert =
            Some(crate::view::Revert { release: "3".into(), reason: "web-0 was not ready".into() });
        device.dropped_events = 2;
        let told = summary(&device);
        for line in [
            "fleet     none is followed",
            "release   2, committed; the fleet wants 3; 3 was returned from: web-0 was not ready",
            "events    2 fell off before anybody could read them",
            "not well:",
            "  nothing is changed on this device: \\u{1b}[2Jthe disk takes nothing",
        ] {
            assert!(told.lines().any(|told| told == line), "{line}: {told}");
        }
        assert!(!told.contains("machine"));
        device.release.running = None;
        assert!(summary(&device).contains("release   none runs yet\n"));
    }

    #[test]
    fn a_fleet_of_which_little_is_known() {
        let little = Fleet { url: "http://f".into(), ..Fleet::default() };
        assert_eq!(fleet(&little, "x"), "no index is believed yet, not heard since skiffd started (http://f)");
        let late = Fleet { last_contact: Some("2026-11-24T10:05:18Z".into()), ..little };
        assert!(fleet(&late, "2026-11-24T10:00:00Z").contains("heard at 2026-11-24T10:05:18Z"));
    }
}
