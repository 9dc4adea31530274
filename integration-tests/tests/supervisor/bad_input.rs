//! Bad input at every door: a clear error, and nothing changed.

use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::command::Invocation;
use skiff_integration_tests::device::{Device, program};
use skiff_lanes::runs;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

#[runs(host)]
fn settings_that_cannot_be_end_skiffd_with_100() {
    let device = Device::new();
    for (text, says) in [
        ("[fleet]\nurl = 'ftp://x'", "fleet.url"),
        ("[flet]\n", "flet"),
        ("x", "bad.toml:1"),
        ("[paths]\nrun='x'", "paths.run"),
        ("[paths]\nrun='/a/path/that/is/much/too/long/for/the/name/of/a/socket'", "40 bytes at most"),
    ] {
        let path = device.path("bad.toml");
        fs::write(&path, text).unwrap();
        let outcome = Invocation::new(program("skiffd"), &["--config", &path.to_string_lossy()]).run().exits(100);
        assert!(outcome.stderr.contains(says) && outcome.stderr.lines().count() == 1, "{outcome}");
    }
    let outcome = Invocation::new(program("skiffd"), &["--config", "/nonexistent"]).run().exits(100);
    assert!(outcome.stderr.contains("/nonexistent"), "{outcome}");
    Invocation::new(program("skiffd"), &["--colour"]).run().exits(2);
}

#[runs(host)]
fn a_second_skiffd_is_refused() {
    let mut device = Device::new();
    device.start();
    let outcome = Invocation::new(program("skiffd"), &["--config", &device.text("skiffd.toml")]).run();
    assert!(outcome.code.is_some_and(|code| code != 0) && outcome.stderr.contains("another skiffd"), "{outcome}");
    device.ctl(&["status"]).ok();
    device.finish();
}

#[runs(host)]
fn documents_that_are_not_understood_are_not_built() {
    let device = Device::new();
    let web = device.name("web");
    for (services, says) in [
        (format!("  {web}: {{image: nginx}}\n"), "image"),
        (format!("  {web}: {{bundle: /srv/x, ports: [\"80:80\"]}}\n"), "ports"),
        (format!("  {web}: {{bundle: /srv/x, comand: x}}\n"), "comand"),
        (format!("  {web}: {{bundle: /srv/x, depends_on: [nobody]}}\n"), "nobody"),
        (format!("  {web}: {{bundle: /srv/x, depends_on: [{web}]}}\n"), &web),
        (format!("  {web}: {{bundle: nothing-here}}\n"), "nothing-here"),
        (format!("  {web}: {{bundle: /srv/x, deploy: {{resources: {{limits: {{memory: lots}}}}}}}}\n"), "lots"),
        ("  Web: {bundle: /srv/x}\n".to_owned(), "Web"),
        ("  - broken\n".to_owned(), "yaml"),
    ] {
        device.release("1", &services);
        let index = "apiVersion: skiff.dev/v1\nkind: Fleet\nmetadata: {name: tests, serial: 1}\nreleases: {\"1\": releases/1.yaml}\ngroups: [{name: all, release: \"1\"}]\n";
        fs::write(device.path("fleet/fleet.yaml"), index).unwrap();
        let outcome = device.build();
        let text = outcome.clone().fails();
        assert!(text.contains(says) && text.contains("1.yaml"), "{services}: {outcome}");
        assert!(!device.path("public/index.json").exists(), "nothing is half built");
    }
}

#[runs(host)]
fn the_control_socket_takes_nothing_but_requests() {
    let mut device = Device::new();
    device.start();
    let say = |bytes: &[u8]| -> String {
        let mut stream = UnixStream::connect(device.path("run/skiff.sock")).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        let _may_be_closed = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _as_far_as_it_goes = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    };
    let close = "Host: x\r\nConnection: close\r\n\r\n";
    for (request, status) in [
        (format!("GET /v1/nothing HTTP/1.1\r\n{close}"), "404"),
        (format!("GET /v1/instances/..%2f..%2fetc HTTP/1.1\r\n{close}"), "40"),
        (format!("GET /v1/logs/nobody-0 HTTP/1.1\r\n{close}"), "404"),
        (format!("DELETE /v1/device HTTP/1.1\r\n{close}"), "405"),
        ("nonsense\r\n\r\n".to_owned(), "400"),
    ] {
        let answer = say(request.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
    }
    let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(2 << 20));
    let answer = say(long.as_bytes());
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    device.ctl(&["status"]).ok();
    let outcome = device.ctl(&["inspect", "nobody-0"]).exits(1);
    assert!(outcome.stderr.contains("nobody-0"), "{outcome}");
    let away = Invocation::new(program("skiffctl"), &["ps"]).env("SKIFF_SOCKET", "/nonexistent/sock").run().exits(125);
    assert!(away.stderr.contains("/nonexistent/sock"), "{away}");
    device.finish();
}

/// An archive made by hand, signed by the fleet's own key: the key vouches for who sent it, not for what is in it.
#[runs(host)]
fn an_archive_that_reaches_out_is_refused_and_nothing_of_it_stays() {
    let mut device = Device::new();
    let good = Bundle::sleeper();
    good.write();
    let canary = device.path("canary");
    fs::write(&canary, "untouched").unwrap();
    // First a link that leads out, and then a file through it.
    let (link, through) = (device.path("link"), device.path("through"));
    fs::create_dir_all(link.join("rootfs")).unwrap();
    fs::create_dir_all(through.join("rootfs/out")).unwrap();
    fs::copy(good.path().join("config.json"), link.join("config.json")).unwrap();
    std::os::unix::fs::symlink(device.path(""), link.join("rootfs/out")).unwrap();
    fs::write(through.join("rootfs/out/canary"), "gone").unwrap();
    let (archive, link, through) =
        (device.text("fleet/releases/evil.tar"), device.text("link"), device.text("through"));
    Invocation::new("tar", &["-cf", &archive, "-C", &link, "config.json", "rootfs"]).run().ok();
    Invocation::new("tar", &["-rf", &archive, "-C", &through, "rootfs/out/canary"]).run().ok();
    let web = device.name("web");
    device.release("1", &format!("  {web}: {{bundle: evil.tar}}\n"));
    device.publish("1");
    device.serve();
    device.start();
    let status = device.until_status("it is refused", |status| !status["fleet"]["lastRefusal"].is_null());
    let text = status["fleet"]["lastRefusal"]["text"].as_str().unwrap();
    assert!(text.contains("rootfs/out"), "{text}");
    assert_eq!(fs::read_to_string(&canary).unwrap(), "untouched");
    assert!(device.instance("web", 0).is_none());
    let left = fs::read_dir(device.path("state/fleet/bundles")).map(Iterator::count).unwrap_or_default();
    assert_eq!(left, 0, "nothing half unpacked stays");
    assert!(Path::new(&device.path("public")).exists());
    device.finish();
}
