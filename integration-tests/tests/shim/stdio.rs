//! Where output goes and input comes from: fifos, files, rotated logs, terminals, and what happens when nobody reads.

use std::io::Read;
use std::path::Path;

use containerd_shim_protos::types::task::Status;
use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::command::patience;
use skiff_lanes::runs;
use ttrpc::Code;

use crate::harness::{code, eventually, grouped, open_to_read, over_each, reader, refusal, text};

#[runs(host)]
fn output_goes_to_two_fifos() {
    over_each(|shim| async move {
        let bundle = Bundle::script("echo out; echo err >&2; exit 3");
        let (out, err) = (shim.fifo("out"), shim.fifo("err"));
        let task =
            shim.created_with(&bundle, |request| (request.stdout, request.stderr) = (text(&out), text(&err))).await;
        let state = task.state("").await.unwrap();
        assert_eq!((state.stdout, state.stderr, state.terminal), (text(&out), text(&err), false));
        let (out, err) = (reader(&out), reader(&err));
        task.start("").await.unwrap();
        assert_eq!(task.wait("").await.unwrap(), 3);
        assert_eq!((out.await, err.await), ("out\n".to_owned(), "err\n".to_owned()));
        task.end().await;
        shim.assert_gone();
    });
}

/// A client may come and go as it likes; only CloseIO is the end.
#[runs(host)]
fn input_comes_from_a_fifo_until_it_is_closed() {
    over_each(|shim| async move {
        let bundle = Bundle::script("cat; echo done");
        let (input, out) = (shim.fifo("in"), shim.fifo("out"));
        let task =
            shim.created_with(&bundle, |request| (request.stdin, request.stdout) = (text(&input), text(&out))).await;
        let said = reader(&out);
        task.start("").await.unwrap();
        std::fs::write(&input, "first\n").unwrap();
        std::fs::write(&input, "second\n").unwrap();
        assert_eq!(task.status("").await, Status::RUNNING);
        task.close_stdin("").await.unwrap();
        assert_eq!(task.wait("").await.unwrap(), 0);
        assert_eq!(said.await, "first\nsecond\ndone\n");
        task.end().await;
        shim.assert_gone();
    });
}

#[runs(host)]
fn without_places_there_is_dev_null() {
    over_each(|shim| async move {
        let bundle = Bundle::script("echo lost; echo lost >&2; test -z \"$(cat)\" || exit 1; exit 4");
        let task = shim.started(&bundle).await;
        assert_eq!(task.wait("").await.unwrap(), 4);
        // Nothing to close and nothing to resize, and no error either.
        task.close_stdin("").await.unwrap();
        task.resize("", 80, 25).await.unwrap();
        task.end().await;
        shim.assert_gone();
    });
}

#[runs(host)]
fn a_file_is_appended_to() {
    over_each(|shim| async move {
        let bundle = Bundle::script("echo out; echo err >&2");
        let path = shim.folder.path().join("a b.log");
        std::fs::write(&path, "before\n").unwrap();
        let uri = format!("file://{}", text(&path).replace(' ', "%20"));
        let task =
            shim.created_with(&bundle, |request| (request.stdout, request.stderr) = (uri.clone(), uri.clone())).await;
        task.start("").await.unwrap();
        task.wait("").await.unwrap();
        let seen = std::fs::read_to_string(&path).unwrap();
        assert!(["before\nout\nerr\n", "before\nerr\nout\n"].contains(&seen.as_str()), "{seen}");
        task.end().await;
        shim.assert_gone();
    });
}

/// One container of many lines on both streams into one log of three files.
#[runs(host)]
fn a_rotated_log_is_cut_at_lines_and_keeps_the_newest() {
    over_each(|shim| async move {
        let bundle = Bundle::script("for n in $(seq 1 400); do echo out line $n; echo err line $n >&2; done");
        let path = shim.folder.path().join("web.log");
        let uri = format!("rotate://{}?max-size=8192&max-files=3", path.display());
        let task =
            shim.created_with(&bundle, |request| (request.stdout, request.stderr) = (uri.clone(), uri.clone())).await;
        task.start("").await.unwrap();
        assert_eq!(task.wait("").await.unwrap(), 0);
        let mut names = files(shim.folder.path(), "web.log");
        names.sort();
        assert_eq!(names, ["web.log", "web.log.1", "web.log.2"]);
        let mut log = String::new();
        for name in names.iter().rev() {
            let text = std::fs::read_to_string(shim.folder.path().join(name)).unwrap();
            assert!(text.len() <= 8192, "{name} has {} bytes", text.len());
            assert!(text.ends_with('\n'), "{name} is cut within a line");
            log += &text;
        }
        let lines: Vec<Cri> = log.lines().map(cri).collect();
        assert!(lines.last().unwrap().text.ends_with(" line 400"), "the newest is kept");
        assert!(lines.len() > 200, "two files are full: {}", lines.len());
        for stream in ["stdout", "stderr"] {
            // Of each stream what is left has no gap.
            let own = lines.iter().filter(|line| line.stream == stream);
            let numbers: Vec<u32> = own.map(|line| line.text.rsplit(' ').next().unwrap().parse().unwrap()).collect();
            assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{stream}: {numbers:?}");
            assert!(numbers.last().is_none_or(|last| *last == 400), "{stream}: {numbers:?}");
        }
        task.end().await;
        shim.assert_gone();
    });
}

