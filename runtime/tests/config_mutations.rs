//! `config.json` as nobody would write it: every file of the fuzzer's corpus, and some thousand changes to each kind of place in
//! it, by the same seed every time. Each is planned or refused with a message; nothing panics, and nothing is asked of the machine.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use serde_json::{Value, json};

#[path = "../fuzz/rooms.rs"]
mod rooms;

/// Changes to each file, of the text and of the document.
const CHANGES: u64 = 400;

/// Xorshift: the same numbers everywhere, with no library.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % limit.max(1)
    }

    fn of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}

fn corpus() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/config");
    let entries = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.map(|path| (path.display().to_string(), fs::read(&path).unwrap())).collect();
    files.sort();
    assert!(files.len() >= 5, "the corpus is in {}", folder.display());
    files
}

/// Whether it was planned. The text is in the message of a failure.
fn decided(name: &str, text: &[u8]) -> bool {
    let seen = catch_unwind(|| rooms::decide(text));
    let said = || format!("{name}:\n{}", String::from_utf8_lossy(&text[..text.len().min(20_000)]));
    let decision = seen.unwrap_or_else(|_panic| panic!("a panic from {}", said()));
    decision.map_err(|message| assert!(!message.trim().is_empty(), "refused without a word: {}", said())).is_ok()
}

const TOKENS: [&str; 24] = [
    "null",
    "true",
    "-1",
    "0",
    "4294967296",
    "18446744073709551616",
    "1e400",
    "-0.0",
    "\"\"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "[]",
    "{}",
    "[",
    "}",
    ",",
    ":",
    "\"",
    "\\",
    "\u{feff}",
    "\"/proc/self/fd/7\"",
    "\"..\"",
    "\"rbind\"",
    "\"SCMP_ACT_NOTIFY\"",
];

/// Changes bytes, without regard for what they mean.
fn change_text(text: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut text = text.to_vec();
    for _ in 0..=chance.below(3) {
        let at = chance.below(text.len());
        let end = (at + chance.below(40)).min(text.len());
        match chance.below(5) {
            0 if !text.is_empty() => text[at] ^= 1 << chance.below(8),
            1 => drop(text.drain(at..end)),
            2 => {
                let part = text[at..end].to_vec();
                text.splice(at..at, part);
            }
            3 => text.truncate(at),
            _ => drop(text.splice(at..end, chance.of(&TOKENS).bytes())),
        }
    }
    text
}

/// What stands in the place of another value.
fn odd(chance: &mut Chance) -> Value {
    let values = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1),
        json!(i64::MIN),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(u32::MAX),
        json!(1u64 << 32),
        json!(0.5),
        json!(1e300),
        json!(""),
        json!("\u{0}"),
        json!("/"),
        json!("/../.."),
        json!("a:b:c"),
        json!("system.slice:a:b"),
        json!("é\u{1F600}".repeat(50)),
        json!("x".repeat(5000)),
        json!([]),
        json!({}),
        json!([[], {}, null]),
        json!([""]),
        json!({"": ""}),
        json!(["ro", "rw", "rbind", "idmap", "tmpcopyup", "mode=1", "rshared"]),
    ];
    chance.of(&values).clone()
}

/// The JSON pointers of every value of a document.
fn places(value: &Value, here: &str, found: &mut Vec<String>) {
    found.push(here.to_owned());
    match value {
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                places(value, &format!("{here}/{index}"), found);
            }
        }
        Value::Object(members) => {
            for (name, value) in members {
                places(value, &format!("{here}/{}", name.replace('~', "~0").replace('/', "~1")), found);
            }
        }
        _leaf => {}
    }
}

/// Changes values: one for another of the document or an odd one, elements twice or many times, members away.
fn change_document(document: &Value, chance: &mut Chance) -> Value {
    let mut all = Vec::new();
    places(document, "", &mut all);
    let mut changed = document.clone();
    for _ in 0..=chance.below(3) {
        let (from, to) = (chance.of(&all).as_str(), chance.of(&all).as_str());
        let other = document.pointer(from).unwrap().clone();
        let new = odd(chance);
        // An earlier change may have taken it away.
        let Some(place) = changed.pointer_mut(to) else { continue };
        match (chance.below(6), place) {
            (0, Value::Array(list)) if !list.is_empty() => {
                let element = chance.of(list).clone();
                list.extend(std::iter::repeat_n(element, 1 + chance.below(300)));
            }
            (1, Value::Array(list)) if !list.is_empty() => drop(list.remove(chance.below(list.len()))),
            (1, Value::Object(members)) if !members.is_empty() => {
                let name = members.keys().nth(chance.below(members.len())).unwrap().clone();
                members.remove(&name);
            }
            (2, place) => *place = other,
            (_, place) => *place = new,
        }
    }
    changed
}

#[test]
fn the_corpus_is_decided() {
    let planned = corpus().iter().filter(|(name, text)| decided(name, text)).count();
    assert!(planned >= 5, "only {planned} files of the corpus are planned: the mutations would begin with refusals");
}

#[test]
fn changed_texts_are_planned_or_refused() {
    let mut chance = Chance(0x005E_ED0F_5C1F);
    for (name, text) in corpus() {
        for change in 0..CHANGES {
            decided(&format!("{name}, change {change}"), &change_text(&text, &mut chance));
        }
    }
}

#[test]
fn changed_documents_are_planned_or_refused() {
    let mut chance = Chance(0x00D0_C50F_5C1F);
    let (mut planned, mut refused) = (0, 0);
    for (name, text) in corpus() {
        let Ok(document) = serde_json::from_slice::<Value>(&text) else { continue };
        for change in 0..CHANGES {
            let text = serde_json::to_vec(&change_document(&document, &mut chance)).unwrap();
            let count = if decided(&format!("{name}, change {change}"), &text) { &mut planned } else { &mut refused };
            *count += 1;
        }
    }
    println!("{planned} planned, {refused} refused");
    assert!(planned > 100 && refused > 100, "one-sided: {planned} planned, {refused} refused");
}
