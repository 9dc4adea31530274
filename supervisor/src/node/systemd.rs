//! Shims as units of systemd: PID 1 starts them, so that `systemctl`, `systemd-cgtop` and `journalctl -u` know them and
//! nothing of skiffd's own confinement is inherited.
//!
//! The unit of a service is `skiff-<service>.service` in `skiff.slice`. It is of type *forking*: the shim's `start` prints an
//! address and ends, and systemd then follows the process that stays. The unit's cgroup is delegated; on cgroup v2 processes
//! may only be in its leaves, so the shim is moved one down and containers come beside it.

use super::error::Error;
use super::shim::{Words, execute};
use skiff_planner::name::ServiceName;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The slice of everything that runs.
const SLICE: &str = "skiff.slice";

/// The unit of a service's shim.
pub(super) fn unit(service: &ServiceName) -> String {
    format!("skiff-{service}.service")
}

/// The cgroup of that unit.
pub(super) fn cgroup(service: &ServiceName) -> String {
    format!("/{SLICE}/{}", unit(service))
}

/// The words that have PID 1 start a shim: its own words, its environment, where it works and where its answer goes.
pub(super) fn start(service: &ServiceName, shim: &Words, answer: &Path) -> Words {
    let mut words: Vec<OsString> = ["--quiet", "--collect", "--service-type=forking"].map(OsString::from).into();
    words.push(format!("--unit={}", unit(service)).into());
    words.push(format!("--slice={SLICE}").into());
    words.push(format!("--description=Shim of service {service}").into());
    for property in ["Delegate=yes", "OOMPolicy=continue"] {
        words.push(format!("--property={property}").into());
    }
    words.push(joined("--property=WorkingDirectory=", shim.folder.as_os_str()));
    words.push(joined("--property=StandardOutput=file:", answer.as_os_str()));
    for (name, value) in &shim.environment {
        words.push(joined(&format!("--setenv={name}="), value));
    }
    words.push("--".into());
    words.push(shim.program.clone().into());
    words.extend(shim.words.iter().cloned());
    Words { program: "systemd-run".into(), words, environment: Vec::new(), folder: PathBuf::from("/") }
}

fn joined(before: &str, value: &std::ffi::OsStr) -> OsString {
    let mut word = OsString::from(before);
    word.push(value);
    word
}

/// The words that clear away a unit whose shim is gone: what is left in it is ended, and its failure is forgotten.
pub(super) fn clear(service: &ServiceName) -> [Words; 2] {
    ["stop", "reset-failed"].map(|verb| Words {
        program: "systemctl".into(),
        words: [verb, &unit(service)].map(OsString::from).into(),
        environment: Vec::new(),
        folder: PathBuf::from("/"),
    })
}

/// Clears away what is left of a unit whose shim is gone.
pub(super) async fn clear_away(service: &ServiceName, notes: &Path) {
    for words in clear(service) {
        // A unit that is not there cannot be stopped and has nothing to forget.
        let _nothing_to_clear = execute(&words, notes, notes).await;
    }
}

/// Moves a shim one down in its unit's cgroup, where cgroup v2 is in use.
///
/// # Errors
/// [`Error::File`]
pub(super) fn settle(service: &ServiceName, pid: u32) -> Result<(), Error> {
    let root = Path::new("/sys/fs/cgroup");
    if !root.join("cgroup.controllers").exists() {
        return Ok(());
    }
    let leaf = root.join(cgroup(service).trim_start_matches('/')).join("shim");
    match fs::create_dir(&leaf) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(Error::File { operation: "make the cgroup", path: leaf, source: error });
        }
        Ok(()) | Err(_) => {}
    }
    let procs = leaf.join("cgroup.procs");
    fs::write(&procs, pid.to_string()).map_err(Error::file("move the shim into", procs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let service = "web".parse().unwrap();
        let shim = Words {
            program: "/usr/bin/shim".into(),
            words: ["-id", "web", "start"].map(OsString::from).into(),
            environment: vec![("TTRPC_ADDRESS", "/run/skiff/events.sock".into())],
            folder: "/run/skiff/shims/web".into(),
        };
        let start = start(&service, &shim, Path::new("/run/skiff/shims/web/answer"));
        let seen: Vec<_> = start.words.iter().map(|word| word.to_str().unwrap()).collect();
        let expected = [
            "--quiet",
            "--collect",
            "--service-type=forking",
            "--unit=skiff-web.service",
            "--slice=skiff.slice",
            "--description=Shim of service web",
            "--property=Delegate=yes",
            "--property=OOMPolicy=continue",
            "--property=WorkingDirectory=/run/skiff/shims/web",
            "--property=StandardOutput=file:/run/skiff/shims/web/answer",
            "--setenv=TTRPC_ADDRESS=/run/skiff/events.sock",
            "--",
            "/usr/bin/shim",
            "-id",
            "web",
            "start",
        ];
        assert_eq!(seen, expected);
        assert_eq!(cgroup(&service), "/skiff.slice/skiff-web.service");
        let [stop, forget] = clear(&service);
        assert_eq!(stop.words, ["stop", "skiff-web.service"]);
        assert_eq!(forget.words, ["reset-failed", "skiff-web.service"]);
    }
}
