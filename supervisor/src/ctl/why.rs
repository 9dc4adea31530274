//! `skiffctl why`: in words, what is not as desired, and what would change that. Nothing that waits does so without a reason.

use super::client::Client;
use super::words::{plain, short_span, span};
use super::{instances, print};
use crate::view::{Device, Instance};
use clap::Args;
use std::process::ExitCode;

/// What was typed.
#[derive(Args)]
pub(super) struct Arguments {
    /// Exit with 1 when something is not as desired
    #[arg(long)]
    check: bool,
    /// A service or an instance; without it the whole device
    name: Option<String>,
}

/// Tells.
pub(super) async fn run(client: &Client, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let (text, well) = match &arguments.name {
        Some(name) => {
            let found = instances::named(client, name).await?;
            (of_instances(&found), found.iter().all(|instance| instance.why.is_none()))
        }
        None => {
            let device: Device = client.get("/v1/device").await?;
            (of_device(&device), device.is_well())
        }
    };
    print::text(&text)?;
    Ok(if arguments.check && !well { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Each with its reason, or that there is none.
fn of_instances(instances: &[Instance]) -> String {
    if instances.is_empty() {
        return "as desired: there is to be no instance\n".into();
    }
    instances.iter().map(|instance| unlike(instance).unwrap_or_else(|| alike(instance))).collect()
}

/// Everything that is not as desired.
pub(super) fn of_device(device: &Device) -> String {
    let mut paragraphs = Vec::new();
    if let Some(reason) = &device.blocked {
        let end = "the end of that reason; after a drain `systemctl restart skiffd`";
        paragraphs
            .push(paragraph(&format!("nothing is changed on this device: {}", plain(reason)), &[with(end, None)]));
    }
    paragraphs.extend(of_fleet(device));
    paragraphs.extend(of_release(device));
    paragraphs.extend(device.instances.iter().filter_map(unlike));
    if paragraphs.is_empty() { "as desired\n".into() } else { paragraphs.concat() }
}

fn of_fleet(device: &Device) -> Vec<String> {
    let Some(fleet) = &device.fleet else { return Vec::new() };
    let mut paragraphs = Vec::new();
    let url = plain(&fleet.url);
    if let Some(refusal) = &fleet.last_refusal {
        let (reason, text, time) = (plain(&refusal.reason), plain(&refusal.text), plain(&refusal.time));
        let head = format!("the fleet is not followed any further since {time} ({reason}): {text}");
        let end =
            format!("an index at {url} that is believed; it is looked for by itself, and now with `skiffctl sync`");
        paragraphs.push(paragraph(&head, &[with(&end, None)]));
    }
    if fleet.stale {
        let head = "the fleet's index is past its day; what it says still runs";
        paragraphs.push(paragraph(head, &[with(&format!("a newer index at {url}"), None)]));
    }
    paragraphs
}

fn of_release(device: &Device) -> Vec<String> {
    let release = &device.release;
    let mut paragraphs = Vec::new();
    if let Some(waits) = &release.waits {
        let which = release.running.as_deref().map_or_else(|| "the release".into(), |name| format!("release {name}"));
        let state = if release.state == "trial" { " is on trial" } else { " is waited for" };
        paragraphs.push(format!("{}{state}: {}\n", plain(&which), plain(waits)));
    }
    // It is as desired that it does not run; that it is wanted elsewhere is worth a word.
    if let Some(revert) = release.last_revert.as_ref().filter(|revert| release.target.as_ref() == Some(&revert.release))
    {
        let head = format!("release {} was returned from: {}", plain(&revert.release), plain(&revert.reason));
        paragraphs.push(paragraph(&head, &[with("an index that names another release", None)]));
    }
    paragraphs
}

/// Of an instance that is not as desired.
fn unlike(instance: &Instance) -> Option<String> {
    let why = instance.why.as_ref()?;
    let (id, state, reason) = (plain(&instance.id), plain(&instance.state), plain(&why.reason));
    let text = plain(&why.text);
    let mut more = Vec::new();
    if !why.until.is_empty() {
        more.push(with(&plain(&why.until), why.in_s));
    }
    let exit = instance.last_exit.as_ref().map(|exit| plain(&exit.reason));
    more.extend(exit.filter(|exit| !text.contains(exit.as_ref())).map(|exit| format!("ended last: {exit}")));
    let failure = instance.health.as_ref().and_then(|health| health.last_failure.as_deref()).map(plain);
    more.extend(failure.filter(|said| !text.contains(said.as_ref())).map(|said| format!("its probe said: {said}")));
    Some(paragraph(&format!("{id} is not as desired: {state}, {reason}: {text}"), &more))
}

fn alike(instance: &Instance) -> String {
    let since = instance.uptime_s.map(|seconds| format!(" for {}", span(seconds))).unwrap_or_default();
    let head = format!("{} is as desired: {}{since}", plain(&instance.id), plain(&instance.state));
    let ended = instance.last_exit.as_ref().map(|exit| format!("ended last: {}", plain(&exit.reason)));
    paragraph(&head, ended.as_slice())
}

fn with(what: &str, in_s: Option<f64>) -> String {
    let when = in_s.map(|seconds| format!(", in {}", short_span(seconds))).unwrap_or_default();
    format!("would change with: {what}{when}")
}

fn paragraph(head: &str, more: &[String]) -> String {
    let more = more.iter().map(|line| format!("    {line}\n"));
    format!("{head}\n{}", more.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::specimen;
    use crate::view::{Exit, Fleet, Health, Refusal, Revert, Why};

    #[test]
    fn what_is_as_desired_is_said_to_be() {
        assert_eq!(of_device(&specimen::device()), "as desired\n");
        assert_eq!(of_instances(&[specimen::web()]), "web-0 is as desired: running for 2h 5m\n");
        let mut done = specimen::web();
        (done.state, done.uptime_s) = ("completed".into(), None);
        done.last_exit = Some(Exit { code: Some(0), oom: false, reason: "status 0".into() });
        assert_eq!(of_instances(&[done]), "web-0 is as desired: completed\n    ended last: status 0\n");
        assert_eq!(of_instances(&[]), "as desired: there is to be no instance\n");
    }

    #[test]
    fn an_instance_has_a_reason_and_a_way_out() {
        assert_eq!(
            of_instances(&[specimen::worker(), specimen::hog()]),
            "worker-0 is not as desired: waiting, backoff: status 3; ended 4 times in a row\n    \
             would change with: time: it is started again by itself, in 2.5s\n\
             hog-0 is not as desired: failed, held: it is not to be restarted\n    \
             would change with: another release\n    ended last: killed at its memory limit, status 137\n"
        );
    }

    #[test]
    fn what_a_container_said_cannot_draw() {
        let mut web = specimen::web();
        let (text, until) = ("\u{1b}[2J\nroot".to_owned(), String::new());
        web.why = Some(Why { reason: "notReady".into(), text, until, in_s: None });
        web.health = Some(Health { started: true, ready: false, last_failure: Some("\u{9b}2J".into()) });
        assert_eq!(
            of_instances(&[web]),
            "web-0 is not as desired: running, notReady: \\u{1b}[2J\\nroot\n    its probe said: \\u{9b}2J\n"
        );
    }

    #[test]
    fn a_device_tells_from_the_whole_to_the_part() {
        let mut device = specimen::device();
        device.blocked = Some("a drain".into());
        let refusal = Refusal { reason: "signature".into(), text: "is not".into(), time: "T".into() };
        device.fleet =
            Some(Fleet { url: "http://f".into(), last_refusal: Some(refusal), stale: true, ..specimen::fleet() });
        device.release.waits = Some("web-0 is not ready".into());
        device.release.state = "trial".into();
        device.release.target = Some("3".into());
        device.release.last_revert = Some(Revert { release: "3".into(), reason: "it failed".into() });
        device.instances.push(specimen::worker());
        let told = of_device(&device);
        let heads: Vec<_> = told.lines().filter(|line| !line.starts_with(' ')).collect();
        assert_eq!(
            heads,
            [
                "nothing is changed on this device: a drain",
                "the fleet is not followed any further since T (signature): is not",
                "the fleet's index is past its day; what it says still runs",
                "release 2 is on trial: web-0 is not ready",
                "release 3 was returned from: it failed",
                "worker-0 is not as desired: waiting, backoff: status 3; ended 4 times in a row",
            ]
        );
        device.release.target = Some("4".into());
        assert!(!of_device(&device).contains("returned"));
    }
}
