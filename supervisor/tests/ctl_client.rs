//! The built `skiffctl` against a real unix socket with canned answers: what is asked, what is printed where, exit codes.
#![allow(clippy::disallowed_methods, reason = "the bans protect the product; these programs only play with its output")]
#![allow(clippy::unwrap_used, reason = "the lint's exception for tests does not reach their helper functions")]

#[path = "ctl_client/server.rs"]
mod server;

use serde_json::{Value, json};
use server::{Answer, CHUNKED, Server};
use skiff_supervisor::view::Device;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How a command ended.
#[derive(Debug, PartialEq)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

fn command(socket: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skiffctl"));
    command.env("SKIFF_SOCKET", socket).args(words).stdin(Stdio::null());
    command
}

fn said(mut command: Command) -> Said {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

fn ctl(server: &Server, words: &[&str]) -> Said {
    said(command(&server.socket(), words))
}

/// What is printed by what succeeds and has nothing to complain about.
#[track_caller]
fn good(server: &Server, words: &[&str]) -> String {
    let said = ctl(server, words);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{words:?}: {}", said.out);
    said.out
}

/// What is complained about, in one line, by what prints nothing else.
#[track_caller]
fn bad(said: Said, code: i32) -> String {
    assert_eq!((said.code, said.out.as_str()), (Some(code), ""), "{}", said.err);
    assert_eq!(said.err.lines().count(), 1, "{}", said.err);
    assert!(said.err.starts_with("skiffctl: "), "{}", said.err);
    said.err
}

fn instance(id: &str, state: &str, more: Value) -> Value {
    let (service, replica) = id.rsplit_once('-').unwrap();
    let mut instance = json!({
        "id": id, "service": service, "replica": replica.parse::<u16>().unwrap(), "release": "2", "state": state,
        "restarts": 0, "oomKills": 0, "log": format!("/var/log/skiff/{id}.log"), "notEnforced": [], "blueprint": null,
    });
    instance.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    instance
}

fn web(replica: u16) -> Value {
    let health = json!({"started": true, "ready": true});
    instance(&format!("web-{replica}"), "running", json!({"pid": 4711, "uptimeS": 3661, "health": health}))
}

fn worker() -> Value {
    let why = json!({"reason": "backoff", "text": "status 3\u{1b}[2J", "until": "time", "inS": 2.5});
    instance("worker-0", "waiting", json!({"lastExit": {"code": 3, "oom": false, "reason": "status 3"}, "why": why}))
}

fn device(instances: &[Value]) -> Value {
    let device = json!({
        "apiVersion": "skiff.dev/v1", "device": "till-0042", "labels": {"role": "kiosk"}, "bootId": "b",
        "time": "2026-11-24T10:05:30Z", "agent": {"version": "0.1.0", "pid": 99, "uptimeS": 60},
        "release": {"running": "2", "state": "committed", "committed": "2", "target": "2"},
        "services": {}, "instances": instances, "node": {}, "droppedEvents": 0,
    });
    // The canned document is one that skiffd can tell.
    serde_json::to_value(serde_json::from_value::<Device>(device).unwrap()).unwrap()
}

/// A server of a device with these instances.
fn serving(instances: &[Value]) -> Server {
    let server = Server::start();
    server.document("GET /v1/device", 200, &device(instances).to_string());
    for instance in instances {
        let path = format!("GET /v1/instances/{}", instance["id"].as_str().unwrap());
        server.document(&path, 200, &instance.to_string());
    }
    let unknown = r#"{"error":"there is no `nobody-0`","hint":"`skiffctl ps` lists what there is"}"#;
    for path in ["instances", "logs"] {
        server.document(&format!("GET /v1/{path}/nobody-0"), 404, unknown);
    }
    server
}

#[test]
fn ps_lists() {
    let done = instance("job-0", "completed", json!({"lastExit": {"code": 0, "oom": false, "reason": "status 0"}}));
    let server = serving(&[web(0), worker(), done]);
    let table = good(&server, &["ps"]);
    assert_eq!(
        table,
        "NAME      STATE                       HEALTH  RESTARTS  UPTIME  CPU TIME  MEMORY  PID   RELEASE\n\
         web-0     running                     ready   0         1h 1m   -         -       4711  2\n\
         worker-0  waiting (3, again in 2.5s)  -       0         -       -         -       -     2\n"
    );
    assert!(good(&server, &["ps", "--all"]).lines().any(|line| line.starts_with("job-0     completed (0)")));
    let ids = |words: &[&str]| {
        let document: Value = serde_json::from_str(&good(&server, words)).unwrap();
        let ids = document["instances"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap().to_owned());
        ids.collect::<Vec<_>>()
    };
    assert_eq!(ids(&["ps", "--format", "json"]), ["web-0", "worker-0"]);
    assert_eq!(ids(&["ps", "--all", "--format", "json"]), ["web-0", "worker-0", "job-0"]);
    assert_eq!(ids(&["ps", "--format", "json", "web-0"]), ["web-0"]);
    assert_eq!(good(&server, &["ps", "job-0"]), "nothing runs; 1 instance completed, which --all shows\n");
    assert_eq!(good(&serving(&[]), &["ps"]), "nothing runs\n");
}

#[test]
fn why_tells_and_checks() {
    let server = serving(&[web(0), worker()]);
    let told =
        "worker-0 is not as desired: waiting, backoff: status 3\\u{1b}[2J\n    would change with: time, in 2.5s\n";
    for words in [&["why"][..], &["why", "worker-0"]] {
        assert_eq!(good(&server, words), told);
        let checked = ctl(&server, &[words, &["--check"]].concat());
        assert_eq!((checked.code, checked.out.as_str()), (Some(1), told));
    }
    assert_eq!(good(&server, &["why", "--check", "web-0"]), "web-0 is as desired: running for 1h 1m\n");
    assert_eq!(good(&serving(&[web(0)]), &["why", "--check"]), "as desired\n");
    server.document("GET /v1/instances/web", 200, &json!([web(0), web(1)]).to_string());
    assert_eq!(good(&server, &["why", "web"]).lines().count(), 2);
}

#[test]
fn status_sums_up_and_checks() {
    let well = serving(&[web(0)]);
    assert!(good(&well, &["status", "--check"]).ends_with("all is as desired\n"));
    let server = serving(&[worker()]);
    let told = good(&server, &["status"]);
    assert!(told.contains("till-0042 (role=kiosk)") && told.contains("not well:\n  worker-0 is not"), "{told}");
    assert!(!told.contains('\u{1b}'));
    let checked = ctl(&server, &["status", "--check"]);
    assert_eq!((checked.code, checked.out), (Some(1), told));
    for (server, is_well) in [(&well, true), (&server, false)] {
        let document: Value = serde_json::from_str(&good(server, &["status", "--format", "json"])).unwrap();
        assert_eq!((&document["release"]["running"], &document["well"]), (&json!("2"), &json!(is_well)));
    }
}

#[test]
fn inspect_prints_what_is_told() {
    let mut of_tomorrow = device(&[web(0)]);
    of_tomorrow["news"] = "\u{9b}2J".into();
    let server = serving(&[web(0)]);
    server.document("GET /v1/device", 200, &of_tomorrow.to_string());
    let all = good(&server, &["inspect", "--all"]);
    assert_eq!(serde_json::from_str::<Value>(&all).unwrap(), of_tomorrow);
    assert!(all.contains("\n  \"news\": \"\\u009b2J\"") && all.ends_with("}\n"), "{all}");
    assert_eq!(serde_json::from_str::<Value>(&good(&server, &["inspect", "web-0"])).unwrap(), web(0));
    server.document("GET /v1/instances/web", 200, &json!([web(0), web(1)]).to_string());
    assert_eq!(serde_json::from_str::<Value>(&good(&server, &["inspect", "web"])).unwrap(), json!([web(0), web(1)]));
}

#[test]
fn events_are_lines() {
    let server = serving(&[]);
    let event = |seq: u64, text: &str| {
        json!({"seq": seq, "bootId": "b", "time": "T", "kind": "oomKill", "instance": "web-0", "text": text})
            .to_string()
    };
    let events = [event(1, "one"), event(2, "two\u{1b}[2J\n")];
    server.lines("GET /v1/events?since=0", &events);
    server.lines("GET /v1/events?since=1&follow=true", &events[1..]);
    let two = "T      2 oomKill            web-0: two\\u{1b}[2J\\n\n";
    assert_eq!(good(&server, &["events"]), format!("T      1 oomKill            web-0: one\n{two}"));
    assert_eq!(good(&server, &["events", "-f", "--since", "1"]), two);
    let json = good(&server, &["events", "--format", "json"]);
    let parsed: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(parsed, events.map(|event| serde_json::from_str::<Value>(&event).unwrap()));
}

fn line(instance: &str, stream: &str, text: &str) -> String {
    json!({"time": "2026-11-24T10:00:00.000000001Z", "stream": stream, "partial": false, "text": text, "instance": instance})
        .to_string()
}

#[test]
fn logs_go_where_they_were_written() {
    let server = serving(&[web(0)]);
    let partial = line("web-0", "stdout", "on").replace("false", "true");
    let lines =
        [partial, line("web-0", "stderr", "oops"), line("web-0", "stdout", "e"), line("web-0", "stdout", "\u{1b}[1mé")];
    server.lines("GET /v1/logs/web-0", &lines);
    let told = ctl(&server, &["logs", "web-0"]);
    assert_eq!(told, Said { code: Some(0), out: "one\n\u{1b}[1mé\n".into(), err: "oops\n".into() });
    let told = ctl(&server, &["logs", "-t", "web-0"]);
    assert_eq!(told.err, "2026-11-24T10:00:00.000000001Z oops\n");
    assert!(told.out.starts_with("2026-11-24T10:00:00.000000001Z one\n2026"), "{}", told.out);

    server.document("GET /v1/instances/web", 200, &json!([web(0), web(1)]).to_string());
    let request = "GET /v1/logs/web?tail=2&since=2026-11-24T08:00:00.000000000Z&follow=true";
    server.lines(request, &[line("web-1", "stdout", "a"), line("web-0", "stderr", "b")]);
    let told = ctl(&server, &["logs", "-f", "-n", "2", "--since", "2026-11-24T08:00:00Z", "web"]);
    assert_eq!(told, Said { code: Some(0), out: "web-1 | a\n".into(), err: "web-0 | b\n".into() });
}

/// What is gone has no instance, and yet a log.
#[test]
fn logs_of_what_is_gone() {
    let server = serving(&[]);
    server.lines("GET /v1/logs/old-0", &[line("old-0", "stdout", "last words")]);
    assert_eq!(good(&server, &["logs", "old-0"]), "last words\n");
}

#[test]
fn a_followed_line_is_shown_before_the_next_one_comes() {
    let server = serving(&[web(0)]);
    let text = line("web-0", "stdout", "now");
    let piece = format!("{CHUNKED}{:x}\r\n{text}\n\r\n", text.len() + 1);
    server.answer("GET /v1/logs/web-0?follow=true", Answer::Open(piece.into_bytes()));
    let asked = Instant::now();
    let mut child = command(&server.socket(), &["logs", "-f", "web-0"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    out.read_line(&mut first).unwrap();
    assert_eq!(first, "now\n");
    assert!(asked.elapsed() < server::PATIENCE, "it came when the stream ended");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_reader_that_has_enough_ends_it_quietly() {
    let server = serving(&[web(0)]);
    let log = line("web-0", "stdout", &"x".repeat(1000));
    let event = json!({"seq": 1, "bootId": "b", "time": "T", "kind": "adopted", "text": "x"}).to_string();
    server.answer("GET /v1/logs/web-0", Answer::Endless(log));
    server.answer("GET /v1/events?since=0&follow=true", Answer::Endless(event));
    for (ended, words) in [["logs", "web-0"], ["events", "-f"]].iter().enumerate() {
        let mut command = command(&server.socket(), words);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut some = [0; 10];
        child.stdout.take().unwrap().read_exact(&mut some).unwrap();
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(0), ""), "{words:?}");
        let deadline = Instant::now() + Duration::from_secs(10);
        while server.left() as usize <= ended {
            assert!(Instant::now() < deadline, "the connection is closed as well");
            std::thread::yield_now();
        }
    }
}

#[test]
fn orders_are_given_by_post() {
    let server = serving(&[]);
    server.document("POST /v1/sync", 200, r#"{"asked":true}"#);
    server.document("POST /v1/drain", 200, r#"{"drained":true}"#);
    assert!(good(&server, &["sync"]).contains("looks at its fleet now"));
    assert!(good(&server, &["drain"]).contains("nothing runs"));
    assert_eq!(server.asked(), ["POST /v1/sync", "POST /v1/drain"]);
    server.document("POST /v1/sync", 409, r#"{"error":"no fleet is followed","hint":"set fleet.url in skiffd.toml"}"#);
    let told = bad(ctl(&server, &["sync"]), 1);
    assert_eq!(told, "skiffctl: no fleet is followed; set fleet.url in skiffd.toml\n");
    server.document("POST /v1/drain", 200, r#"{"drained":false}"#);
    assert!(bad(ctl(&server, &["drain"]), 1).contains("something is left"));
}

#[test]
fn what_is_unknown_is_named() {
    let server = serving(&[]);
    for command in ["inspect", "why", "ps", "logs"] {
        let told = bad(ctl(&server, &[command, "nobody-0"]), 1);
        assert_eq!(told, "skiffctl: there is no `nobody-0`; `skiffctl ps` lists what there is\n", "{command}");
    }
    server.asked();
    bad(ctl(&server, &["inspect", "../device?x=y z"]), 1);
    assert_eq!(server.asked(), ["GET /v1/instances/%2E%2E%2Fdevice%3Fx%3Dy%20z"]);
}

#[test]
fn words_that_are_not_understood() {
    let server = serving(&[]);
    for words in [
        &["inspect"][..],
        &["inspect", "--all", "web"],
        &["logs"],
        &["logs", "-n", "some", "web"],
        &["logs", "--since", "yesterday", "web"],
        &["events", "--since", "now"],
        &["ps", "--format", "xml"],
        &["dance"],
        &[],
    ] {
        assert_eq!(ctl(&server, words).code, Some(2), "{words:?}");
    }
    assert_eq!(server.asked(), Vec::<String>::new());
}

const COMMANDS: [&[&str]; 8] =
    [&["ps"], &["logs", "web-0"], &["why"], &["events"], &["inspect", "--all"], &["status"], &["sync"], &["drain"]];

#[test]
fn a_socket_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (missing, dead, file) = (folder.path().join("no.sock"), folder.path().join("dead"), folder.path().join("file"));
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    std::fs::write(&file, "").unwrap();
    for words in COMMANDS {
        for (socket, reason) in [(&missing, "No such file"), (&dead, "refused"), (&file, "refused")] {
            let told = bad(said(command(socket, words)), 125);
            assert!(told.contains(socket.to_str().unwrap()) && told.contains("systemctl start skiffd"), "{told}");
            assert!(told.contains(reason), "{told}");
        }
    }
    // The option goes before the environment.
    let server = serving(&[]);
    let option = said(command(&missing, &["ps", "--socket", server.socket().to_str().unwrap()]));
    assert_eq!(option.code, Some(0), "{}", option.err);
}

#[test]
fn who_may_not_is_told_who_may() {
    let server = serving(&[]);
    // A copy, because the folder of the built one may be root's alone; made by another process, because one that is open for
    // writing here is so in every child that another test is just starting, and cannot be executed (ETXTBSY).
    let program = tempfile::tempdir().unwrap();
    let copy = program.path().join("skiffctl");
    assert!(Command::new("cp").arg(env!("CARGO_BIN_EXE_skiffctl")).arg(&copy).status().unwrap().success());
    let open = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    open(program.path(), 0o755);
    open(server.socket().parent().unwrap(), 0o755);
    open(&server.socket(), 0o600);
    let mut command = Command::new(&copy);
    command.env("SKIFF_SOCKET", server.socket()).arg("ps").current_dir("/").stdin(Stdio::null());
    if rustix::process::geteuid().is_root() {
        command.uid(65534).gid(65534);
    } else {
        open(&server.socket(), 0o000);
    }
    let told = bad(said(command), 125);
    assert!(told.contains("Permission denied") && told.contains("group `skiff`"), "{told}");
}

#[test]
fn answers_that_are_not_skiffds() {
    let server = Server::start();
    let raw = |text: &str| Answer::Raw(text.as_bytes().to_vec());
    let requests = [
        "GET /v1/device",
        "GET /v1/instances/web-0",
        "GET /v1/logs/web-0",
        "GET /v1/events?since=0",
        "POST /v1/sync",
        "POST /v1/drain",
    ];
    for (answer, reason) in [
        (raw("SSH-2.0-OpenSSH_9.2\r\n\r\n"), "not understood"),
        (raw("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\x1b[2J"), "not understood"),
        (raw("HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\n{}"), "status 500"),
        (raw(""), "ended its answer early"),
        (raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"), "ended its answer early"),
    ] {
        for request in requests {
            server.answer(request, answer.clone());
        }
        for words in COMMANDS {
            let told = bad(ctl(&server, words), 125);
            assert!(told.contains(reason) && told.contains(server.socket().to_str().unwrap()), "{words:?}: {told}");
            assert!(!told.contains('\u{1b}'), "{told}");
        }
    }
}

/// What came is shown; that it is not all is said.
#[test]
fn a_stream_that_breaks_is_not_taken_for_whole() {
    let server = serving(&[web(0)]);
    let first = line("web-0", "stdout", "first");
    let cut = format!("{CHUNKED}{:x}\r\n{first}\n\r\n", first.len() + 1);
    server.answer("GET /v1/logs/web-0", Answer::Raw(cut.clone().into_bytes()));
    let told = ctl(&server, &["logs", "web-0"]);
    assert_eq!((told.code, told.out.as_str()), (Some(125), "first\n"));
    assert!(told.err.contains("early"), "{}", told.err);
    let strange = format!("{cut}4\r\nyes\n\r\n0\r\n\r\n");
    server.answer("GET /v1/logs/web-0", Answer::Raw(strange.into_bytes()));
    let told = ctl(&server, &["logs", "web-0"]);
    assert_eq!((told.code, told.out.as_str()), (Some(125), "first\n"));
    assert!(told.err.contains("not understood"), "{}", told.err);
}
