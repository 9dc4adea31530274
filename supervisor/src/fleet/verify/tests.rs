//! What is refused, and with which word.
#![allow(clippy::unwrap_used)]

use super::*;
use minisign::KeyPair;
use std::path::Path;

/// A folder of trusted keys with one key, and the key's other half.
struct Trust {
    folder: tempfile::TempDir,
    pair: KeyPair,
}

impl Trust {
    fn new() -> Self {
        let trust =
            Self { folder: tempfile::tempdir().unwrap(), pair: KeyPair::generate_unencrypted_keypair().unwrap() };
        trust.add("fleet.pub", &trust.pair);
        trust
    }

    fn add(&self, name: &str, pair: &KeyPair) {
        std::fs::write(self.folder.path().join(name), pair.pk.to_box().unwrap().to_string()).unwrap();
    }

    fn keys(&self) -> Keys {
        Keys::read(self.folder.path()).unwrap()
    }

    fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        sign(&self.pair, bytes)
    }

    fn judge(&self, bytes: &[u8], memory: &Memory) -> Result<Judged, Refusal> {
        judge(bytes, &self.sign(bytes), &self.keys(), memory, None)
    }
}

fn sign(pair: &KeyPair, bytes: &[u8]) -> Vec<u8> {
    minisign::sign(None, &pair.sk, bytes, Some("timestamp:1700000000\tfile:index.json"), None)
        .unwrap()
        .to_string()
        .into()
}

fn index(serial: u64) -> Vec<u8> {
    format!(
        r#"{{"apiVersion":"skiff.dev/v1","kind":"Fleet","metadata":{{"name":"kiosks","serial":{serial}}},"releases":{{}}}}"#
    )
    .into_bytes()
}

fn seen(serial: u64) -> Memory {
    Memory { fleet: Some("kiosks".into()), serial, digest: Some(digest::of(&index(serial))), signed: Some(5) }
}

#[test]
fn what_a_trusted_key_signed_is_believed() {
    let trust = Trust::new();
    let judged = trust.judge(&index(412), &Memory::default()).unwrap();
    assert_eq!(judged.key, trust.keys().ids()[0]);
    let comment = std::fs::read_to_string(trust.folder.path().join("fleet.pub")).unwrap();
    assert!(comment.contains(&judged.key), "minisign's own words for the key: {comment}");
    let remembered = Memory { signed: Some(1_700_000_000), ..seen(412) };
    assert_eq!(judged.memory, remembered);
    // The same once more, and the next.
    assert_eq!(trust.judge(&index(412), &remembered).unwrap().memory, remembered);
    assert_eq!(trust.judge(&index(413), &remembered).unwrap().memory.serial, 413);
    // A time that was vouched for is not forgotten.
    let later = Memory { signed: Some(1_800_000_000), ..remembered };
    assert_eq!(trust.judge(&index(413), &later).unwrap().memory.signed, later.signed);
}

#[test]
fn any_one_of_the_keys_will_do() {
    let trust = Trust::new();
    let second = KeyPair::generate_unencrypted_keypair().unwrap();
    let bytes = index(1);
    let refused = judge(&bytes, &sign(&second, &bytes), &trust.keys(), &Memory::default(), None).unwrap_err();
    assert_eq!(refused.reason(), "unknown_key");
    trust.add("second.pub", &second);
    let judged = judge(&bytes, &sign(&second, &bytes), &trust.keys(), &Memory::default(), None).unwrap();
    assert!(refused.to_string().contains(&judged.key), "{refused}");
}

#[test]
fn every_flipped_byte_of_index_and_signature_is_refused() {
    let trust = Trust::new();
    let (bytes, keys) = (index(412), trust.keys());
    let signature = trust.sign(&bytes);
    // The first line is a comment that is not signed, by minisign's design: nothing is read from it.
    let signed_from = signature.iter().position(|byte| *byte == b'\n').unwrap();
    for bit in 0..8 {
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            assert!(judge(&flipped, &signature, &keys, &Memory::default(), None).is_err(), "index {at} {bit}");
        }
        for at in signed_from..signature.len() - 1 {
            let mut flipped = signature.clone();
            flipped[at] ^= 1 << bit;
            assert!(judge(&bytes, &flipped, &keys, &Memory::default(), None).is_err(), "signature {at} {bit}");
        }
    }
    for length in 0..signature.len() - 1 {
        let refused = judge(&bytes, &signature[..length], &keys, &Memory::default(), None).unwrap_err();
        assert_eq!(refused.reason(), "signature", "{length}");
    }
}