#[runs(host)]
fn a_log_splits_long_lines_and_ends_the_last_one() {
    over_each(|shim| async move {
        let bundle = Bundle::script("head -c 40000 /dev/zero | tr '\\0' x; printf '\\n\\nno end'");
        let path = shim.folder.path().join("web.log");
        let uri = format!("rotate://{}", path.display());
        let task = shim.created_with(&bundle, |request| request.stdout = uri).await;
        task.start("").await.unwrap();
        assert_eq!(task.wait("").await.unwrap(), 0);
        let log = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<Cri> = log.lines().map(cri).collect();
        let tags: String = lines.iter().map(|line| line.tag).collect();
        assert_eq!(tags, "PPFFF");
        assert_eq!(lines[..3].iter().map(|line| line.text.len()).sum::<usize>(), 40000);
        assert_eq!((lines[3].text, lines[4].text), ("", "no end"));
        task.end().await;
        shim.assert_gone();
    });
}

/// A second life of a container goes on in the log of the first.
#[runs(host)]
fn a_log_goes_on_where_it_was() {
    over_each(|shim| async move {
        let path = shim.folder.path().join("web.log");
        for life in ["first", "second"] {
            let bundle = Bundle::script(&format!("echo {life}"));
            let uri = format!("rotate://{}", path.display());
            let task = shim.created_with(&bundle, |request| request.stdout = uri).await;
            task.start("").await.unwrap();
            task.wait("").await.unwrap();
            task.end().await;
            shim.assert_gone();
        }
        let log = std::fs::read_to_string(&path).unwrap();
        let texts: Vec<_> = log.lines().map(|line| cri(line).text).collect();
        assert_eq!(texts, ["first", "second"]);
    });
}

#[runs(host)]
fn a_terminal_has_a_size_and_one_stream() {
    over_each(|shim| async move {
        let script =
            "test -t 0 && test -t 1 && test -t 2 && echo is-a-tty; read line; stty size; echo \"got $line\" >&2";
        let bundle = Bundle::script(script).edit(|config| config["process"]["terminal"] = true.into());
        let (input, out) = (shim.fifo("in"), shim.fifo("out"));
        let task = shim
            .created_with(&bundle, |request| {
                (request.stdin, request.stdout, request.terminal) = (text(&input), text(&out), true);
            })
            .await;
        assert!(task.state("").await.unwrap().terminal);
        let said = reader(&out);
        task.resize("", 100, 40).await.unwrap();
        task.start("").await.unwrap();
        assert_eq!(code(task.resize("", 65536, 1).await), Code::INVALID_ARGUMENT);
        std::fs::write(&input, "word\n").unwrap();
        assert_eq!(task.wait("").await.unwrap(), 0);
        let said = said.await.replace("\r\n", "\n");
        // The echo of the input may come before or after the first line.
        for line in ["is-a-tty", "40 100", "got word", "word"] {
            assert!(said.lines().any(|seen| seen == line), "{line}: {said:?}");
        }
        task.end().await;
        shim.assert_gone();
    });
}

/// The end of input on a terminal is a character, which only its line discipline knows.
#[runs(host)]
fn a_terminal_without_places_is_read_all_the_same() {
    over_each(|shim| async move {
        let bundle = Bundle::script("head -c 200000 /dev/zero | tr '\\0' x; exit 6")
            .edit(|config| config["process"]["terminal"] = true.into());
        let task = shim.created_with(&bundle, |request| request.terminal = true).await;
        task.start("").await.unwrap();
        assert_eq!(task.wait("").await.unwrap(), 6);
        task.end().await;
        shim.assert_gone();
    });
}

