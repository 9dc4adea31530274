//! Logs of real files, rotated as the shim does it.

use super::super::answer::feed;
use super::*;
use http_body_util::BodyExt;
use std::fs;
use std::io::Write;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Appends lines of the given seconds to a log.
    fn write(&self, file: &str, seconds: impl IntoIterator<Item = u64>) {
        let mut log = fs::OpenOptions::new().append(true).create(true).open(self.0.path().join(file)).unwrap();
        for second in seconds {
            writeln!(log, "{} stdout F {second}", time(second)).unwrap();
        }
    }

    fn rotate(&self, id: &str) {
        let path = |number: u32| self.0.path().join(format!("{id}.log.{number}"));
        for number in (1..9).rev().filter(|number| path(*number).exists()) {
            fs::rename(path(number), path(number + 1)).unwrap();
        }
        fs::rename(self.0.path().join(format!("{id}.log")), path(1)).unwrap();
    }

    fn instances(&self, text: &str) -> Vec<InstanceId> {
        select(&name(text), list(self.0.path()).unwrap())
    }

    async fn read(&self, text: &str, reading: Reading) -> Vec<Line> {
        let logs = Logs::open(self.0.path(), &name(text), &self.instances(text), &reading).unwrap();
        let (feed, response) = feed();
        let (body, ()) = tokio::join!(response.into_body().collect(), logs.tell(reading, feed));
        let bytes = body.unwrap().to_bytes();
        bytes
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }

    /// The lines as seconds.
    async fn seconds(&self, text: &str, reading: Reading) -> Vec<u64> {
        self.read(text, reading).await.iter().map(|line| line.text.parse().unwrap()).collect()
    }
}

fn time(second: u64) -> String {
    humantime::format_rfc3339_nanos(at(second)).to_string()
}

fn at(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(second)
}

fn name(text: &str) -> Name {
    Name { text: text.into(), instance: text.parse().ok() }
}

fn tail(lines: u64) -> Reading {
    Reading { tail: Some(lines), ..Reading::default() }
}

fn since(second: u64) -> Reading {
    Reading { since: Some(at(second)), ..Reading::default() }
}

#[tokio::test]
async fn all_files_from_the_oldest_on() {
    let folder = Folder::new();
    folder.write("web-0.log", 0..3);
    folder.rotate("web-0");
    folder.write("web-0.log", 3..5);
    folder.rotate("web-0");
    folder.write("web-0.log", 5..9);
    assert_eq!(folder.seconds("web-0", Reading::default()).await, (0..9).collect::<Vec<_>>());
    let first = folder.read("web-0", Reading::default()).await.swap_remove(0);
    let wanted = Line {
        time: "1970-01-01T00:00:00.000000000Z".into(),
        stream: Stream::Stdout,
        partial: false,
        text: "0".into(),
        instance: "web-0".into(),
    };
    assert_eq!(first, wanted);
    for lines in 0..12 {
        let wanted: Vec<_> = (9_u64.saturating_sub(lines)..9).collect();
        assert_eq!(folder.seconds("web-0", tail(lines)).await, wanted, "{lines}");
    }
    assert_eq!(folder.seconds("web-0", tail(u64::MAX)).await.len(), 9);
    for second in 0..11 {
        assert_eq!(folder.seconds("web-0", since(second)).await, (second..9).collect::<Vec<_>>(), "{second}");
    }
    assert_eq!(folder.seconds("web-0", Reading { tail: Some(3), ..since(7) }).await, [7, 8]);
    assert_eq!(folder.seconds("web-0", Reading { tail: Some(1), ..since(7) }).await, [8]);
}

#[tokio::test]
async fn the_last_lines_of_files_of_many_blocks() {
    let folder = Folder::new();
    folder.write("web-0.log", 0..4000);
    folder.rotate("web-0");
    folder.write("web-0.log", 4000..9000);
    for lines in [1, 300, 4000, 4999, 5000, 5001, 8999, 9000, 9001] {
        let wanted: Vec<_> = (9000_u64.saturating_sub(lines)..9000).collect();
        assert_eq!(folder.seconds("web-0", tail(lines)).await, wanted, "{lines}");
    }
}

