//! `skiffctl sync`: look at the fleet now, and not when it is time.

use super::client::Client;
use super::print;
use anyhow::bail;
use serde::Deserialize;
use std::process::ExitCode;

#[derive(Deserialize)]
struct Answer {
    asked: bool,
}

/// Asks.
pub(super) async fn run(client: &Client) -> anyhow::Result<ExitCode> {
    let answer: Answer = client.post("/v1/sync").await?;
    if !answer.asked {
        bail!("skiffd does not look at its fleet; `skiffctl why` tells more");
    }
    print::text("skiffd looks at its fleet now; `skiffctl events -f` shows what comes of it\n")?;
    Ok(ExitCode::SUCCESS)
}
