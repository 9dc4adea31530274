//! The control socket and the port, with real connections: what is told, and what those get who send nonsense, too much, too
//! slowly, or nothing. Whatever they do, others are answered.
#![allow(clippy::disallowed_methods, reason = "the bans protect the product; these are its clients")]
#![allow(clippy::unwrap_used, reason = "the lint's exception for tests does not reach their helper functions")]

#[path = "control_http/skiffd.rs"]
mod skiffd;

use serde_json::{Value, json};
use skiffd::{Answer, LONG, Skiffd, read_answer, write_log};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// What a client does again and again.
type Act = Box<dyn FnMut(&mut UnixStream) + Send>;

#[test]
fn devices_and_instances() {
    let skiffd = Skiffd::start();
    let answer = skiffd.get("/v1/device");
    assert_eq!((answer.status, &answer.json()["device"]), (200, &json!("kiosk-1")));
    assert!(answer.head.contains("content-type: application/json\r\n"), "{}", answer.head);
    assert_eq!(skiffd.get("/v1/instances/web-0").json()["id"], "web-0");
    let ids =
        |answer: &Answer| answer.json().as_array().unwrap().iter().map(|one| one["id"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&skiffd.get("/v1/instances/web")), ["web-0", "web-1"]);
    // The instance, not the service that is called so as well.
    assert_eq!(skiffd.get("/v1/instances/web-1").json()["service"], "web");
    assert_eq!(skiffd.get("/v1/instances/idle").json(), json!([]));
    for target in ["/v1/instances/web-2", "/v1/instances/nobody", "/v1/logs/web-2", "/v1/logs/nobody"] {
        let answer = skiffd.get(target);
        assert_eq!(answer.status, 404, "{target}");
        assert!(answer.error().contains("is called `"), "{target}");
    }
}

#[test]
fn sync_and_drain() {
    let skiffd = Skiffd::start();
    let answer = skiffd.post("/v1/sync");
    assert_eq!((answer.status, answer.error().as_str()), (409, "no fleet is followed"));
    skiffd.of_loop.lock().unwrap().has_fleet = true;
    let answer = skiffd.post("/v1/sync");
    assert_eq!((answer.status, answer.json()), (200, json!({ "asked": true })));
    assert_eq!(skiffd.of_loop.lock().unwrap().syncs, 2);

    // An answer to a drain comes when it is done, however long it takes; meanwhile all else is answered.
    let mut drain = skiffd.connect();
    write!(drain, "POST /v1/drain HTTP/1.1\r\nhost: s\r\nconnection: close\r\n\r\n").unwrap();
    let began = Instant::now();
    while skiffd.of_loop.lock().unwrap().drains.is_empty() {
        assert!(began.elapsed() < LONG);
        std::thread::yield_now();
    }
    drain.set_read_timeout(Some(Duration::from_secs(6))).unwrap();
    assert_eq!(skiffd.get("/healthz").status, 200);
    assert!(drain.read(&mut [0]).is_err(), "it is answered before it is done");
    for done in skiffd.of_loop.lock().unwrap().drains.drain(..) {
        done.send(()).unwrap();
    }
    assert_eq!(read_answer(drain).json(), json!({ "drained": true }));
}

#[test]
fn events() {
    let skiffd = Skiffd::start();
    assert_eq!(skiffd.get("/v1/events").lines(), [Value::Null; 0]);
    for text in ["one", "two", "three"] {
        skiffd.happen(text);
    }
    let answer = skiffd.get("/v1/events");
    assert!(answer.head.contains("content-type: application/x-ndjson\r\n"), "{}", answer.head);
    assert_eq!(answer.texts(), ["one", "two", "three"]);
    assert_eq!(answer.lines()[0]["kind"], "instanceEnded");
    assert_eq!(skiffd.get("/v1/events?since=2").texts(), ["three"]);
    assert_eq!(skiffd.get("/v1/events?since=9").texts(), [""; 0]);

    let mut all = skiffd.follow("/v1/events?follow=true");
    let mut new = skiffd.follow("/v1/events?since=3&follow=true");
    assert_eq!([all.text(), all.text(), all.text()], ["one", "two", "three"]);
    for text in ["four", "five"] {
        skiffd.happen(text);
        assert_eq!([all.text(), new.text()], [text, text]);
    }
    drop(skiffd);
    assert!(all.comes_to_an_end());
}

