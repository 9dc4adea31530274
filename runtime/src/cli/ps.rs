//! `skiff ps`: the processes of a container, as an array of their ids or as ps(1) shows them.

use super::args::{Global, ListFormat};
use super::{print, state};
use crate::container;
use crate::sys::prctl;
use std::ffi::OsString;
use std::io;
use std::process::{Command, ExitCode, Output, Stdio};

/// Why there is no table.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// ps(1) cannot be executed.
    #[error("`ps` cannot be executed; install it (procps or busybox), or use --format json")]
    NoPs(#[source] io::Error),
    /// It does not like its options.
    #[error("`ps {options}` ended with {status}: {words}")]
    Failed { options: String, status: std::process::ExitStatus, words: String },
    /// Its options leave the column out.
    #[error("`ps {options}` prints no column PID, by which processes are told; give it options that do")]
    NoColumn { options: String },
    /// A column before it has blanks in it.
    #[error("the line `{line}` of `ps {options}` has no process id where the column PID is; let it print PID first")]
    NoPid { options: String, line: String },
}

pub(super) fn ps(global: &Global, id: &str, format: ListFormat, options: &[OsString]) -> anyhow::Result<ExitCode> {
    let pids = container::processes::processes(&state::open(global, id)?)?;
    if format == ListFormat::Json {
        return print(&(serde_json::to_string(&pids)? + "\n"));
    }
    let default = [OsString::from("-ef")];
    let options = if options.is_empty() { &default } else { options };
    let shown = options.iter().map(|option| option.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let output = execute(options).map_err(Error::NoPs)?;
    let words = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        let (status, words) = (output.status, words.trim().to_owned());
        return Err(Error::Failed { options: shown, status, words }.into());
    }
    eprint!("{words}");
    print(&select(&String::from_utf8_lossy(&output.stdout), &pids, &shown)?)
}

/// It gets none of our descriptors but the usual three.
fn execute(options: &[OsString]) -> io::Result<Output> {
    let mut command = Command::new("ps");
    command.args(options).stdin(Stdio::null());
    prctl::prepare_child(&mut command, None);
    command.output()
}

/// The head of the table and the lines of these processes, by the column that the head calls PID.
fn select(table: &str, pids: &[i32], options: &str) -> Result<String, Error> {
    let mut lines = table.lines();
    let head = lines.next().unwrap_or_default();
    let column = head.split_whitespace().position(|name| name == "PID");
    let column = column.ok_or_else(|| Error::NoColumn { options: options.to_owned() })?;
    let mut text = format!("{head}\n");
    for line in lines.filter(|line| !line.trim().is_empty()) {
        let pid = line.split_whitespace().nth(column).and_then(|word| word.parse().ok());
        let pid: i32 = pid.ok_or_else(|| Error::NoPid { options: options.to_owned(), line: line.to_owned() })?;
        if pids.contains(&pid) {
            text.push_str(line);
            text.push('\n');
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_by_their_pid() {
        let table = "UID  PID PPID CMD\nroot   1    0 init 22\n\nroot  22    1 sh\nroot 222    1 sh\n";
        assert_eq!(select(table, &[22], "").unwrap(), "UID  PID PPID CMD\nroot  22    1 sh\n");
        assert_eq!(select(table, &[], "").unwrap(), "UID  PID PPID CMD\n");
        assert!(matches!(select("UID CMD\nroot sh\n", &[1], "-x"), Err(Error::NoColumn { .. })));
        assert!(matches!(select("", &[1], "-x"), Err(Error::NoColumn { .. })));
        assert!(matches!(select("CMD PID\na b 1\n", &[1], "-x"), Err(Error::NoPid { .. })));
    }
}
