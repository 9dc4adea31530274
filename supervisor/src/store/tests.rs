//! Documents on a real disk, cut short and damaged at every byte.
#![allow(clippy::unwrap_used)]

use super::*;
use serde::Deserialize;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Note {
    serial: u64,
    text: String,
}

fn note(serial: u64) -> Note {
    Note { serial, text: format!("edition {serial}") }
}

/// A folder in which editions 1 and 2 were published.
fn two_editions() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("note.json");
    publish(&path, &note(1)).unwrap();
    publish(&path, &note(2)).unwrap();
    (folder, path)
}

#[test]
fn what_was_published_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("note.json");
    assert_eq!(load::<Note>(&path).unwrap(), None);
    for serial in 1..4 {
        publish(&path, &note(serial)).unwrap();
        assert_eq!(load(&path).unwrap(), Some(note(serial)));
    }
    let mut names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["note.json", "note.json.previous"]);
    remove(&path).unwrap();
    assert_eq!(load::<Note>(&path).unwrap(), None);
    remove(&path).unwrap();
}

#[test]
fn every_cut_and_every_flip_gives_the_newer_or_the_older() {
    let (_folder, path) = two_editions();
    let whole = std::fs::read(&path).unwrap();
    for length in 0..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert!(matches!(find::<Note>(&path).unwrap(), Found::Previous(older, _) if older == note(1)), "{length}");
    }
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            std::fs::write(&path, &bytes).unwrap();
            assert!(
                matches!(find::<Note>(&path).unwrap(), Found::Previous(older, _) if older == note(1)),
                "{at} {bit}"
            );
        }
    }
}

#[test]
fn a_writer_that_died_anywhere_leaves_one_of_both() {
    // The states that the steps of `publish` leave on disk, in order.
    let (_folder, path) = two_editions();
    let next = {
        let body = serde_json::to_vec_pretty(&note(3)).unwrap();
        [checksum(&body).as_bytes(), b"\n", &body].concat()
    };
    for length in 0..=next.len() {
        std::fs::write(new(&path), &next[..length]).unwrap();
        assert_eq!(load(&path).unwrap(), Some(note(2)));
    }
    std::fs::rename(&path, previous(&path)).unwrap();
    assert_eq!(load(&path).unwrap(), Some(note(2)));
    std::fs::rename(new(&path), &path).unwrap();
    assert_eq!(load(&path).unwrap(), Some(note(3)));
}

#[test]
fn a_garbled_newest_does_not_displace_the_older() {
    let (_folder, path) = two_editions();
    std::fs::write(&path, b"sha256:0\n{}").unwrap();
    publish(&path, &note(3)).unwrap();
    std::fs::write(&path, b"").unwrap();
    assert_eq!(load(&path).unwrap(), Some(note(1)));
}

#[test]
fn nothing_readable_is_an_error_that_names_the_file() {
    let (_folder, path) = two_editions();
    std::fs::write(&path, b"x").unwrap();
    std::fs::write(previous(&path), b"").unwrap();
    let error = load::<Note>(&path).unwrap_err();
    assert!(error.to_string().contains("note.json` is garbled"), "{error}");
}

#[test]
fn a_document_of_another_kind_is_not_taken() {
    let (_folder, path) = two_editions();
    publish(&path, &["another", "kind"]).unwrap();
    assert!(matches!(find::<Note>(&path).unwrap(), Found::Previous(older, Error::Content { .. }) if older == note(2)));
}

#[test]
fn a_full_disk_keeps_the_older() {
    let Some(disk) = SmallDisk::mount() else { return };
    let path = disk.0.path().join("note.json");
    publish(&path, &note(1)).unwrap();
    let large = Note { serial: 2, text: "x".repeat(256 << 10) };
    let error = publish(&path, &large).unwrap_err();
    assert!(matches!(&error, Error::File { source, .. } if source.kind() == io::ErrorKind::StorageFull), "{error:?}");
    assert_eq!(load(&path).unwrap(), Some(note(1)));
    // The room that the attempt took is free again.
    publish(&path, &note(3)).unwrap();
    assert_eq!(load(&path).unwrap(), Some(note(3)));
}

/// A tmpfs of 64 KiB.
pub(super) struct SmallDisk(pub(super) tempfile::TempDir);

impl SmallDisk {
    pub(super) fn mount() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root, to mount a small disk");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        rustix::mount::mount("tmpfs", folder.path(), "tmpfs", rustix::mount::MountFlags::empty(), c"size=64k").unwrap();
        Some(Self(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        rustix::mount::unmount(self.0.path(), rustix::mount::UnmountFlags::DETACH).unwrap();
    }
}
