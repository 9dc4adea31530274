//! Tests of the room `lint`: each mistake, with its path, and documents without one.

use super::*;
use crate::specimen;
use serde_json::{Value, json};

fn short(problems: &[Problem]) -> Vec<String> {
    let mark = |problem: &Problem| if problem.severity == Severity::Warning { "~" } else { "" };
    problems.iter().map(|problem| format!("{}{}", mark(problem), problem.path)).collect()
}

/// Problems of a release whose only service `web` is `extra` beside its bundle.
fn web(extra: Value) -> Vec<String> {
    services(json!({"web": extra}))
}

fn services(mut services: Value) -> Vec<String> {
    for service in services.as_object_mut().unwrap().values_mut() {
        service.as_object_mut().unwrap().entry("bundle").or_insert(json!("/srv/app"));
    }
    short(&release(&specimen::release(services)))
}

#[test]
fn services_one_by_one() {
    let probe = |probe: Value| json!({"network_mode": "host", "x-skiff": {"probes": {"liveness": probe}}});
    let limit = |limits: Value| json!({"deploy": {"resources": {"limits": limits}}});
    let backoff = |backoff: Value| json!({"x-skiff": {"backoff": backoff}});
    let cases = [
        (json!({}), ""),
        (json!({"bundle": "/srv/../etc"}), "bundle"),
        (json!({"bundle": "../web.tar.gz"}), ""),
        (json!({"bundle": ""}), "bundle"),
        (json!({"bundle": {"digest": format!("sha256:{:064}", 1), "size": 0}}), "bundle"),
        (json!({"stop_signal": "SIGNOPE"}), "stop_signal"),
        (json!({"stop_grace_period": "0s"}), "~stop_grace_period"),
        (json!({"working_dir": "srv"}), "working_dir"),
        (json!({"hostname": "-a"}), "hostname"),
        (json!({"command": [""]}), "command"),
        (json!({"command": ["a\u{0}b"]}), "command"),
        (json!({"restart": "no", "deploy": {"restart_policy": {"condition": "any"}}}), "restart"),
        (json!({"deploy": {"restart_policy": {"condition": "any", "delay": "0s"}}}), "deploy.restart_policy.delay"),
        (json!({"deploy": {"restart_policy": {"condition": "any", "window": "0s"}}}), "deploy.restart_policy.window"),
        (backoff(json!({"base": "0s"})), "x-skiff.backoff.base"),
        (backoff(json!({"resetAfter": "0s"})), "x-skiff.backoff.resetAfter"),
        (backoff(json!({"max": "10ms"})), "x-skiff.backoff.max"),
        (backoff(json!({"startLimit": "often"})), "x-skiff.backoff.startLimit"),
        (backoff(json!({"startLimit": "0/1h"})), "x-skiff.backoff.startLimit"),
        (limit(json!({"memory": 131_071})), "deploy.resources.limits.memory"),
        (limit(json!({"memory": "128K", "cpus": "0.01", "pids": 1})), ""),
        (limit(json!({"memory": u64::MAX})), "deploy.resources.limits.memory"),
        (limit(json!({"cpus": "0.009"})), "deploy.resources.limits.cpus"),
        (limit(json!({"pids": 0})), "deploy.resources.limits.pids"),
        (json!({"cap_add": ["net_raw"], "cap_drop": ["ALL"]}), ""),
        (json!({"cap_add": ["NET_RAWER"]}), "cap_add"),
        (json!({"cap_add": ["all"]}), "cap_add"),
        (json!({"cap_drop": ["EVERYTHING"]}), "cap_drop"),
        (json!({"cap_add": ["CAP_NET_RAW"], "cap_drop": ["net_raw"]}), "cap_drop"),
        (json!({"healthcheck": {"test": ["CMD", ""]}}), "healthcheck.test"),
        (json!({"healthcheck": {"test": "x", "retries": 0}}), "healthcheck.retries"),
        (json!({"healthcheck": {"test": "x", "interval": "1s", "timeout": "2s"}}), "healthcheck.timeout"),
        (probe(json!({})), "x-skiff.probes.liveness"),
        (probe(json!({"tcp": 80, "exec": ["x"]})), "x-skiff.probes.liveness"),
        (probe(json!({"tcp": 0})), "x-skiff.probes.liveness"),
        (probe(json!({"exec": []})), "x-skiff.probes.liveness.exec"),
        (probe(json!({"http": {"port": 80, "path": "up"}})), "x-skiff.probes.liveness.http.path"),
        (probe(json!({"http": {"port": 80, "path": "/a b"}})), "x-skiff.probes.liveness.http.path"),
        (probe(json!({"http": {"port": 80, "path": "/a\r\nX: y"}})), "x-skiff.probes.liveness.http.path"),
        (
            probe(json!({"tcp": 80, "interval": "0s", "timeout": "0s"})),
            "x-skiff.probes.liveness.interval x-skiff.probes.liveness.timeout",
        ),
        (probe(json!({"tcp": 80, "failureThreshold": 0})), "x-skiff.probes.liveness.failureThreshold"),
        (probe(json!({"tcp": 80, "initialDelay": "0s"})), ""),
        (json!({"x-skiff": {"probes": {"startup": {"tcp": 80}}}}), "x-skiff.probes.startup"),
        (
            json!({"network_mode": "host", "deploy": {"replicas": 2}, "x-skiff": {"probes": {"startup": {"tcp": 80}}}}),
            "~x-skiff.probes.startup",
        ),
        (json!({"healthcheck": {"test": "x"}, "x-skiff": {"probes": {"liveness": {"exec": ["x"]}}}}), "healthcheck"),
    ];
    for (extra, paths) in cases {
        let wanted: Vec<_> = paths
            .split_whitespace()
            .map(|path| match path.strip_prefix('~') {
                Some(path) => format!("~services.web.{path}"),
                None => format!("services.web.{path}"),
            })
            .collect();
        assert_eq!(web(extra.clone()), wanted, "{extra}");
    }
}

