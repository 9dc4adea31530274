//! The program of an instance.

use super::{Refusals, capabilities, is_empty};
use crate::release::Service;
use serde_json::{Map, Value, json};

/// Open files: what old programs can take, and what others may ask for.
const FILES: (u64, u64) = (1024, 524_288);

pub(super) fn derive(refusals: &mut Refusals, process: Option<&Value>, service: &Service, open_files: u64) -> Value {
    let empty = Map::new();
    let process = process.and_then(Value::as_object).unwrap_or_else(|| {
        refusals.refuse("process", "is not an object");
        &empty
    });
    let known = [
        "terminal",
        "consoleSize",
        "user",
        "args",
        "env",
        "cwd",
        "capabilities",
        "rlimits",
        "noNewPrivileges",
        "oomScoreAdj",
    ];
    refusals.unknown("process", process, &known);
    let mut derived = json!({
        "terminal": false,
        "user": user(refusals, process, service),
        "args": arguments(refusals, process, service),
        "env": environment(refusals, process, service),
        "cwd": folder(refusals, process, service),
        "capabilities": capabilities::derive(refusals, process, service),
        "rlimits": limits(refusals, process, open_files),
        "noNewPrivileges": true,
    });
    match process.get("oomScoreAdj").map(|value| (value, value.as_i64())) {
        Some((_, Some(0..=1000))) => derived["oomScoreAdj"] = process["oomScoreAdj"].clone(),
        Some((value, _)) if !is_empty(value) => {
            let only = Map::from_iter([("oomScoreAdj".to_owned(), value.clone())]);
            refusals.unknown("process", &only, &[]);
        }
        Some(_) | None => {}
    }
    derived
}

fn arguments(refusals: &mut Refusals, process: &Map<String, Value>, service: &Service) -> Vec<String> {
    let bundled = refusals.texts(process.get("args"), "process.args");
    let arguments = service.command.clone().unwrap_or(bundled);
    if arguments.first().is_none_or(String::is_empty) {
        refusals.refuse("process.args", "names no program; write it there, or `command` in the service");
    }
    arguments
}

/// The bundle's variables in their order, with the service's values, and then what only the service has.
fn environment(refusals: &mut Refusals, process: &Map<String, Value>, service: &Service) -> Vec<String> {
    let bundled = refusals.texts(process.get("env"), "process.env");
    let replaced = |line: &String| {
        let name = line.split_once('=').map_or(line.as_str(), |(name, _)| name);
        service.environment.contains_key(name)
    };
    let kept = bundled.into_iter().filter(|line| !replaced(line));
    kept.chain(service.environment.iter().map(|(name, value)| format!("{name}={value}"))).collect()
}

fn folder(refusals: &mut Refusals, process: &Map<String, Value>, service: &Service) -> String {
    let bundled = refusals.text(process, "process", "cwd").filter(|folder| !folder.is_empty()).unwrap_or("/");
    service.working_dir.clone().unwrap_or_else(|| bundled.to_owned())
}

/// The service's user has no further groups: Compose's `group_add` is not built yet.
fn user(refusals: &mut Refusals, process: &Map<String, Value>, service: &Service) -> Value {
    let bundled = refusals.object(process, "process", "user");
    refusals.unknown("process.user", &bundled, &["uid", "gid", "umask", "additionalGids"]);
    let mut number = |key: &str| -> Option<u32> {
        let value = bundled.get(key).filter(|value| !is_empty(value))?;
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok()).filter(|number| *number != u32::MAX);
        if number.is_none() {
            refusals.refuse(&format!("process.user.{key}"), "is not a number of a user");
        }
        number
    };
    let (uid, gid, umask) = (number("uid").unwrap_or(0), number("gid").unwrap_or(0), number("umask"));
    let mut derived = match service.user {
        Some(user) => json!({"uid": user.uid, "gid": user.gid}),
        None => json!({"uid": uid, "gid": gid}),
    };
    let groups = refusals.list(bundled.get("additionalGids"), "process.user.additionalGids");
    let valid = |group: &Value| group.as_u64().is_some_and(|number| number < u64::from(u32::MAX));
    if !groups.iter().all(valid) {
        refusals.refuse("process.user.additionalGids", "is not a list of numbers of groups");
    }
    if service.user.is_none() && !groups.is_empty() {
        derived["additionalGids"] = groups.into();
    }
    if let Some(umask) = umask {
        derived["umask"] = umask.into();
    }
    derived
}

/// The number of open files alone; a bundle may have less than the default, and a machine may give less.
fn limits(refusals: &mut Refusals, process: &Map<String, Value>, most: u64) -> Value {
    let (mut soft, mut hard) = FILES;
    for limit in refusals.list(process.get("rlimits"), "process.rlimits") {
        let kind = limit.get("type").and_then(Value::as_str).unwrap_or("");
        let value = |key: &str| limit.get(key).and_then(Value::as_u64);
        let key = format!("process.rlimits.{kind}");
        match (kind, value("soft"), value("hard")) {
            ("RLIMIT_NOFILE", Some(low), Some(high)) if low <= high && high <= FILES.1 => (soft, hard) = (low, high),
            ("RLIMIT_NOFILE", ..) => {
                refusals.refuse(&key, &format!("is not a soft and a hard limit of {} open files at most", FILES.1));
            }
            _ => refusals.refuse(&key, "is not honoured for services; limits are `deploy.resources.limits`"),
        }
    }
    json!([{"type": "RLIMIT_NOFILE", "soft": soft.min(most), "hard": hard.min(most)}])
}
