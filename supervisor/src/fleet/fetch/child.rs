//! `skiffd fetch`: the process that talks to the network, and has nothing else. It reads requests from its standard input,
//! answers on its standard output, and ends when skiffd closes the pipe or dies.

use super::http::{self, Client};
use super::stick::Stick;
use super::wire::Words;
use super::wire::{Answer, BROKEN, Broken, Head, LONGEST_CHUNK, LONGEST_LINE, Ready, Reason, Request};
use crate::fleet::children;
use crate::fleet::confine::{self, Filter, Keep};
use anyhow::Context as _;
use rustix::thread::CapabilitySet;
use serde::Serialize;
use std::io::{self, BufRead, Read, Write};
use std::path::Path;
use std::process::ExitCode;

/// What a name server's client reads (`getaddrinfo(3)`), and where a C library looks for its parts.
const FILES: [&str; 7] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/ssl",
    "/usr/share/ca-certificates",
];
/// Bytes of address space: threads reserve much of it and use little.
const MEMORY: u64 = 768 << 20;

/// Runs the child.
pub fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("skiffd fetch: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let words: Words = children::words().context("this command is skiffd's own")?;
    let pem = match &words.ca {
        None => None,
        Some(path) => Some(std::fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?),
    };
    let client = Client::new(pem.as_deref()).map_err(anyhow::Error::msg).context("cannot use the certificates")?;
    let stick = words.folder.as_deref().map(Stick::open);
    let keep = Keep {
        read: &FILES.map(Path::new),
        read_folder: stick.as_ref().and_then(Stick::folder),
        write_folder: None,
        user: Some(&words.user),
        capabilities: CapabilitySet::empty(),
        memory: MEMORY,
        file: 0,
        filter: Filter::Network,
    };
    let not_enforced = confine::confine(&keep)?;
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    say(&mut output, &Ready { not_enforced })?;
    while let Some(request) = hear(&mut input)? {
        answer(&client, stick.as_ref(), &request, &mut output)?;
    }
    Ok(())
}

fn hear(input: &mut impl BufRead) -> anyhow::Result<Option<Request>> {
    let mut line = Vec::new();
    input.take(LONGEST_LINE).read_until(b'\n', &mut line).context("cannot read a request")?;
    if line.is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(&line).map(Some).context("a request is not understood")
}

/// Asks, and passes on what comes. An error is skiffd's, which has gone.
fn answer(client: &Client, stick: Option<&Stick>, request: &Request, to: &mut impl Write) -> anyhow::Result<()> {
    let outcome: Result<(Head, Option<Box<dyn Read>>), Broken> = match stick {
        Some(stick) if request.url.starts_with("file://") => {
            stick.ask(request).map(|(head, file)| (head, file.map(|file| Box::new(file) as Box<dyn Read>)))
        }
        _ => client.ask(request).map(|reply| (reply.head, Some(reply.body))),
    };
    match outcome {
        Err(broken) => say(to, &Answer::Failure(broken)),
        Ok((head, body)) => {
            let success = (200..300).contains(&head.status);
            say(to, &Answer::Status(head))?;
            match body.filter(|_| success) {
                Some(body) => pass(body, request.limit, to),
                None if success => end(to),
                None => Ok(()),
            }
        }
    }
}

/// Passes a body on, chunk by chunk, up to its limit.
fn pass(mut from: Box<dyn Read>, limit: u64, to: &mut impl Write) -> anyhow::Result<()> {
    let mut buffer = vec![0; LONGEST_CHUNK as usize];
    let mut passed = 0_u64;
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => return end(to),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return break_off(to, &http::broken_body(&error)),
        };
        passed += read as u64;
        if passed > limit {
            let text = format!("the answer is longer than {limit} bytes");
            return break_off(to, &Broken { reason: Reason::TooLarge, text });
        }
        to.write_all(&u32::try_from(read).unwrap_or(BROKEN).to_be_bytes()).context("skiffd is gone")?;
        to.write_all(&buffer[..read]).context("skiffd is gone")?;
    }
}

fn end(to: &mut impl Write) -> anyhow::Result<()> {
    to.write_all(&0_u32.to_be_bytes()).and_then(|()| to.flush()).context("skiffd is gone")
}

fn break_off(to: &mut impl Write, why: &Broken) -> anyhow::Result<()> {
    to.write_all(&BROKEN.to_be_bytes()).context("skiffd is gone")?;
    say(to, why)
}

fn say(to: &mut impl Write, words: &impl Serialize) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(words).context("an answer cannot be put into words")?;
    line.push(b'\n');
    to.write_all(&line).and_then(|()| to.flush()).context("skiffd is gone")
}