#[test]
fn logs() {
    let skiffd = Skiffd::start();
    let logs = skiffd.logs();
    write_log(&logs, "web-0.log", [1, 3]);
    std::fs::rename(logs.join("web-0.log"), logs.join("web-0.log.1")).unwrap();
    write_log(&logs, "web-0.log", [5]);
    write_log(&logs, "web-1.log", [2, 4]);
    let answer = skiffd.get("/v1/logs/web-0?tail=2");
    assert_eq!((answer.status, answer.texts()), (200, vec!["3".to_owned(), "5".to_owned()]));
    let wanted = json!({
        "time": "2026-11-24T00:00:05.000000000Z", "stream": "stdout", "partial": false, "text": "5", "instance": "web-0"
    });
    assert_eq!(answer.lines()[1], wanted);
    assert_eq!(skiffd.get("/v1/logs/web").texts(), ["1", "2", "3", "4", "5"]);
    assert_eq!(skiffd.get("/v1/logs/web?tail=3&since=2026-11-24T00:00:04Z").texts(), ["4", "5"]);
    // A service whose instances never wrote anything.
    assert_eq!(skiffd.get("/v1/logs/idle").texts(), [""; 0]);
}

#[test]
fn logs_are_followed_over_rotations_and_to_new_instances() {
    let skiffd = Skiffd::start();
    let logs = skiffd.logs();
    write_log(&logs, "web-0.log", 0..3);
    let mut one = skiffd.follow("/v1/logs/web-0?tail=1&follow=true");
    let mut all = skiffd.follow("/v1/logs/web?tail=0&follow=true");
    assert_eq!(one.text(), "2");
    for number in 3..8 {
        write_log(&logs, "web-0.log", [number * 10]);
        std::fs::rename(logs.join("web-0.log"), logs.join("web-0.log.1")).unwrap();
        write_log(&logs, "web-0.log", [number * 10 + 1]);
        for wanted in [number * 10, number * 10 + 1] {
            assert_eq!([one.text(), all.text()], [wanted.to_string(), wanted.to_string()]);
        }
    }
    write_log(&logs, "web-7.log", [100]);
    let line = all.line();
    assert_eq!((&line["instance"], &line["text"]), (&json!("web-7"), &json!("100")));
    // An instance that has not begun to write, though the loop knows it.
    let mut later = skiffd.follow("/v1/logs/web-1?follow=true");
    write_log(&logs, "web-1.log", [5]);
    assert_eq!([later.text(), all.text()], ["5", "5"]);
}

#[test]
fn who_leaves_while_it_follows_leaves_nothing() {
    let skiffd = Skiffd::start();
    write_log(&skiffd.logs(), "web-0.log", [1]);
    for _ in 0..3 {
        let followers: Vec<_> = (0..16).map(|_| skiffd.follow("/v1/logs/web-0?follow=true&tail=0")).collect();
        let answer = skiffd.get("/v1/logs/web-0");
        assert_eq!(answer.status, 503);
        assert!(answer.error().contains("16 logs"));
        drop(followers);
        skiffd.until("/v1/logs/web-0", 200);
    }
    for _ in 0..3 {
        let followers: Vec<_> = (0..64).map(|_| skiffd.follow("/v1/events?follow=true")).collect();
        let answer = skiffd.get("/healthz");
        assert_eq!(answer.status, 503);
        assert!(answer.error().contains("too many connections"));
        drop(followers);
        skiffd.until("/healthz", 200);
    }
}

