//! `skiffctl fleet keygen`: a pair of keys that `minisign` understands as well. Nothing is ever overwritten: a lost key
//! means a walk to every device.

use super::key;
use anyhow::{Context as _, bail};
use clap::Args;
use minisign::KeyPair;
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What was typed.
#[derive(Args)]
pub(in crate::ctl) struct Arguments {
    /// NAME.key and NAME.pub are made; neither may exist
    #[arg(default_value = "fleet")]
    name: PathBuf,
    #[command(flatten)]
    password: key::Password,
}

/// Makes the pair.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let (secret, public) = (with_suffix(&arguments.name, ".key"), with_suffix(&arguments.name, ".pub"));
    for path in [&secret, &public] {
        if path.symlink_metadata().is_ok() {
            bail!("`{}` exists and is not overwritten; take another name or move it away", path.display());
        }
    }
    let pair = if arguments.password.none() {
        KeyPair::generate_unencrypted_keypair()
    } else {
        KeyPair::generate_encrypted_keypair(arguments.password.read()?)
    };
    let pair = pair.context("cannot make a key")?;
    let boxed = pair.sk.to_box(Some("minisign secret key of a Skiff fleet")).context("cannot write the key down")?;
    let shown = pair.pk.to_box().context("cannot write the key down")?.to_string();
    write_first(&secret, &boxed.to_string(), Mode::RUSR | Mode::WUSR)?;
    write_first(&public, &shown, Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH)?;
    let id: String = pair.pk.keynum().iter().rev().map(|byte| format!("{byte:02X}")).collect();
    println!("key {id}");
    println!("  {}   signs; keep it secret, and a copy of it safe", secret.display());
    println!("  {}   goes to /etc/skiff/trust/ of each device", public.display());
    if arguments.password.none() {
        println!("  the secret key is not protected by a password: whoever reads the file can sign");
    }
    Ok(ExitCode::SUCCESS)
}

fn with_suffix(name: &Path, suffix: &str) -> PathBuf {
    let mut name = name.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn write_first(path: &Path, text: &str, mode: Mode) -> anyhow::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let write = || -> std::io::Result<()> {
        let mut file = File::from(rustix::fs::open(path, flags, mode)?);
        // minisign wants a last line that ends.
        file.write_all(format!("{}\n", text.trim_end()).as_bytes())?;
        file.sync_all()
    };
    write().with_context(|| format!("cannot write `{}`", path.display()))
}
