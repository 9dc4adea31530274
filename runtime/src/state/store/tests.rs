//! The store on a real folder.

use super::*;
use crate::state::{Phase, Record};

fn record(id: &str) -> Record {
    serde_json::from_value(serde_json::json!({
        "oci_version": "1.0.2", "id": id, "bundle": "/b", "rootfs": "/r", "created": "", "owner": 0, "boot_id": "x",
        "phase": "creating", "init": null, "cgroup": { "dirs": [] }
    }))
    .unwrap()
}

fn id(text: &str) -> ContainerId {
    text.parse().unwrap()
}

#[test]
fn an_id_is_claimed_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_or_make(&folder.path().join("a/b")).unwrap();
    let (entry, lock) = store.claim(&id("x")).unwrap();
    assert!(matches!(store.claim(&id("x")), Err(Error::Exists(_))));
    assert!(matches!(entry.load(), Err(Error::Unfinished(_))));
    assert!(matches!(entry.lock(), Err(Error::Busy(_))));
    drop(lock);
    assert!(entry.lock().is_ok());
    assert_eq!(store.ids().unwrap(), [id("x")]);
}

#[test]
fn a_record_is_published_whole_and_goes_last() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_or_make(folder.path()).unwrap();
    let (entry, _lock) = store.claim(&id("x")).unwrap();
    entry.save(&record("x")).unwrap();
    let mut made = entry.load().unwrap();
    made.phase = Phase::Made;
    entry.save(&made).unwrap();
    assert_eq!(store.entry(&id("x")).unwrap().load().unwrap().phase, Phase::Made);
    // What a writer that was killed in the middle leaves does no harm.
    std::fs::write(folder.path().join("x").join(RECORD_NEW), b"{\"half").unwrap();
    assert_eq!(entry.load().unwrap().phase, Phase::Made);
    entry.remove().unwrap();
    assert!(matches!(store.entry(&id("x")), Err(Error::Absent(_))));
    entry.remove().unwrap();
}

#[test]
fn a_lock_on_a_removed_container_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_or_make(folder.path()).unwrap();
    let (entry, lock) = store.claim(&id("x")).unwrap();
    entry.remove().unwrap();
    drop(lock);
    assert!(matches!(entry.lock(), Err(Error::Absent(_))));
}

#[test]
fn a_foreign_record_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_or_make(folder.path()).unwrap();
    let (entry, _lock) = store.claim(&id("x")).unwrap();
    std::fs::write(folder.path().join("x/state.json"), b"{}").unwrap();
    let text = entry.load().err().map(|error| error.to_string()).unwrap();
    assert!(text.contains("`x`") && text.contains("state.json"), "{text}");
}