#[test]
fn health_and_figures() {
    let skiffd = Skiffd::start();
    for get in [Skiffd::get, Skiffd::get_from_port] {
        let before = skiffd.of_loop.lock().unwrap().looks;
        for target in ["/healthz", "/livez", "/readyz"] {
            let answer = get(&skiffd, target);
            assert_eq!((answer.status, answer.body.as_str()), (200, "ok\n"), "{target}");
        }
        assert_eq!(skiffd.of_loop.lock().unwrap().looks, before, "health asks no shim for figures");
        let answer = get(&skiffd, "/metrics");
        assert!(answer.head.contains("application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"), "{answer:?}");
        assert!(answer.status == 200 && answer.body.ends_with("# EOF\n"), "{answer:?}");
    }
    skiffd.of_loop.lock().unwrap().device.blocked = Some("the disk takes nothing".into());
    assert_eq!(skiffd.get_from_port("/healthz").status, 200);
    let answer = skiffd.get_from_port("/readyz");
    assert_eq!((answer.status, answer.error().as_str()), (503, "the disk takes nothing"));
    // The port takes no orders and tells nothing else.
    for line in ["GET /v1/device", "POST /v1/drain", "POST /v1/sync", "GET /v1/logs/web-0", "GET /v1/events"] {
        let answer = skiffd.send_to_port(format!("{line} HTTP/1.1\r\nhost: s\r\nconnection: close\r\n\r\n"));
        assert_eq!(answer.status, 404, "{line}");
    }
    assert!(skiffd.of_loop.lock().unwrap().drains.is_empty());
}

#[test]
fn a_stuck_loop_is_told_of_and_logs_and_events_can_be_read_meanwhile() {
    let skiffd = Skiffd::stuck();
    write_log(&skiffd.logs(), "web-0.log", [1]);
    skiffd.happen("one");
    let is_busy = |target| {
        let began = Instant::now();
        let answer = skiffd.get(target);
        assert_eq!((answer.status, answer.error().as_str()), (503, "skiffd is busy"), "{target}");
        let took = began.elapsed();
        assert!(took > Duration::from_secs(4) && took < Duration::from_secs(6), "{target}: {took:?}");
    };
    // It stays in the queue of the loop, which is full by it: the others do not even get in. That it is not the drain
    // matters, because one that got in is waited for as long as it takes.
    is_busy("/healthz");
    std::thread::scope(|scope| {
        for target in ["/livez", "/readyz", "/metrics", "/v1/device", "/v1/instances/web", "/v1/logs/nobody"] {
            scope.spawn(move || is_busy(target));
        }
        for target in ["/v1/sync", "/v1/drain"] {
            let skiffd = &skiffd;
            scope.spawn(move || assert_eq!(skiffd.post(target).status, 503, "{target}"));
        }
        let began = Instant::now();
        assert_eq!(skiffd.get("/v1/logs/web-0").texts(), ["1"]);
        assert_eq!(skiffd.get("/v1/events").texts(), ["one"]);
        assert!(began.elapsed() < Duration::from_secs(4));
    });
}