#[tokio::test]
async fn files_that_ended_before_are_not_opened_but_lines_near_their_end_are_told() {
    let folder = Folder::new();
    folder.write("web-0.log", 0..3);
    folder.rotate("web-0");
    folder.write("web-0.log", 3..5);
    let old = fs::File::options().append(true).open(folder.0.path().join("web-0.log.1")).unwrap();
    old.set_modified(at(2)).unwrap();
    assert_eq!(folder.seconds("web-0", since(2)).await, [2, 3, 4]);
    old.set_modified(at(0)).unwrap();
    assert_eq!(folder.seconds("web-0", since(2)).await, [3, 4]);
    assert_eq!(folder.seconds("web-0", since(0)).await, [0, 1, 2, 3, 4]);
}

#[tokio::test]
async fn a_service_is_all_its_instances_in_order_of_time() {
    let folder = Folder::new();
    folder.write("web-0.log", [0, 3, 6, 9]);
    folder.write("web-1.log", [1, 4, 7]);
    folder.rotate("web-1");
    folder.write("web-1.log", [10]);
    folder.write("web-12.log", [2, 5, 8]);
    folder.write("webs-0.log", [100]);
    folder.write("web-a-0.log", [101]);
    folder.write("web-00.log", [102]);
    folder.write("web-0.log.bak", [103]);
    assert_eq!(folder.seconds("web", Reading::default()).await, (0..11).collect::<Vec<_>>());
    for lines in 0..13 {
        let wanted: Vec<_> = (11_u64.saturating_sub(lines)..11).collect();
        assert_eq!(folder.seconds("web", tail(lines)).await, wanted, "{lines}");
    }
    assert_eq!(folder.seconds("web", since(8)).await, [8, 9, 10]);
    let told = folder.read("web", tail(2)).await;
    assert_eq!([&told[0].instance, &told[1].instance], ["web-0", "web-1"]);
}

#[tokio::test]
async fn a_name_that_is_both_is_the_instance() {
    let folder = Folder::new();
    folder.write("web-1-0.log", [0]);
    assert_eq!(folder.instances("web-1").len(), 1);
    assert_eq!(folder.seconds("web-1", Reading::default()).await, [0]);
    folder.write("web-1.log", [1]);
    assert_eq!(folder.seconds("web-1", Reading::default()).await, [1]);
    assert_eq!(folder.seconds("web", Reading::default()).await, [1]);
    assert!(folder.instances("web-2").is_empty());
}

#[tokio::test]
async fn a_clock_that_was_set_back_changes_no_order_within_a_log() {
    let folder = Folder::new();
    folder.write("web-0.log", [50, 10, 60]);
    folder.write("web-1.log", [20, 55]);
    assert_eq!(folder.seconds("web", Reading::default()).await, [20, 50, 10, 55, 60]);
}

#[tokio::test]
async fn torn_and_foreign_lines_hide_nothing() {
    let folder = Folder::new();
    let path = folder.0.path().join("web-0.log");
    let torn = format!("{}\nnothing of ours\n\0\0\0{}\n{}", line(1), line(2), &line(3)[..44]);
    fs::write(&path, &torn).unwrap();
    folder.rotate("web-0");
    fs::write(&path, format!("{}\n{}", line(4), &line(5)[..20])).unwrap();
    let told = folder.read("web-0", Reading::default()).await;
    let told: Vec<_> = told.iter().map(|line| (line.text.as_str(), line.partial)).collect();
    assert_eq!(told, [("line 1", false), ("line 2", false), ("line", true), ("line 4", false)]);
    // What is no line was one of the last ones all the same.
    assert_eq!(folder.read("web-0", tail(2)).await.len(), 1);
}

fn line(second: u64) -> String {
    format!("{} stdout F line {second}", time(second))
}

#[tokio::test]
async fn long_lines_come_in_pieces_and_count_as_one() {
    let folder = Folder::new();
    let long = "x".repeat(5 * cri::LONGEST / 2);
    let text = format!("{}\n{} stderr F {long}\n{}\n", line(1), time(2), line(3));
    fs::write(folder.0.path().join("web-0.log"), text).unwrap();
    let told = folder.read("web-0", tail(2)).await;
    assert_eq!(told.iter().map(|line| line.partial).collect::<Vec<_>>(), [true, true, false, false]);
    let joined: String = told[..3].iter().map(|line| line.text.as_str()).collect();
    assert_eq!((joined == long, told[3].text.as_str()), (true, "line 3"));
    assert_eq!(folder.read("web-0", tail(1)).await.len(), 1);
    assert_eq!(folder.read("web-0", Reading { tail: Some(2), ..since(3) }).await.len(), 1);
}

