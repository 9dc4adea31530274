//! What is asked for, and what is refused whatever it is.

use super::*;
use std::time::Duration;

fn at(door: Door, method: &str, target: &str) -> Result<Route, (u16, String)> {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let method = method.parse().unwrap();
    route(door, &method, path, query).map_err(|refusal| {
        assert!(!refusal.failure.error.is_empty() && !refusal.failure.hint.is_empty(), "{target}");
        assert!(!refusal.failure.error.contains(char::is_control), "{target}");
        assert_eq!(refusal.allow.is_some(), refusal.status == StatusCode::METHOD_NOT_ALLOWED, "{target}");
        (refusal.status.as_u16(), refusal.failure.error)
    })
}

fn get(target: &str) -> Result<Route, (u16, String)> {
    at(Door::Socket, "GET", target)
}

#[track_caller]
fn refused(target: &str, status: u16) -> String {
    let (found, error) = get(target).expect_err(target);
    assert_eq!(found, status, "{target}: {error}");
    error
}

fn name(text: &str) -> Name {
    Name { text: text.into(), instance: text.parse().ok() }
}

#[test]
fn routes() {
    assert_eq!(get("/v1/device"), Ok(Route::Device));
    assert_eq!(get("/v1/instances/web-0"), Ok(Route::Instance(name("web-0"))));
    assert_eq!(get("/v1/instances/web"), Ok(Route::Instance(Name { text: "web".into(), instance: None })));
    assert_eq!(get("/v1/events"), Ok(Route::Events { since: 0, follow: false }));
    assert_eq!(get("/v1/events?follow=true&since=18"), Ok(Route::Events { since: 18, follow: true }));
    assert_eq!(get("/v1/logs/web-0"), Ok(Route::Logs(name("web-0"), Reading::default())));
    let since = Some(SystemTime::UNIX_EPOCH + Duration::new(1, 500_000_000));
    let reading = Reading { tail: Some(7), since, follow: true };
    let target = "/v1/logs/web?tail=7&since=1970-01-01T00%3a00:01.5Z&follow=true";
    assert_eq!(get(target), Ok(Route::Logs(name("web"), reading)));
    assert_eq!(at(Door::Socket, "POST", "/v1/sync"), Ok(Route::Sync));
    assert_eq!(at(Door::Socket, "POST", "/v1/drain"), Ok(Route::Drain));
}

#[test]
fn the_port_takes_no_orders() {
    for door in [Door::Socket, Door::Port] {
        assert_eq!(at(door, "GET", "/metrics"), Ok(Route::Metrics));
        assert_eq!(at(door, "GET", "/healthz"), Ok(Route::Live));
        assert_eq!(at(door, "GET", "/livez"), Ok(Route::Live));
        assert_eq!(at(door, "GET", "/readyz"), Ok(Route::Ready));
    }
    for target in ["/v1/device", "/v1/instances/web-0", "/v1/events", "/v1/logs/web-0", "/v1/sync", "/v1/drain"] {
        for method in ["GET", "POST"] {
            assert_eq!(at(Door::Port, method, target).unwrap_err().0, 404, "{method} {target}");
        }
    }
}

#[test]
fn methods() {
    for (target, right) in [("/v1/device", "GET"), ("/v1/logs/web", "GET"), ("/v1/sync", "POST"), ("/v1/drain", "POST")]
    {
        for method in ["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "BREW"] {
            let status = at(Door::Socket, method, target).map_err(|(status, _)| status).err();
            assert_eq!(status, (method != right).then_some(405), "{method} {target}");
        }
    }
    let allow = |path| route(Door::Socket, &Method::DELETE, path, None).unwrap_err().allow;
    assert_eq!((allow("/v1/drain"), allow("/metrics")), (Some(Method::POST), Some(Method::GET)));
}

#[test]
fn nothing_is_there() {
    for target in [
        "",
        "/",
        "*",
        "/v1",
        "/v1/",
        "/v1/device/",
        "//v1/device",
        "/V1/device",
        "/v2/device",
        "/v1/instances",
        "/x%0",
        "/v1/logs/a/b",
    ] {
        let status = get(target).expect_err(target).0;
        assert_eq!(status, if target == "/x%0" { 400 } else { 404 }, "{target}");
    }
}

#[test]
fn names_that_cannot_be() {
    for name in ["..", ".", "", "%2e%2e", "%2e%2e%2fetc%2fpasswd", "a%2fb", "-web", "Web", "web%20", "%c3%a9", "*"] {
        refused(&format!("/v1/logs/{name}"), 400);
        refused(&format!("/v1/instances/{name}"), 400);
    }
    refused(&format!("/v1/logs/{}", "x".repeat(5000)), 400);
    // Encoded or not, it is the same name.
    assert_eq!(get("/v1/instances/%77eb-0"), get("/v1/instances/web-0"));
}

#[test]
fn encodings_that_cannot_be() {
    for text in ["%", "%4", "%zz", "%+1", "%00", "%0a", "%7f", "%ff", "%c3", "%ed%a0%80"] {
        refused(&format!("/v1/logs/{text}"), 400);
        refused(&format!("/v1/logs/web?since={text}"), 400);
        refused(&format!("/v1/logs/web?{text}=1"), 400);
    }
}

#[test]
fn parameters() {
    for target in ["/v1/device?x=1", "/v1/events?tail=1", "/v1/logs/web?Tail=1", "/healthz?verbose", "/v1/logs/web?=1"]
    {
        assert!(refused(target, 400).contains("is not known here"), "{target}");
    }
    assert!(refused("/v1/logs/web?tail=1&tail=1", 400).contains("twice"));
    assert!(refused("/v1/logs/web?tail=1&t%61il=2", 400).contains("twice"));
    for value in
        ["tail", "tail=", "tail=-1", "tail=1.5", "tail=18446744073709551616", "follow=yes", "follow", "since=now"]
    {
        assert!(refused(&format!("/v1/logs/web?{value}"), 400).contains("parameter"), "{value}");
    }
    refused("/v1/events?since=-1", 400);
    refused("/v1/logs/web?since=1969-12-31T23:59:59Z", 400);
    refused("/v1/logs/web?since=2026-11-24T08:00:00%2b2:00", 400);
    assert_eq!(get("/v1/device?"), Ok(Route::Device));
    assert_eq!(get("/v1/device?&&"), Ok(Route::Device));
    // The wrong method is told before wrong parameters, and so is a wrong place.
    assert_eq!(at(Door::Socket, "PUT", "/v1/device?x=1").unwrap_err().0, 405);
    refused("/nowhere?x=1", 404);
}
