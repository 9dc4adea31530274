//! Settings: `skiffd.toml` and `device.toml`, with every default in one place. What was written is read first
//! ([`Raw`]), then resolved against defaults ([`Config`]); nothing is looked at in the world but the files themselves.

use serde::Deserialize;
use skiff_planner::select::Device;
use skiff_planner::span::Span;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Where `skiffd.toml` is unless `--config` says otherwise.
pub const PLACE: &str = "/etc/skiff/skiffd.toml";

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("`{path}` cannot be read; {hint}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The way out.
        hint: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A file says something that is not understood.
    #[error("`{path}:{line}`: {text}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// For people, on one line.
        text: String,
    },
    /// A value that cannot be.
    #[error("`{path}`: `{key}` is `{value}`; {hint}")]
    Value {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// What it is.
        value: String,
        /// What it should be.
        hint: &'static str,
    },
}

/// `skiffd.toml` as written. Every key may be left out.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Raw {
    /// This device.
    pub device: RawDevice,
    /// The fleet that it follows.
    pub fleet: RawFleet,
    /// Where things are.
    pub paths: RawPaths,
    /// What containers are run with.
    pub runtime: RawRuntime,
    /// The port for Prometheus.
    pub metrics: RawMetrics,
    /// Logs of instances.
    pub logs: RawLogs,
}

/// `[device]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawDevice {
    /// The file with id and labels.
    pub file: Option<PathBuf>,
}

/// `[fleet]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawFleet {
    /// The folder that holds `index.json`: `http://`, `https://` or `file://`.
    pub url: Option<String>,
    /// The fleet's name: a document of another is refused.
    pub name: Option<String>,
    /// The folder with the public keys, `*.pub`.
    pub trust: Option<PathBuf>,
    /// Certificates for `https://` in place of those built in.
    pub ca_file: Option<PathBuf>,
    /// The user of the child that talks to the network.
    pub user: Option<String>,
}

/// `[paths]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawPaths {
    /// What is true of this boot.
    pub run: Option<PathBuf>,
    /// What outlives it.
    pub state: Option<PathBuf>,
    /// Logs of instances.
    pub logs: Option<PathBuf>,
}

/// `[runtime]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawRuntime {
    /// Any containerd shim.
    pub shim: Option<PathBuf>,
    /// The OCI runtime that the shim is to use.
    pub binary: Option<PathBuf>,
    /// Whether shims are started by systemd; found out where it is not said.
    pub systemd: Option<bool>,
}

/// `[metrics]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawMetrics {
    /// Address and port; no port is opened without it.
    pub listen: Option<SocketAddr>,
}

/// `[logs]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawLogs {
    /// Of one file, in bytes.
    pub max_size: Option<skiff_planner::bytes::Bytes>,
    /// Of one instance.
    pub max_files: Option<u32>,
}

/// `device.toml` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawDeviceFile {
    /// The host name where it is not said.
    pub id: Option<String>,
    /// Labels for the fleet's selectors.
    pub labels: BTreeMap<String, String>,
}

/// Bytes of the run folder's path: 107 of a socket's (unix(7)), less `/s/` and the 64 letters of a shim's.
const LONGEST_RUN: usize = 40;

/// Settings with nothing left open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// This device: its id and labels.
    pub device: Device,
    /// The fleet that it follows; without one it keeps what it has.
    pub fleet: Option<Fleet>,
    /// What is true of this boot.
    pub run: PathBuf,
    /// What outlives it.
    pub state: PathBuf,
    /// Logs of instances.
    pub logs: PathBuf,
    /// The shim.
    pub shim: PathBuf,
    /// The OCI runtime.
    pub runtime: PathBuf,
    /// Whether shims are started by systemd; found out at the start where it is `None`.
    pub systemd: Option<bool>,
    /// The port for Prometheus.
    pub metrics: Option<SocketAddr>,
    /// Of one log file, in bytes.
    pub log_max_size: u64,
    /// Of one instance.
    pub log_max_files: u32,
}

/// The fleet that this device follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fleet {
    /// Without a slash at its end.
    pub url: String,
    /// The fleet's name, if the device knows it.
    pub name: Option<String>,
    /// The folder with the public keys.
    pub trust: PathBuf,
    /// Certificates in place of those built in.
    pub ca_file: Option<PathBuf>,
    /// The user of the child that talks to the network.
    pub user: String,
}

/// What a device says of itself without being asked (labels of the machine; a label of `device.toml` wins).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// uname(2), nodename.
    pub hostname: String,
    /// In the words of OCI images: `amd64`, `arm64`, `arm`.
    pub arch: String,
}

impl Machine {
    /// Asks the kernel.
    #[must_use]
    pub fn observe() -> Self {
        let uname = rustix::system::uname();
        let arch = match uname.machine().to_str().unwrap_or_default() {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other if other.starts_with("arm") => "arm",
            other => other,
        };
        Self { hostname: uname.nodename().to_string_lossy().into_owned(), arch: arch.to_owned() }
    }
}

