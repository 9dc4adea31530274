//! `skiffctl ps`: instances in a table. What is not as desired is always there; what has completed only if it is asked for.

use super::client::Client;
use super::{Format, instances, print, table, words};
use crate::view::{Device, Instance};
use clap::Args;
use serde_json::json;
use std::process::ExitCode;

/// What was typed.
#[derive(Args)]
pub(super) struct Arguments {
    /// Also what has completed and is not to run any more
    #[arg(short, long)]
    all: bool,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// A service or an instance; without it all
    service: Option<String>,
}

/// Lists.
pub(super) async fn run(client: &Client, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut found = match &arguments.service {
        Some(name) => instances::named(client, name).await?,
        None => client.get::<Device>("/v1/device").await?.instances,
    };
    let known = found.len();
    found.retain(|instance| arguments.all || !is_done(instance));
    let text = match arguments.format {
        Format::Table => list(&found, known - found.len()),
        Format::Json => {
            let json = serde_json::to_string_pretty(&json!({ "instances": found }))?;
            format!("{}\n", words::plain_json(&json))
        }
    };
    print::text(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// It has done what it was for.
fn is_done(instance: &Instance) -> bool {
    instance.state == "completed" && instance.why.is_none()
}

fn list(shown: &[Instance], hidden: usize) -> String {
    if shown.is_empty() {
        let more = format!("; {} completed, which --all shows", words::count(hidden as u64, "instance"));
        return format!("nothing runs{}\n", if hidden > 0 { &more } else { "" });
    }
    let head = ["NAME", "STATE", "HEALTH", "RESTARTS", "UPTIME", "CPU TIME", "MEMORY", "PID", "RELEASE"];
    table::table(head, &shown.iter().map(row).collect::<Vec<_>>())
}

fn row(instance: &Instance) -> [String; 9] {
    let dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    let figures = instance.figures.as_ref();
    [
        instance.id.clone(),
        state(instance),
        health(instance).into(),
        instance.restarts.to_string(),
        dash(instance.uptime_s.map(words::span)),
        dash(figures.map(|figures| words::short_span(figures.cpu_usage_ns as f64 / 1e9))),
        dash(figures.map(|figures| {
            let limit = figures.memory_limit.map(|limit| format!(" of {}", words::size(limit)));
            format!("{}{}", words::size(figures.memory_working_set), limit.unwrap_or_default())
        })),
        dash(instance.pid.map(|pid| pid.to_string())),
        instance.release.clone(),
    ]
}

/// The state, and the little that says more: how it ended, and when it runs again.
fn state(instance: &Instance) -> String {
    let mut more = Vec::new();
    if matches!(instance.state.as_str(), "ended" | "failed" | "completed" | "waiting") {
        if let Some(exit) = &instance.last_exit {
            more.extend(exit.code.map(|code| code.to_string()));
            more.extend(exit.oom.then(|| "out of memory".to_owned()));
        }
    }
    if let Some(again) = instance.why.as_ref().filter(|_| instance.state == "waiting") {
        more.extend(again.in_s.map(|seconds| format!("again in {}", words::short_span(seconds))));
    }
    if more.is_empty() { instance.state.clone() } else { format!("{} ({})", instance.state, more.join(", ")) }
}

fn health(instance: &Instance) -> &'static str {
    match &instance.health {
        None => "-",
        Some(health) if health.ready => "ready",
        Some(health) if !health.started => "starting",
        Some(_) => "not ready",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::specimen;

    #[test]
    fn a_row_says_what_is_known() {
        let rows = list(&[specimen::web(), specimen::worker(), specimen::hog()], 1);
        assert_eq!(
            rows,
            "NAME      STATE                        HEALTH  RESTARTS  UPTIME  CPU TIME  MEMORY      PID   RELEASE\n\
             web-0     running                      ready   0         2h 5m   1m 3s     12M of 64M  4711  2\n\
             worker-0  waiting (3, again in 2.5s)   -       4         -       -         -           -     2\n\
             hog-0     failed (137, out of memory)  -       0         -       -         -           -     2\n"
        );
    }

    #[test]
    fn nothing_is_said_to_be_nothing() {
        assert_eq!(list(&[], 0), "nothing runs\n");
        assert_eq!(list(&[], 2), "nothing runs; 2 instances completed, which --all shows\n");
    }

    #[test]
    fn health_is_concluded() {
        let mut web = specimen::web();
        for (started, ready, said) in [(true, true, "ready"), (true, false, "not ready"), (false, false, "starting")] {
            web.health = Some(crate::view::Health { started, ready, last_failure: None });
            assert_eq!(health(&web), said);
        }
    }
}
