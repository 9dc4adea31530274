//! `-info`: what this shim and its runtime can do, as containerd 2 asks before it offers them to Kubernetes.

use crate::exits::Reaper;
use crate::options;
use crate::runtime::{Streams, Verb};
use crate::task::default_runtime;
use anyhow::Context;
use containerd_shim_protos::types::introspection::{RuntimeInfo, RuntimeVersion};
use protobuf::Message;
use protobuf::well_known_types::any::Any;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

/// How Go names the type of the runtime specification's features document.
const FEATURES: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";

pub(super) fn info() -> anyhow::Result<()> {
    let mut input = Vec::new();
    std::io::stdin().take(4 << 20).read_to_end(&mut input).context("the options on standard input")?;
    let any = Any::parse_from_bytes(&input).context("standard input is not an options message")?;
    let chosen = options::read(Some(&any).filter(|any| !any.type_url.is_empty()))?;
    let runtime = default_runtime(&chosen, "default")?;
    let scheduler = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let features = scheduler.block_on(async {
        let reaper = Arc::new(Reaper::default());
        reaper.begin()?;
        anyhow::Ok(runtime.call(&reaper, Path::new("/dev/null"), "", &Verb::Features, Streams::Captured).await?)
    })?;
    let mut info = RuntimeInfo::new();
    info.name = "io.containerd.skiff.v1".to_owned();
    info.set_version(RuntimeVersion { version: env!("CARGO_PKG_VERSION").to_owned(), ..Default::default() });
    info.set_features(Any { type_url: FEATURES.to_owned(), value: features, ..Any::default() });
    let bytes = info.write_to_bytes().expect("a message in memory is written to memory");
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&bytes).and_then(|()| stdout.flush()).context("the answer is not taken")
}
