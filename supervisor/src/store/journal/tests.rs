//! Journals on a real disk, cut short and damaged at every byte.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::store::tests::SmallDisk;

fn texts(lines: &Lines) -> Vec<&str> {
    lines.whole.iter().map(String::as_str).collect()
}

#[test]
fn lines_outlive_their_writer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let (mut journal, lines) = Journal::open(&path, 4096).unwrap();
    assert_eq!(lines, Lines::default());
    for text in ["fetched 412", "verified 412", ""] {
        journal.append(text).unwrap();
    }
    for text in ["x".repeat(LONGEST + 1), "two\nlines".into()] {
        assert!(matches!(journal.append(&text), Err(Error::Line { .. })));
    }
    journal.append(&"x".repeat(LONGEST)).unwrap();
    let longest = std::fs::read(&path).unwrap().split(|byte| *byte == b'\n').map(<[u8]>::len).max().unwrap();
    assert!(longest < 199, "{longest}");
    drop(journal);
    let (_, lines) = Journal::open(&path, 4096).unwrap();
    assert_eq!(texts(&lines), ["fetched 412", "verified 412", "", &"x".repeat(LONGEST)]);
    assert_eq!(lines.bad, 0);
}

#[test]
fn every_cut_loses_at_most_the_last_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let (mut journal, _) = Journal::open(&path, 4096).unwrap();
    journal.append("first").unwrap();
    let one = std::fs::read(&path).unwrap().len();
    journal.append("second").unwrap();
    let whole = std::fs::read(&path).unwrap();
    for length in one..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        let (mut journal, lines) = Journal::open(&path, 4096).unwrap();
        assert_eq!((texts(&lines), lines.bad), (vec!["first"], usize::from(length > one)));
        // The torn line does not swallow the next one.
        journal.append("third").unwrap();
        assert_eq!(texts(&read(&path).unwrap()), ["first", "third"]);
    }
}

#[test]
fn every_flip_loses_at_most_two_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let (mut journal, _) = Journal::open(&path, 4096).unwrap();
    let written = ["first", "second", "third"];
    for text in written {
        journal.append(text).unwrap();
    }
    let whole = std::fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let lines = read(&path).unwrap();
        assert!(lines.bad > 0 && !lines.whole.is_empty(), "{at}");
        assert!(lines.whole.iter().all(|line| written.contains(&line.as_str())), "{at}: {lines:?}");
    }
}

#[test]
fn the_older_half_goes_when_it_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let (mut journal, _) = Journal::open(&path, 1000).unwrap();
    for number in 0..500 {
        journal.append(&format!("line {number}")).unwrap();
        assert!(std::fs::metadata(&path).unwrap().len() <= 1000 + 200);
    }
    let lines = read(&path).unwrap();
    assert_eq!(lines.whole.last().unwrap(), "line 499");
    assert!(lines.whole.len() > 15 && lines.bad == 0, "{}", lines.whole.len());
}

#[test]
fn a_full_disk_loses_no_line_that_was_promised() {
    let Some(disk) = SmallDisk::mount() else { return };
    let path = disk.0.path().join("journal");
    let (mut journal, _) = Journal::open(&path, 1 << 20).unwrap();
    journal.append("first").unwrap();
    let filler = disk.0.path().join("filler");
    let _ends_when_full = std::fs::write(&filler, vec![0; 1 << 20]);
    let mut promised = vec!["first".to_owned()];
    let refused = (0..100).find_map(|number| {
        let text = format!("{number:0>150}");
        journal.append(&text).map(|()| promised.push(text)).err()
    });
    assert!(matches!(refused, Some(Error::File { .. })), "{refused:?}");
    std::fs::remove_file(&filler).unwrap();
    journal.append("last").unwrap();
    promised.push("last".into());
    let lines = read(&path).unwrap();
    assert_eq!((lines.whole, lines.bad), (promised, 0));
}

#[test]
fn a_disk_that_takes_nothing_hinders_no_reader_and_heals() {
    let Some(disk) = SmallDisk::mount() else { return };
    let path = disk.0.path().join("journal");
    let (mut journal, _) = Journal::open(&path, 1 << 20).unwrap();
    journal.append("first").unwrap();
    drop(journal);
    // A torn line as well, which would be mended at once on another disk.
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.extend(b"torn");
    std::fs::write(&path, bytes).unwrap();
    let remount = |flags| rustix::mount::mount_remount(disk.0.path(), flags, "").unwrap();
    remount(rustix::mount::MountFlags::RDONLY);
    let (mut journal, lines) = Journal::open(&path, 1 << 20).unwrap();
    assert_eq!(texts(&lines), ["first"]);
    assert!(matches!(journal.append("second"), Err(Error::File { .. })));
    remount(rustix::mount::MountFlags::empty());
    journal.append("third").unwrap();
    journal.append("fourth").unwrap();
    assert_eq!(read(&path).unwrap(), Lines { whole: ["first", "third", "fourth"].map(Into::into).into(), bad: 0 });
}
