//! `skiffctl drain`: stop everything, and wait until nothing is left. It takes as long as the longest stop.

use super::client::Client;
use super::print;
use anyhow::bail;
use serde::Deserialize;
use std::process::ExitCode;

#[derive(Deserialize)]
struct Answer {
    drained: bool,
}

/// Asks, and waits.
pub(super) async fn run(client: &Client) -> anyhow::Result<ExitCode> {
    let answer: Answer = client.post("/v1/drain").await?;
    if !answer.drained {
        bail!("something is left; `skiffctl ps` shows it");
    }
    print::text("nothing runs, and nothing is started until skiffd is started again\n")?;
    Ok(ExitCode::SUCCESS)
}