#[test]
fn documents_that_are_refused() {
    let trust = Trust::new();
    let text = String::from_utf8(index(412)).unwrap();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("empty", Vec::new()),
        ("empty", b" \n".to_vec()),
        ("not_json", b"<html>Sign in to the network</html>".to_vec()),
        ("cut_off", text.as_bytes()[..40].to_vec()),
        ("syntax", text.replace("\"kiosks\"", "").into_bytes()),
        ("syntax", text.replace("releases", "relases").into_bytes()),
        ("syntax", text.replace("skiff.dev/v1", "skiff.dev/v2").into_bytes()),
        ("syntax", text.replace("Fleet", "Release").into_bytes()),
        ("syntax", text.replace("{}", r#"{"1":"releases/1.yaml"}"#).into_bytes()),
        ("syntax", text.replace("412", "NaN").into_bytes()),
        ("syntax", text.replace("412", "-1").into_bytes()),
        ("syntax", text.replace("412", "412,\"serial\":413").into_bytes()),
        ("syntax", text.replace("kiosks", "kio\u{1}sks").into_bytes()),
        ("syntax", [b"{\"apiVersion\":\"\xff\"", &text.as_bytes()[1..]].concat()),
        ("syntax", format!("{}{}", "{\"a\":".repeat(100_000), "}".repeat(100_000)).into_bytes()),
        ("lint", text.replace("{}}", r#"{},"groups":[{"name":"all","release":"gone"}]}"#).into_bytes()),
        ("lint", text.replace("{}}", r#"{},"poll":{"interval":"1ms"}}"#).into_bytes()),
        ("fast_forward", index(HIGHEST_SERIAL + 1)),
        ("fast_forward", index(u64::MAX)),
        ("rollback", index(410)),
        ("rollback", index(0)),
        ("rewritten", text.replace("{}}", "{} }").replace("412", "411").into_bytes()),
        ("other_fleet", text.replace("kiosks", "tills").into_bytes()),
    ];
    for (reason, bytes) in cases {
        let refused = trust.judge(&bytes, &seen(411)).unwrap_err();
        assert_eq!(refused.reason(), reason, "{refused}");
        assert!(!refused.to_string().contains('\n') && refused.to_string().len() < 300, "{refused}");
    }
}

#[test]
fn the_settings_may_choose_another_fleet_and_its_serials_count_anew() {
    let trust = Trust::new();
    let bytes = String::from_utf8(index(3)).unwrap().replace("kiosks", "tills").into_bytes();
    let judged = judge(&bytes, &trust.sign(&bytes), &trust.keys(), &seen(411), Some("tills")).unwrap();
    assert_eq!((judged.memory.fleet.as_deref(), judged.memory.serial), (Some("tills"), 3));
    let refused = judge(&index(412), &trust.sign(&index(412)), &trust.keys(), &seen(411), Some("tills")).unwrap_err();
    assert_eq!(refused.reason(), "other_fleet");
}

#[test]
fn a_serial_may_be_the_highest() {
    assert!(Trust::new().judge(&index(HIGHEST_SERIAL), &seen(411)).is_ok());
}

#[test]
fn without_a_key_nothing_is_believed() {
    let bytes = index(1);
    let signature = Trust::new().sign(&bytes);
    for folder in [Path::new("/nonexistent"), tempfile::tempdir().unwrap().path()] {
        let keys = Keys::read(folder).unwrap();
        let refused = judge(&bytes, &signature, &keys, &Memory::default(), None).unwrap_err();
        assert_eq!(refused.reason(), "no_keys");
    }
}

#[test]
fn a_key_that_is_none_is_named() {
    let trust = Trust::new();
    std::fs::write(trust.folder.path().join("broken.pub"), "untrusted comment: x\nRWbroken\n").unwrap();
    let error = Keys::read(trust.folder.path()).unwrap_err();
    assert!(error.to_string().contains("broken.pub"), "{error}");
}
