//! `skiffctl inspect`: what skiffd tells, as it tells it. What this version does not know is shown as well.

use super::client::Client;
use super::{instances, print, words};
use clap::Args;
use serde_json::Value;
use std::process::ExitCode;

/// What was typed.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub(super) struct Arguments {
    /// The whole device
    #[arg(long)]
    all: bool,
    /// A service or an instance
    name: Option<String>,
}

/// Prints.
pub(super) async fn run(client: &Client, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let path = arguments.name.as_deref().map_or_else(|| "/v1/device".to_owned(), instances::path);
    let document: Value = client.get(&path).await?;
    print::text(&format!("{}\n", words::plain_json(&format!("{document:#}"))))?;
    Ok(ExitCode::SUCCESS)
}
