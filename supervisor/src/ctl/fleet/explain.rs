//! `skiffctl fleet explain`: which release a device gets from a folder, and why. The choice is the planner's own, as it is
//! made on the device; here it is only asked for and shown.

mod text;

use super::source;
use crate::config::{self, RawDeviceFile};
use crate::fleet::library;
use crate::store;
use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use serde::Serialize;
use skiff_planner::fleet::{Fleet, ReleaseRef};
use skiff_planner::lint;
use skiff_planner::name::{InstanceId, ServiceName};
use skiff_planner::release::{Release, Service};
use skiff_planner::select::{self, Device, Explanation};
use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What was typed.
#[derive(Args)]
pub(in crate::ctl) struct Arguments {
    /// The device's `device.toml`; `--id` and `--label` go before what it says
    #[arg(long, value_name = "FILE")]
    device_file: Option<PathBuf>,
    /// The device's id
    #[arg(long, visible_alias = "device", value_name = "ID", required_unless_present = "device_file")]
    id: Option<String>,
    /// A label of the device; may be given again
    #[arg(long, visible_alias = "labels", value_name = "KEY=VALUE", value_parser = label)]
    label: Vec<(String, String)>,
    /// How it is shown
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// The folder with fleet.yaml, or the one that `build` made
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs: everything, with every default filled in
    Json,
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as `key=value`".to_owned()),
    }
}

/// Everything that is shown.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    device: &'a str,
    labels: &'a BTreeMap<String, String>,
    /// The index that was read.
    index: &'a Path,
    fleet: &'a str,
    serial: u64,
    #[serde(flatten)]
    explanation: Explanation,
    /// The document of the release, if the device has one.
    document: Option<PathBuf>,
    services: BTreeMap<ServiceName, Resolved>,
}

/// A service with every default filled in.
#[derive(Serialize)]
struct Resolved {
    instances: Vec<InstanceId>,
    #[serde(flatten)]
    service: Service,
}

/// Explains. Status 1 means that the device has no release.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let device = device(arguments)?;
    let Some(folder) = Folder::read(&arguments.folder)? else { return Ok(ExitCode::FAILURE) };
    let explanation = select::explain(&folder.fleet, &device);
    let found = explanation.version.as_deref().map(|version| folder.release(version)).transpose()?;
    let (document, services) = found.map_or((None, BTreeMap::new()), |(path, release)| (Some(path), resolve(release)));
    let metadata = &folder.fleet.metadata;
    let shown = Shown {
        device: &device.id,
        labels: &device.labels,
        index: &folder.index,
        fleet: &metadata.name,
        serial: metadata.serial,
        explanation,
        document,
        services,
    };
    let text = match arguments.format {
        Format::Text => text::render(&shown),
        Format::Json => serde_json::to_string_pretty(&shown).context("cannot write it as JSON")? + "\n",
    };
    io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")?;
    if shown.explanation.version.is_none() {
        bail!(
            "device `{}` has no release: no group matches and there is no pin, so what runs there is left alone; add a group \
             or a pin, or change its labels",
            device.id
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn device(arguments: &Arguments) -> anyhow::Result<Device> {
    let file = match &arguments.device_file {
        None => RawDeviceFile::default(),
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
            toml::from_str(&text).with_context(|| format!("`{}` is not understood", path.display()))?
        }
    };
    let id = arguments.id.clone().or(file.id);
    let id = id.context("the device's file has no `id`, and its host name is not known here; give it with `--id`")?;
    if !config::is_device_id(&id) {
        bail!("`{}` is not a device's id; give 1 to 128 letters, digits, `-`, `_` and `.`", id.escape_default());
    }
    let mut labels = file.labels;
    labels.extend(arguments.label.iter().cloned());
    Ok(Device { id, labels })
}

fn resolve(release: Release) -> BTreeMap<ServiceName, Resolved> {
    let instances = |name: &ServiceName, service: &Service| {
        (0..service.deploy.replicas.0).map(|replica| InstanceId { service: name.clone(), replica }).collect()
    };
    let resolved = release.services.into_iter().map(|(name, service)| {
        let instances = instances(&name, &service);
        (name, Resolved { instances, service })
    });
    resolved.collect()
}

/// A folder of documents, as people write them or as devices take them.
struct Folder {
    index: PathBuf,
    fleet: Fleet,
    /// Of a folder that people write; a built one is read when it is clear which release is asked for.
    releases: BTreeMap<String, (PathBuf, Release)>,
}

impl Folder {
    /// Nothing where what people wrote is wrong, which is then said.
    fn read(folder: &Path) -> anyhow::Result<Option<Self>> {
        let (written, built) = (folder.join("fleet.yaml"), folder.join("index.json"));
        if written.is_file() {
            let source = match source::read(folder) {
                Ok(source) => source,
                Err(problems) => {
                    source::complain(&problems);
                    return Ok(None);
                }
            };
            source::complain(&source.warnings);
            return Ok(Some(Self { index: written, fleet: source.fleet, releases: source.releases }));
        }
        let bytes = store::read_bytes(&built)?.with_context(|| {
            format!("`{}` has neither `fleet.yaml` nor `index.json`; give the folder of a fleet", folder.display())
        })?;
        let wrong = || format!("`{}` is not an index", built.display());
        let fleet: Fleet = serde_json::from_slice(&bytes).with_context(wrong)?;
        let problems = lint::fleet(&fleet, &BTreeMap::new());
        if let Some(problem) = problems.iter().find(|problem| problem.severity == lint::Severity::Error) {
            bail!("`{}`: {problem}", built.display());
        }
        Ok(Some(Self { index: built, fleet, releases: BTreeMap::new() }))
    }

    /// A release, and the file that it is in. That every version has one is the lint's affair.
    fn release(&self, version: &str) -> anyhow::Result<(PathBuf, Release)> {
        if let Some((path, release)) = self.releases.get(version) {
            return Ok((self.index.with_file_name(path), release.clone()));
        }
        let Some(ReleaseRef::Built { digest, .. }) = self.fleet.releases.get(version) else {
            bail!("`{}` names no digest for the release `{version}`; build it again", self.index.display());
        };
        let path = self.index.with_file_name("releases").join(format!("{}.json", digest.file_name()));
        let bytes = store::read_bytes(&path)?
            .with_context(|| format!("the release `{version}` is missing: there is no `{}`", path.display()))?;
        let release = library::judge_release(digest, &bytes)?;
        Ok((path, release))
    }
}