#[tokio::test]
async fn what_is_no_file_is_refused() {
    let folder = Folder::new();
    let path = folder.0.path().join("web-0.log");
    fs::write(folder.0.path().join("secret"), line(1)).unwrap();
    std::os::unix::fs::symlink(folder.0.path().join("secret"), &path).unwrap();
    let open = || Logs::open(folder.0.path(), &name("web-0"), &folder.instances("web-0"), &Reading::default());
    assert!(open().is_err());
    fs::remove_file(&path).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR).unwrap();
    assert!(open().is_err());
    assert!(list(Path::new("/does/not/exist")).unwrap().is_empty());
}

#[test]
fn a_source_goes_on_over_rotations_without_loss() {
    let folder = Folder::new();
    folder.write("web-0.log", 0..2);
    let id = "web-0".parse().unwrap();
    let mut source = Source::open(folder.0.path(), &id, true, None).unwrap();
    let mut seen = || {
        source.refresh().unwrap();
        let mut told = Vec::new();
        while let Some(piece) = source.next().unwrap() {
            told.push(piece.text.parse::<u64>().unwrap());
        }
        told
    };
    assert_eq!(seen(), [0, 1]);
    assert_eq!(seen(), [0; 0]);
    // Written before and after a rotation, over more than one of them, and while the new file is not there yet.
    folder.write("web-0.log", 2..4);
    folder.rotate("web-0");
    assert_eq!(seen(), [2, 3]);
    folder.write("web-0.log", 4..6);
    folder.rotate("web-0");
    folder.write("web-0.log", 6..8);
    folder.rotate("web-0");
    folder.write("web-0.log", 8..9);
    assert_eq!(seen(), (4..9).collect::<Vec<_>>());
    // The file that was read is gone altogether: what is left of the later ones is told, and none twice. Where the clock of
    // the file system is coarse, all these were changed at one time.
    for number in 1..4 {
        let file = fs::File::options().append(true).open(folder.0.path().join(format!("web-0.log.{number}"))).unwrap();
        file.set_modified(at(1)).unwrap();
    }
    folder.rotate("web-0");
    folder.write("web-0.log", 9..10);
    fs::remove_file(folder.0.path().join("web-0.log.1")).unwrap();
    assert_eq!(seen(), [9]);
    // One file in all: it is emptied when it is full.
    fs::write(folder.0.path().join("web-0.log"), "").unwrap();
    assert_eq!(seen(), [0; 0]);
    folder.write("web-0.log", 10..12);
    assert_eq!(seen(), [10, 11]);
}

#[test]
fn a_line_that_is_being_written_is_waited_for() {
    let folder = Folder::new();
    let path = folder.0.path().join("web-0.log");
    let id = "web-0".parse().unwrap();
    let mut source = Source::open(folder.0.path(), &id, true, None).unwrap();
    assert_eq!(source.next().unwrap(), None);
    let whole = line(1) + "\n";
    fs::write(&path, &whole[..45]).unwrap();
    source.refresh().unwrap();
    assert_eq!(source.next().unwrap(), None);
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(&whole.as_bytes()[45..]).unwrap();
    source.refresh().unwrap();
    assert_eq!(source.next().unwrap().unwrap().text, "line 1");
}

#[tokio::test]
async fn the_last_lines_of_a_file_beyond_4_gib() {
    let folder = Folder::new();
    folder.write("web-0.log", 0..1);
    let file = fs::OpenOptions::new().write(true).open(folder.0.path().join("web-0.log")).unwrap();
    file.set_len(5 << 30).unwrap();
    writeln!(fs::OpenOptions::new().append(true).open(folder.0.path().join("web-0.log")).unwrap()).unwrap();
    folder.write("web-0.log", 1..9);
    assert_eq!(folder.seconds("web-0", tail(3)).await, [6, 7, 8]);
}
