//! Stories of a device: a script in, what is done and decided out, compared with the text that lies beside the script.
//!
//! `tests/scenarios/NAME.txt` is told line by line, and the outcome is compared with `NAME.plan`. After a change that is
//! meant, `SKIFF_GOLDEN=write cargo test -p skiff-planner --test scenarios` writes the outcomes anew; read the difference.
//!
//! | line | meaning |
//! |---|---|
//! | `release VERSION` … `end` | services as JSON, each line between the two |
//! | `gate {…}` | the gate, as JSON |
//! | `fleet VERSION` | the fleet wants this release from now on |
//! | `behave WHOSE exits N after SPAN` | programs of a service (`web`, or `web@2` in one release) end so |
//! | `behave WHOSE oom after SPAN` | … are killed at the memory limit |
//! | `behave WHOSE KIND fails SAYING after SPAN`, `… succeeds after SPAN` | … answer one probe so |
//! | `exit INSTANCE N`, `oom INSTANCE` | one ends now |
//! | `probe INSTANCE KIND fails SAYING`, `… succeeds` | one is probed now |
//! | `killed` | skiffd is killed and started again: what it was doing is undone, what runs runs on |
//! | `lost INSTANCE`, `found INSTANCE` | its shim cannot be asked, and can again |
//! | `wait SPAN` | time passes |
//! | `why` | every reason why an instance is not as desired |
//! | `# …` | is copied |
#![allow(clippy::disallowed_methods, reason = "a test reads its scripts; the planner reads nothing")]
#![allow(clippy::unwrap_used, reason = "a test ends there")]

#[path = "model/world.rs"]
mod world;

use skiff_planner::health::{Outcome, ProbeKind};
use skiff_planner::name::InstanceId;
use skiff_planner::observed::{Exit, State};
use skiff_planner::plan::plan;
use skiff_planner::span::Span;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use world::{Behaviour, Happening, World, desired, release_id};

#[test]
fn stories_end_as_they_should() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut scripts: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    scripts.sort();
    assert!(scripts.len() >= 7, "{scripts:?}");
    let write = std::env::var("SKIFF_GOLDEN").is_ok_and(|word| word == "write");
    let mut different = Vec::new();
    for script in scripts {
        let told = tell(&std::fs::read_to_string(&script).unwrap());
        let golden = script.with_extension("plan");
        if write {
            std::fs::write(&golden, &told).unwrap();
        } else if std::fs::read_to_string(&golden).unwrap_or_default() != told {
            different.push(format!("{}:\n{told}", golden.display()));
        }
    }
    assert!(different.is_empty(), "SKIFF_GOLDEN=write writes these anew\n{}", different.join("\n"));
}

fn tell(script: &str) -> String {
    let mut world = World::new();
    let mut lines = script.lines();
    while let Some(line) = lines.next() {
        if line.starts_with('#') {
            world.told.push(line.to_owned());
        } else if let Some(version) = line.strip_prefix("release ") {
            let services: Vec<_> = lines.by_ref().take_while(|line| *line != "end").collect();
            let services = serde_json::from_str(&services.join("\n")).unwrap_or_else(|error| panic!("{line}: {error}"));
            world.releases.insert(version.to_owned(), desired(version, services));
        } else if let Some(gate) = line.strip_prefix("gate ") {
            world.gate = serde_json::from_str(gate).unwrap();
        } else if !line.trim().is_empty() {
            command(&mut world, line);
        }
    }
    world.told.join("\n") + "\n"
}

fn command(world: &mut World, line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["fleet", version] => world.target = Some(release_id(version)),
        ["behave", whose, ref rest @ .., "after", span] => {
            let what = happening(rest).unwrap_or_else(|| panic!("not understood: {line}"));
            world.behaviours.push(Behaviour { whose: whose.into(), what, after: span.parse().unwrap() });
            return;
        }
        ["exit", id, code] => world.end(&instance(id), Exit::Status { code: code.parse().unwrap(), oom: false }),
        ["oom", id] => world.end(&instance(id), Exit::Status { code: 137, oom: true }),
        ["probe", id, ref rest @ ..] => match happening(rest) {
            Some(Happening::Probed(kind, outcome)) => world.probe(&instance(id), kind, outcome),
            other => panic!("not understood: {line}: {other:?}"),
        },
        ["killed"] => world.restart(),
        ["lost", id] => world.observed.instances.get_mut(&instance(id)).unwrap().state = State::Unknown,
        ["found", id] => {
            let since = world.now;
            world.observed.instances.get_mut(&instance(id)).unwrap().state = State::Running { since };
        }
        ["wait", span] => {
            let span: Span = span.parse().unwrap();
            return world.wait(span);
        }
        ["why"] => return why(world),
        _ => panic!("not understood: {line}"),
    }
    world.tell(&format!("-- {line}"));
    world.look();
}

fn instance(text: &str) -> InstanceId {
    text.parse().unwrap()
}

fn happening(words: &[&str]) -> Option<Happening> {
    let kinds: BTreeMap<_, _> =
        [("startup", ProbeKind::Startup), ("readiness", ProbeKind::Readiness), ("liveness", ProbeKind::Liveness)]
            .into();
    match *words {
        ["exits", code] => Some(Happening::Exits(Exit::Status { code: code.parse().ok()?, oom: false })),
        ["oom"] => Some(Happening::Exits(Exit::Status { code: 137, oom: true })),
        [kind, "succeeds"] => Some(Happening::Probed(*kinds.get(kind)?, Outcome::Success)),
        [kind, "fails", saying] => Some(Happening::Probed(*kinds.get(kind)?, Outcome::Failure(saying.into()))),
        _ => None,
    }
}

/// As `skiffctl why` would ask: a plan that is made and not done.
fn why(world: &mut World) {
    let plan = plan(world.desired(), &world.observed, &world.ledger, world.now);
    world.tell("-- why");
    for (id, reason) in &plan.reasons {
        world.told.push(format!("          {id}: {reason}"));
    }
    if plan.reasons.is_empty() {
        world.told.push("          all is as desired".into());
    }
}