#[test]
fn nonsense() {
    let skiffd = Skiffd::start();
    let close = "host: s\r\nconnection: close\r\n\r\n";
    let long = "x".repeat(20_000);
    let many: String = (0..200).map(|number| format!("a{number}: b\r\n")).collect();
    let chunk = format!("{:x}\r\n{}\r\n", 0x8000, "y".repeat(0x8000)).repeat(3);
    let huge = "POST /v1/sync HTTP/1.1\r\nhost: s\r\ncontent-length: 99999999999\r\n\r\n".to_owned();
    let cases: [(String, &[u16]); 23] = [
        (format!("GET /v1/device HTTP/1.1\r\nx: {long}\r\n{close}"), &[431]),
        (format!("GET /{long} HTTP/1.1\r\n{close}"), &[431, 414]),
        (format!("GET /v1/device HTTP/1.1\r\n{many}{close}"), &[431]),
        (long.clone(), &[400, 431]),
        ("\r\n\r\n\r\nxyz\r\n\r\n".to_owned(), &[400]),
        ("\u{16}\u{3}\u{1}\0\0\0\0\r\n\r\n".to_owned(), &[400]),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), &[0]),
        (format!("GET /v1/device HTTP/9.9\r\n{close}"), &[400, 505]),
        (format!("GET /v1/\0device HTTP/1.1\r\n{close}"), &[400]),
        (format!("GET /v1/device HTTP/1.1\r\nx: \0\r\n{close}"), &[400]),
        (format!("GET /v1/logs/%00 HTTP/1.1\r\n{close}"), &[400]),
        (format!("GET /v1/logs/%zz HTTP/1.1\r\n{close}"), &[400]),
        (format!("GET /v1/logs/../../etc/passwd HTTP/1.1\r\n{close}"), &[404]),
        (format!("GET /v1/logs/.. HTTP/1.1\r\n{close}"), &[400]),
        (format!("GET /v1/logs/%2e%2e%2fsecret HTTP/1.1\r\n{close}"), &[400]),
        (format!("GET /v1/logs/web-0?lines=5 HTTP/1.1\r\n{close}"), &[400]),
        (format!("DELETE /v1/device HTTP/1.1\r\n{close}"), &[405]),
        (format!("GET /v1/drain HTTP/1.1\r\n{close}"), &[405]),
        (format!("OPTIONS * HTTP/1.1\r\n{close}"), &[404]),
        (format!("CONNECT example.org:80 HTTP/1.1\r\n{close}"), &[404]),
        (huge, &[413]),
        (format!("POST /v1/sync HTTP/1.1\r\nhost: s\r\ntransfer-encoding: chunked\r\n\r\n{chunk}0\r\n\r\n"), &[413]),
        (format!("POST /v1/sync HTTP/1.1\r\nhost: s\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{close}"), &[400]),
    ];
    for (request, statuses) in &cases {
        // At the port a refusal may be lost: TCP resets what is closed while the client still speaks.
        let answer = skiffd.send_to_port(request);
        assert!(statuses.contains(&answer.status) || [0, 404].contains(&answer.status), "{request:.60}: {answer:?}");
        let answer = skiffd.send(request);
        assert!(statuses.contains(&answer.status), "{request:.60}: {answer:?}");
        assert_eq!(skiffd.get("/healthz").status, 200, "{request:.60}");
    }
    assert!(skiffd.send(format!("PUT /v1/drain HTTP/1.1\r\n{close}")).head.contains("allow: POST\r\n"));
    assert!(skiffd.of_loop.lock().unwrap().drains.is_empty());
    assert_eq!(skiffd.of_loop.lock().unwrap().syncs, 0);
}

