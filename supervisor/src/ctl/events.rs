//! `skiffctl events`: what happened on this device, the oldest first.

use super::Format;
use super::client::Client;
use super::print::Both;
use super::words::{plain, plain_json};
use crate::control::Stream;
use clap::Args;
use serde::Deserialize;
use serde_json::Value;
use std::process::ExitCode;

/// What was typed.
#[derive(Args)]
pub(super) struct Arguments {
    /// And what is to happen
    #[arg(short, long)]
    follow: bool,
    /// Only events with a greater number
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    since: u64,
    /// For people or for programs; JSON has one document on each line
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// An event, of which a later skiffd may know kinds that are unknown here.
#[derive(Deserialize)]
struct Event {
    seq: u64,
    time: String,
    kind: String,
    instance: Option<String>,
    text: String,
}

/// Shows.
pub(super) async fn run(client: &Client, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let follow = if arguments.follow { "&follow=true" } else { "" };
    let path = format!("/v1/events?since={}{follow}", arguments.since);
    let mut lines = client.lines(&path, arguments.follow).await?;
    let mut out = Both::new();
    while let Some(line) = lines.next(|| out.flush()).await? {
        let text = match arguments.format {
            Format::Table => sentence(&client.parse(&line)?),
            Format::Json => format!("{}\n", plain_json(&client.parse::<Value>(&line)?.to_string())),
        };
        out.write(Stream::Stdout, &text)?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn sentence(event: &Event) -> String {
    let Event { seq, time, kind, instance, text } = event;
    let about = instance.as_deref().map(|instance| format!("{}: ", plain(instance))).unwrap_or_default();
    format!("{} {seq:>6} {:<18} {about}{}\n", plain(time), plain(kind), plain(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_each() {
        let event = |json: &str| sentence(&serde_json::from_str(json).unwrap());
        assert_eq!(
            event(
                r#"{"seq":7,"bootId":"b","time":"T","kind":"oomKill","instance":"web-0","text":"killed\u001b[2J\nx"}"#
            ),
            "T      7 oomKill            web-0: killed\\u{1b}[2J\\nx\n"
        );
        assert_eq!(
            event(r#"{"seq":8,"time":"T","kind":"ofTomorrow","text":"all"}"#),
            "T      8 ofTomorrow         all\n"
        );
    }
}