#[test]
fn dependencies() {
    let on = |name: &str, condition: &str| json!({"depends_on": {name: {"condition": condition}}});
    assert_eq!(services(json!({"web": on("db", "service_started")})), ["services.web.depends_on.db"]);
    let db = |db: Value, condition: &str| services(json!({"db": db, "web": on("db", condition)}));
    assert_eq!(db(json!({}), "service_healthy"), ["services.web.depends_on.db"]);
    assert_eq!(db(json!({"healthcheck": {"test": "x"}}), "service_healthy"), [""; 0]);
    assert_eq!(db(json!({"x-skiff": {"probes": {"startup": {"exec": ["x"]}}}}), "service_healthy"), [""; 0]);
    let live = json!({"x-skiff": {"probes": {"liveness": {"exec": ["x"]}}}});
    assert_eq!(db(live, "service_healthy"), ["services.web.depends_on.db"]);
    assert_eq!(db(json!({}), "service_completed_successfully"), ["services.web.depends_on.db"]);
    assert_eq!(db(json!({"restart": "no"}), "service_completed_successfully"), [""; 0]);
    assert_eq!(db(json!({"restart": "on-failure:3"}), "service_completed_successfully"), [""; 0]);
    assert_eq!(db(json!({"deploy": {"replicas": 0}}), "service_started"), ["~services.web.depends_on.db"]);
    let circle = release(&specimen::release(json!({
        "a": {"bundle": "/a", "depends_on": ["b"]}, "b": {"bundle": "/b", "depends_on": ["a"]}
    })));
    assert_eq!(
        circle[0].to_string(),
        "services.a.depends_on: it depends on itself: `a` -> `b` -> `a`; remove one of these dependencies"
    );
    assert!(refuses(&circle));
}

#[test]
fn all_problems_of_a_release_at_once() {
    let mut document = specimen::release(json!({"web": {"bundle": "web", "stop_signal": "x", "restart": "no"}}));
    document.api_version = "skiff.dev/v2".into();
    document.kind = "Fleet".into();
    document.metadata = crate::release::Metadata { name: " ".into(), version: "1 2".into() };
    let found = ["apiVersion", "kind", "metadata.name", "metadata.version", "services.web.stop_signal"];
    assert_eq!(short(&release(&document)), found);
    assert_eq!(short(&built_release(&document)), [&found[..], &["services.web.bundle"]].concat());
    assert_eq!(short(&release(&specimen::release(json!({})))), ["~services"]);
    assert!(!refuses(&release(&specimen::release(json!({})))));
    let many = json!({"web": {"bundle": "/x", "deploy": {"replicas": 1025}}});
    assert_eq!(short(&release(&specimen::release(many))), ["services"]);
}

fn index(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut document = json!({
        "apiVersion": "skiff.dev/v1", "kind": "Fleet", "metadata": {"name": "kiosks", "serial": 1},
        "releases": {"1": {"digest": format!("sha256:{:064}", 1), "size": 1}},
        "groups": [{"name": "all", "release": "1"}],
        "status": {"url": "https://fleet.example.com/devices/{id}"}
    });
    change(&mut document);
    let one = specimen::release(json!({}));
    short(&fleet(&serde_json::from_value(document).unwrap(), &[("1".to_owned(), &one), ("9".to_owned(), &one)].into()))
}