/// What a program says in its last moment is there when its end is told: through fifos, files and logs, again and again.
#[runs(host)]
fn what_is_said_last_is_not_lost() {
    over_each(|shim| async move {
        let mut connection = None;
        for number in 0..20 {
            let bundle = grouped(Bundle::script("seq 1 3000; echo last >&2"), "last");
            let task = shim.client(&bundle, &bundle.id).await;
            let mut request = shim.request(&bundle, &bundle.id);
            let path = shim.folder.path().join(format!("out-{number}"));
            let err = shim.fifo(&format!("err-{number}"));
            request.stdout = format!("{}://{}", ["file", "rotate"][number % 2], path.display());
            request.stderr = text(&err);
            task.client.create(crate::harness::limit(), &request).await.unwrap();
            let said = reader(&err);
            task.start("").await.unwrap();
            assert_eq!(task.wait("").await.unwrap(), 0);
            let out = std::fs::read_to_string(&path).unwrap();
            assert_eq!(out.lines().count(), 3000, "number {number}");
            assert!(out.ends_with("3000\n"));
            assert_eq!(said.await, "last\n");
            task.delete("").await.unwrap();
            connection = Some(task);
        }
        connection.unwrap().shutdown().await;
        shim.assert_gone();
    });
}

const MUCH: usize = 2 << 20;

fn much() -> Bundle {
    Bundle::script(&format!("head -c {MUCH} /dev/zero; exit 9"))
}

/// Waits until a fifo is full; nothing is taken from it.
async fn full(fifo: &std::fs::File) {
    eventually("the fifo is full", || async { (rustix::io::ioctl_fionread(fifo).unwrap() > 60_000).then_some(()) })
        .await;
}

#[runs(host)]
fn a_slow_reader_holds_up_the_container_and_nobody_else() {
    over_each(|shim| async move {
        let bundle = much();
        let out = shim.fifo("out");
        let task = shim.created_with(&bundle, |request| request.stdout = text(&out)).await;
        let slow = open_to_read(&out);
        task.start("").await.unwrap();
        full(&slow).await;
        assert_eq!(task.status("").await, Status::RUNNING);
        let other = Bundle::script("exit 2");
        let second = shim.started(&other).await;
        assert_eq!(second.wait("").await.unwrap(), 2);
        second.end().await;
        let said = reader(&out);
        drop(slow);
        assert_eq!(task.wait("").await.unwrap(), 9);
        assert_eq!(said.await.len(), MUCH);
        task.end().await;
        shim.assert_gone();
    });
}

#[runs(host)]
fn a_reader_that_goes_is_followed_by_another() {
    over_each(|shim| async move {
        let bundle = much();
        let out = shim.fifo("out");
        let task = shim.created_with(&bundle, |request| request.stdout = text(&out)).await;
        let mut first = open_to_read(&out);
        task.start("").await.unwrap();
        full(&first).await;
        let mut taken = [0; 10_000];
        first.read_exact(&mut taken).unwrap();
        drop(first);
        // Nobody reads now, and nothing is lost for it.
        assert_eq!(task.status("").await, Status::RUNNING);
        let said = reader(&out);
        assert_eq!(task.wait("").await.unwrap(), 9);
        assert_eq!(said.await.len(), MUCH - taken.len());
        task.end().await;
        shim.assert_gone();
    });
}

/// More than fits was said and nobody reads: the end is told all the same, after a while.
#[runs(host)]
fn a_reader_that_never_comes_does_not_hold_up_the_end() {
    over_each(|shim| async move {
        let bundle = much();
        let out = shim.fifo("out");
        let task = shim.created_with(&bundle, |request| request.stdout = text(&out)).await;
        let witness = open_to_read(&out);
        task.start("").await.unwrap();
        full(&witness).await;
        drop(witness);
        task.kill("", 9).await.unwrap();
        assert_eq!(task.wait("").await.unwrap(), 137);
        assert_eq!(task.end().await, 137);
        shim.assert_gone();
    });
}

/// A process that the container left behind in the host's pid namespace holds its output, which is no reason to wait.
#[runs(host)]
fn a_grandchild_that_keeps_the_output_does_not_hold_up_the_end() {
    over_each(|shim| async move {
        let bundle = Bundle::script("sleep 1000 & echo said; exit 5").without_namespace("pid");
        let out = shim.fifo("out");
        let task = shim.created_with(&bundle, |request| request.stdout = text(&out)).await;
        let said = reader(&out);
        task.start("").await.unwrap();
        assert_eq!(task.wait("").await.unwrap(), 5);
        assert_eq!(said.await, "said\n");
        task.end().await;
        shim.assert_gone();
    });
}

