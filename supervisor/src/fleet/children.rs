//! How skiffd starts its two children: its own program under another word, with an environment that holds nothing but what
//! the child is told.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::path::Path;
use std::process::Stdio;
use tokio::process::Command;

/// The one variable of a child's environment.
const VARIABLE: &str = "SKIFFD_CHILD";

/// A child that is ready to be started, with pipes at both ends; it goes when it is dropped.
///
/// # Errors
/// When the words cannot be written as JSON.
pub(super) fn command(program: &Path, verb: &str, words: &impl Serialize) -> io::Result<Command> {
    let mut command = Command::new(program);
    // No variable, such as one that names a proxy or a library, and no folder to come back to.
    command.arg(verb).env_clear().env(VARIABLE, serde_json::to_string(words)?).current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    Ok(command)
}

/// What a child is told.
///
/// # Errors
/// When skiffd did not start it.
pub(super) fn words<T: DeserializeOwned>() -> io::Result<T> {
    let text = std::env::var(VARIABLE).map_err(io::Error::other)?;
    Ok(serde_json::from_str(&text)?)
}