#[test]
fn indexes_one_by_one() {
    let at = |pointer: &'static str, value: Value| {
        index(|document| {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            document.pointer_mut(parent).unwrap()[key] = value;
        })
    };
    assert_eq!(index(|_| ()), [""; 0]);
    let cases = [
        ("/apiVersion", json!("1"), "apiVersion"),
        ("/kind", json!("Release"), "kind"),
        ("/metadata/name", json!("a/b"), "metadata.name"),
        ("/metadata/serial", json!(0), "metadata.serial"),
        ("/metadata/serial", json!((1_u64 << 53) + 1), "metadata.serial"),
        ("/metadata/expires", json!("2026-12-31T00:00:00Z"), ""),
        ("/metadata/expires", json!("2026-12-31T00:00:00.5+02:00"), ""),
        ("/metadata/expires", json!("2026-13-31T00:00:00Z"), "metadata.expires"),
        ("/metadata/expires", json!("2026-12-31T00:00:00"), "metadata.expires"),
        ("/metadata/expires", json!("2026-12-31T00:00:00.Z"), "metadata.expires"),
        ("/metadata/expires", json!("2026-12-31T00:00:0\u{e9}Z"), "metadata.expires"),
        ("/metadata/expires", json!("tomorrow"), "metadata.expires"),
        ("/poll", json!({"interval": "999ms"}), "poll.interval"),
        ("/poll", json!({"interval": "7h"}), "poll.maxBackoff"),
        ("/poll", json!({"jitter": "0%"}), ""),
        ("/poll", json!({"jitter": "101%"}), "poll.jitter"),
        ("/poll", json!({"jitter": "+1%"}), "poll.jitter"),
        ("/poll", json!({"jitter": "20"}), "poll.jitter"),
        ("/releases/1", json!({"digest": format!("sha256:{:064}", 1), "size": 0}), "releases.1"),
        ("/releases/2 x", json!("a.yaml"), "releases.2 x"),
        ("/releases/2", json!(""), "releases.2"),
        ("/releases/9", json!("a.yaml"), "releases.9"),
        ("/groups/0/name", json!(""), "groups[0].name"),
        ("/groups/0/release", json!("7"), "groups[0].release"),
        ("/groups/0/selector", json!({"matchLabels": {"": "x"}}), "groups[0].selector.matchLabels"),
        ("/groups/0/rollout", json!({"gate": {"deadline": "60s"}}), "groups[0].rollout.gate.deadline"),
        ("/groups/0/rollout", json!({"gate": {"minHealthy": "0s"}}), "~groups[0].rollout.gate.minHealthy"),
        ("/groups", json!([]), "~groups"),
        ("/devices", json!({"till": {"release": "7"}}), "devices.till.release"),
        ("/devices", json!({" ": {"release": "1"}}), "devices. "),
        ("/status/url", json!("ftp://x"), "status.url"),
        ("/status/url", json!("https:///x"), "status.url"),
        ("/status/url", json!("http://a b"), "status.url"),
        ("/status/every", json!("1ms"), "status.every"),
        ("/status/onChange", json!("0s"), "status.onChange"),
    ];
    for (pointer, value, path) in cases {
        let wanted: Vec<String> = Some(path.to_owned()).filter(|path| !path.is_empty()).into_iter().collect();
        assert_eq!(at(pointer, value.clone()), wanted, "{pointer} {value}");
    }
}

#[test]
fn selectors() {
    let one = |operator: &str, values: Value| {
        index(|document| {
            let expression = json!({"key": "arch", "operator": operator, "values": values});
            document["groups"][0]["selector"] = json!({"matchExpressions": [expression]});
        })
    };
    let path = ["groups[0].selector.matchExpressions[0].values"];
    assert_eq!(one("In", json!([])), path);
    assert_eq!(one("NotIn", json!([])), path);
    assert_eq!(one("Exists", json!(["x"])), path);
    assert_eq!(one("DoesNotExist", json!(["x"])), path);
    assert_eq!(one("In", json!(["x"])), [""; 0]);
    assert_eq!(one("Exists", json!([])), [""; 0]);
}

#[test]
fn groups_that_are_never_reached() {
    let groups = |groups: Value| index(|document| document["groups"] = groups);
    let group = |name: &str, labels: Value| json!({"name": name, "release": "1", "selector": {"matchLabels": labels}});
    assert_eq!(groups(json!([group("a", json!({})), group("b", json!({"x": "1"}))])), ["~groups[1]"]);
    assert_eq!(groups(json!([group("a", json!({"x": "1"})), group("b", json!({}))])), [""; 0]);
    assert_eq!(groups(json!([group("a", json!({"x": "1"})), group("b", json!({"x": "1", "y": "2"}))])), ["~groups[1]"]);
    assert_eq!(groups(json!([group("a", json!({"x": "1"})), group("a", json!({"x": "2"}))])), ["groups[1].name"]);
}