#[runs(host)]
fn a_full_disk_does_not_stop_the_container() {
    over_each(|shim| async move {
        let bundle = Bundle::script("seq 1 5000 && exit 8");
        for scheme in ["file", "rotate"] {
            let task = shim.created_with(&bundle, |request| request.stdout = format!("{scheme}:///dev/full")).await;
            task.start("").await.unwrap();
            assert_eq!(task.wait("").await.unwrap(), 8);
            task.end().await;
        }
        shim.assert_gone();
    });
}

#[runs(host)]
fn places_that_are_none_are_refused_and_nothing_is_left() {
    over_each(|shim| async move {
        let bundle = Bundle::sleeper();
        let file = shim.folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let fifo = text(&shim.fifo("fifo"));
        let task = shim.client(&bundle, &bundle.id).await;
        let places: [(&str, Code, &str); 9] = [
            ("relative", Code::INVALID_ARGUMENT, "absolute"),
            ("/no/such/fifo", Code::NOT_FOUND, "/no/such/fifo"),
            (&text(&file), Code::INVALID_ARGUMENT, "file://"),
            ("binary:///bin/logger", Code::UNIMPLEMENTED, "rotate://"),
            ("http://example.org/", Code::INVALID_ARGUMENT, "rotate://"),
            ("rotate:///tmp/x?max-size=1", Code::INVALID_ARGUMENT, "max-size=1"),
            (&format!("file://{fifo}"), Code::INVALID_ARGUMENT, &fifo),
            (&format!("rotate://{fifo}"), Code::INVALID_ARGUMENT, &fifo),
            ("file:///no/such/folder/file", Code::NOT_FOUND, "/no/such/folder/file"),
        ];
        for (place, wanted, word) in places {
            let mut request = shim.request(&bundle, &bundle.id);
            request.stdout = place.to_owned();
            let (seen, words) = refusal(task.client.create(crate::harness::limit(), &request).await);
            assert_eq!(seen, wanted, "{place}: {words}");
            assert!(words.contains(word), "{place}: {words}");
            assert_eq!(code(task.state("").await), Code::NOT_FOUND);
        }
        let mut request = shim.request(&bundle, &bundle.id);
        request.stdin = format!("file://{}", file.display());
        assert_eq!(code(task.client.create(crate::harness::limit(), &request).await), Code::INVALID_ARGUMENT);
        task.shutdown().await;
        shim.assert_gone();
    });
}

/// Output after the disk of the log was moved away under it: the next rotation makes a new file.
#[runs(host)]
fn a_log_whose_file_is_removed_goes_on() {
    over_each(|shim| async move {
        let bundle = Bundle::script("while read n; do seq 1 $n; done");
        let input = shim.fifo("in");
        let path = shim.folder.path().join("web.log");
        let task = shim
            .created_with(&bundle, |request| {
                request.stdin = text(&input);
                request.stdout = format!("rotate://{}?max-size=4096&max-files=2", path.display());
            })
            .await;
        task.start("").await.unwrap();
        std::fs::write(&input, "1\n").unwrap();
        wait_for(&path, "F 1\n").await;
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&input, "500\n").unwrap();
        wait_for(&path, "F 500\n").await;
        task.close_stdin("").await.unwrap();
        assert_eq!(task.wait("").await.unwrap(), 0);
        task.end().await;
        shim.assert_gone();
    });
}

async fn wait_for(path: &Path, end: &str) {
    let told = || async { std::fs::read_to_string(path).is_ok_and(|text| text.ends_with(end)).then_some(()) };
    tokio::time::timeout(patience(), eventually("the log says so", told)).await.unwrap();
}

fn files(folder: &Path, prefix: &str) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(prefix)).collect()
}

struct Cri<'a> {
    stream: &'a str,
    tag: char,
    text: &'a str,
}

/// A line as Kubernetes reads it.
fn cri(line: &str) -> Cri<'_> {
    let mut fields = line.splitn(4, ' ');
    let mut field = || fields.next().unwrap_or_else(|| panic!("not a line of a log: {line:?}"));
    let (time, stream, tag, text) = (field(), field(), field(), field());
    assert!(time.len() == "2026-01-01T00:00:00.000000000Z".len() && time.ends_with('Z'), "{line:?}");
    assert!(matches!(stream, "stdout" | "stderr") && matches!(tag, "F" | "P"), "{line:?}");
    Cri { stream, tag: tag.chars().next().unwrap(), text }
}