#[test]
fn small_bodies_and_several_requests_on_a_connection_are_borne() {
    let skiffd = Skiffd::start();
    skiffd.of_loop.lock().unwrap().has_fleet = true;
    let body = "z".repeat(60_000);
    let first = format!("POST /v1/sync HTTP/1.1\r\nhost: s\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let answer = skiffd.send(format!("{first}GET /healthz HTTP/1.1\r\nhost: s\r\nconnection: close\r\n\r\n"));
    assert_eq!(answer.status, 200);
    assert!(answer.body.starts_with("{\"asked\":true}\n") && answer.body.ends_with("ok\n"), "{}", answer.body);
}

#[test]
fn who_is_slow_or_says_nothing_is_left_after_a_while() {
    let skiffd = Skiffd::start();
    // How long it takes until the server closes, while `act` is done ten times a second.
    let until_closed = |mut stream: UnixStream, mut act: Act| {
        let began = Instant::now();
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let mut seen = Vec::new();
        while began.elapsed() < LONG {
            act(&mut stream);
            let mut bytes = [0; 1024];
            match stream.read(&mut bytes) {
                Ok(0) => break,
                Ok(count) => seen.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_closed) => break,
            }
        }
        (began.elapsed(), String::from_utf8(seen).unwrap())
    };
    let mut letters = b"GET /v1/device HTTP/1.1\r\nx: ".iter().copied().chain(std::iter::repeat(b'x'));
    let slow_head = move |stream: &mut UnixStream| drop(stream.write_all(&[letters.next().unwrap()]));
    let slow_body = |stream: &mut UnixStream| drop(stream.write_all(b"y"));
    let mut with_body = skiffd.connect();
    write!(with_body, "POST /v1/sync HTTP/1.1\r\nhost: s\r\ncontent-length: 1000\r\n\r\n").unwrap();
    let mut kept = skiffd.connect();
    write!(kept, "GET /healthz HTTP/1.1\r\nhost: s\r\n\r\n").unwrap();
    let cases: [(&str, UnixStream, Act, &str); 4] = [
        ("idle", skiffd.connect(), Box::new(|_| {}), ""),
        ("slow head", skiffd.connect(), Box::new(slow_head), ""),
        ("slow body", with_body, Box::new(slow_body), "HTTP/1.1 408 "),
        ("kept alive", kept, Box::new(|_| {}), "HTTP/1.1 200 "),
    ];
    std::thread::scope(|scope| {
        for (what, stream, act, begin) in cases {
            let until_closed = &until_closed;
            scope.spawn(move || {
                let (took, seen) = until_closed(stream, act);
                assert!(took > Duration::from_secs(8) && took < Duration::from_secs(15), "{what}: {took:?}");
                assert!(seen.starts_with(begin), "{what}: {seen}");
            });
        }
        assert_eq!(skiffd.get("/healthz").status, 200);
    });
    assert_eq!(skiffd.of_loop.lock().unwrap().syncs, 0);
}

#[test]
fn two_hundred_idle_connections() {
    let skiffd = Skiffd::start();
    let mut idle: Vec<_> = (0..200).map(|_| skiffd.connect()).collect();
    for refused in idle.drain(64..) {
        let answer = read_answer(refused);
        assert_eq!(answer.status, 503);
        assert!(answer.error().contains("too many"));
    }
    assert_eq!(idle.len(), 64);
    // The port has places of its own.
    assert_eq!(skiffd.get_from_port("/healthz").status, 200);
    drop(idle);
    skiffd.until("/healthz", 200);

    let idle: Vec<_> = (0..200).map(|_| TcpStream::connect(skiffd.port).unwrap()).collect();
    assert_eq!(skiffd.get("/healthz").status, 200);
    // Whether a client at the port gets the refusal or a reset depends on what it had sent.
    assert_ne!(skiffd.get_from_port("/healthz").status, 200);
    drop(idle);
    let began = Instant::now();
    while skiffd.get_from_port("/healthz").status != 200 {
        assert!(began.elapsed() < LONG);
    }
}

#[test]
fn who_reads_slowly_holds_nobody_up_and_gets_all() {
    let skiffd = Skiffd::start();
    let lines = 80_000;
    write_log(&skiffd.logs(), "web-0.log", 0..lines);
    let mut slow: Vec<_> = (0..8).map(|_| skiffd.connect()).collect();
    for stream in &mut slow {
        write!(stream, "GET /v1/logs/web-0 HTTP/1.1\r\nhost: s\r\nconnection: close\r\n\r\n").unwrap();
    }
    for _ in 0..20 {
        let began = Instant::now();
        assert_eq!(skiffd.get("/v1/device").status, 200);
        assert!(began.elapsed() < Duration::from_secs(2));
    }
    drop(slow.split_off(2));
    for stream in slow {
        let answer = read_answer(stream);
        assert_eq!(answer.body.lines().count() as u64, lines);
        assert_eq!(answer.body.lines().last().map(|line| line.contains("\"text\":\"79999\"")), Some(true));
    }
}