/// Reads both files. A missing `skiffd.toml` is an error only when it was named.
///
/// # Errors
/// See [`Error`]; each names file and key.
pub fn load(path: Option<&Path>, machine: &Machine) -> Result<Config, Error> {
    let named = path.is_some();
    let path = path.unwrap_or(Path::new(PLACE));
    let raw: Raw = read(path, !named, "leave `--config` out for the defaults, or write the file")?;
    let device = raw.device.file.clone();
    let device_path = device.clone().unwrap_or_else(|| PathBuf::from("/etc/skiff/device.toml"));
    let file: RawDeviceFile = read(&device_path, device.is_none(), "it is named in `device.file`")?;
    resolve(path, raw, &device_path, file, machine)
}

fn read<T: Default + for<'de> Deserialize<'de>>(path: &Path, may_miss: bool, hint: &'static str) -> Result<T, Error> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if may_miss && error.kind() == io::ErrorKind::NotFound => return Ok(T::default()),
        Err(source) => return Err(Error::Read { path: path.to_owned(), hint, source }),
        Ok(text) => text,
    };
    toml::from_str(&text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let said = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
        Error::Parse { path: path.to_owned(), line: before.matches('\n').count() + 1, text: said }
    })
}

fn resolve(
    path: &Path,
    raw: Raw,
    device_path: &Path,
    device: RawDeviceFile,
    machine: &Machine,
) -> Result<Config, Error> {
    let value = |key, value: &str, hint| Error::Value { path: path.to_owned(), key, value: value.to_owned(), hint };
    for (key, place) in
        [("paths.run", &raw.paths.run), ("paths.state", &raw.paths.state), ("paths.logs", &raw.paths.logs)]
    {
        if let Some(place) = place.as_deref().filter(|place| !place.is_absolute()) {
            return Err(value(key, &place.to_string_lossy(), "give an absolute path"));
        }
    }
    if let Some(run) = raw.paths.run.as_deref().filter(|run| run.as_os_str().len() > LONGEST_RUN) {
        let hint = "give a path of 40 bytes at most: sockets below it may have names of 107 (unix(7))";
        return Err(value("paths.run", &run.to_string_lossy(), hint));
    }
    if raw.logs.max_files == Some(0) {
        return Err(value("logs.max_files", "0", "give 1 or more"));
    }
    if let Some(size) = raw.logs.max_size.filter(|size| size.0 < 4096) {
        return Err(value("logs.max_size", &size.0.to_string(), "give 4K or more"));
    }
    let id = device.id.unwrap_or_else(|| machine.hostname.clone());
    if !is_device_id(&id) {
        let hint = "write an `id` of 1 to 128 letters, digits, `-`, `_` and `.`";
        return Err(Error::Value { path: device_path.to_owned(), key: "id", value: id, hint });
    }
    let mut labels = BTreeMap::from([
        ("arch".to_owned(), machine.arch.clone()),
        ("os".to_owned(), "linux".to_owned()),
        ("hostname".to_owned(), machine.hostname.clone()),
    ]);
    labels.extend(device.labels);
    Ok(Config {
        device: Device { id, labels },
        fleet: resolve_fleet(path, raw.fleet)?,
        run: raw.paths.run.unwrap_or_else(|| "/run/skiff".into()),
        state: raw.paths.state.unwrap_or_else(|| "/var/lib/skiff".into()),
        logs: raw.paths.logs.unwrap_or_else(|| "/var/log/skiff".into()),
        shim: raw.runtime.shim.unwrap_or_else(|| "/usr/bin/containerd-shim-skiff-v1".into()),
        runtime: raw.runtime.binary.unwrap_or_else(|| "/usr/bin/skiff".into()),
        systemd: raw.runtime.systemd,
        metrics: raw.metrics.listen,
        log_max_size: raw.logs.max_size.map_or(8 << 20, |size| size.0),
        log_max_files: raw.logs.max_files.unwrap_or(3),
    })
}

/// Whether a text can be a device's id: 1 to 128 letters, digits, `-`, `_` and `.`. It becomes part of addresses and files.
#[must_use]
pub fn is_device_id(text: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=128).contains(&text.len()) && text.bytes().all(fine)
}

fn resolve_fleet(path: &Path, raw: RawFleet) -> Result<Option<Fleet>, Error> {
    let Some(url) = raw.url else { return Ok(None) };
    let known = ["http://", "https://", "file:///"].iter().any(|scheme| url.starts_with(scheme));
    if !known {
        let hint = "give the folder of `index.json` as `https://…`, `http://…` or `file:///…`";
        return Err(Error::Value { path: path.to_owned(), key: "fleet.url", value: url, hint });
    }
    Ok(Some(Fleet {
        url: url.trim_end_matches('/').trim_end_matches("/index.json").to_owned(),
        name: raw.name,
        trust: raw.trust.unwrap_or_else(|| "/etc/skiff/trust".into()),
        ca_file: raw.ca_file,
        user: raw.user.unwrap_or_else(|| "skiff-fetch".into()),
    }))
}

/// The wait of a device between two looks before it has seen an index that says so.
pub const FIRST_POLL: Span = Span::from_secs(60);

#[cfg(test)]
mod tests;
