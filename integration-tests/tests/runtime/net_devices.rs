//! `linux.netDevices`: interfaces of the host in the container, with what they had, and back when there is no container.
//! Everything happens in a network namespace that stands for the host's.

use serde_json::{Value, json};
use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::command::Outcome;
use skiff_integration_tests::compare::{Exemption, each};
use skiff_integration_tests::runtime::{Container, Kind};
use skiff_lanes::runs;

const OLD: [Exemption; 3] = [
    (Kind::Runc, "1.1 does not know the property"),
    (Kind::Crun, "1.8 does not know the property"),
    (Kind::Reference, "not measured"),
];

/// What is there before and after: names, hardware addresses, addresses, whether it is up.
const LOOK: &str = "look() { ip -o link show skt0; ip -o addr show skt0 scope global; ip -o link show skt1; }; \
    tidy() { sed 's/^[0-9]*: //; s/@[^:]*//; s/NO-CARRIER,\\|LOWER_UP\\|M-DOWN//g; s/state [A-Z]*//; s/qdisc [a-z]*//; s/link-netns[a-z]* [^ ]*//; s/ *\\\\.*link/ link/'; };";

/// Runs the container on a host with the interfaces `skt0` and `skt1`. The outcome is the container's; on standard error comes
/// `same` or `other` if what is there afterwards is, or is not, what was there before.
fn on_a_host(container: &Container<'_>, options: &[&str]) -> Outcome {
    let script = format!(
        "{LOOK} ip link add skt0 type veth peer name skt1 && ip link set skt0 address 02:00:00:00:00:07 mtu 1400 && \
         ip addr add 10.7.0.1/24 brd + dev skt0 && ip addr add fd00:7::1/64 dev skt0 nodad && ip link set skt0 up && \
         ip addr add 10.8.0.1/32 dev skt1 || exit 99; look | tidy >before; \"$@\"; code=$?; look 2>/dev/null | tidy >after; \
         if cmp -s before after; then echo same >&2; else echo other >&2; diff before after >&2; fi; exit $code"
    );
    let folder = container.bundle.path().to_string_lossy().into_owned();
    let script = format!("cd {folder}; {script}");
    container.run_under(&["unshare", "--net", "sh", "-c", &script, "sh"], options).run()
}

type Edit = fn(&mut Value);

fn with(bundle: Bundle, devices: &Value) -> Bundle {
    bundle.edit(|config| config["linux"]["netDevices"] = devices.clone())
}

#[runs(host, guest)]
fn an_interface_keeps_what_it_had() {
    let script = "cat /sys/class/net/eth7/address /sys/class/net/eth7/mtu; ip addr show eth7; test ! -e /sys/class/net/skt0; ls /sys/class/net";
    let edits: [fn(Bundle) -> Bundle; 2] = [|bundle| bundle, |bundle| bundle.user_namespace(500_000)];
    for edit in edits {
        each(&OLD, |runtime| {
            let bundle = edit(with(Bundle::script(script), &json!({"skt0": {"name": "eth7"}, "skt1": {}})));
            let container = runtime.container(&bundle);
            let seen = on_a_host(&container, &[]).ok();
            for shown in ["02:00:00:00:00:07\n1400\n", "inet 10.7.0.1/24 brd 10.7.0.255", "inet6 fd00:7::1/64", ",UP"] {
                assert!(seen.contains(shown), "{shown}: {seen}");
            }
            assert!(seen.ends_with("eth7\nlo\nskt1\n"), "{seen}");
            container.assert_gone();
        });
    }
}

#[runs(host, guest)]
fn hooks_find_it_in_the_container() {
    each(&OLD, |runtime| {
        let bundle = with(Bundle::script("cat /sys/class/net/skt0/operstate"), &json!({"skt0": {}}));
        let hook = "pid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/'); grep -q skt0 /proc/$pid/net/dev";
        let bundle = bundle.edit(|config| {
            config["hooks"] = json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", hook]}]});
        });
        on_a_host(&runtime.container(&bundle), &[]).ok();
    });
}

#[runs(host, guest)]
fn what_fails_brings_everything_back() {
    let both = json!({"skt0": {"name": "eth7"}, "skt1": {}});
    let edits: [(&str, Edit); 6] = [
        ("no program", |config| config["process"]["args"] = json!(["/nope"])),
        ("no binary", |config| config["process"]["args"] = json!(["/data/words"])),
        ("a hook", |config| config["hooks"] = json!({"createRuntime": [{"path": "/bin/false"}]})),
        ("a hook of the container", |config| config["hooks"] = json!({"startContainer": [{"path": "/bin/false"}]})),
        ("an interface", |config| config["linux"]["netDevices"]["skt9"] = json!({})),
        ("a name", |config| config["linux"]["netDevices"]["skt1"]["name"] = json!("lo")),
    ];
    for (what, edit) in edits {
        each(&OLD, |runtime| {
            let bundle = Bundle::new().file("/data/words", 0o755, "just words\n");
            let bundle = with(bundle, &both).edit(edit);
            let container = runtime.container(&bundle);
            let outcome = on_a_host(&container, &[]);
            assert!(!outcome.succeeded() && outcome.stderr.ends_with("same\n"), "{what}: {outcome}");
            container.assert_gone();
        });
    }
}

#[test]
fn what_cannot_be_had_is_refused() {
    each(&OLD, |runtime| {
        for (devices, words) in [
            (json!({"skt9": {}}), ["linux.netDevices.skt9", "no interface"]),
            (json!({"lo": {"name": "lo7"}}), ["linux.netDevices.lo", "cannot leave"]),
            (json!({"skt0": {"name": "lo"}}), ["linux.netDevices.skt0", "already"]),
            (json!({"skt0": {"name": "a/b"}}), ["linux.netDevices.skt0", "`a/b`"]),
        ] {
            let bundle = with(Bundle::new(), &devices);
            let container = runtime.container(&bundle);
            on_a_host(&container, &[]).fails_with(&words);
            container.assert_gone();
        }
        let bundle = with(Bundle::new(), &json!({"skt0": {}}));
        let bundle = bundle.edit(|config| {
            config["linux"]["namespaces"].as_array_mut().unwrap().retain(|entry| entry["type"] != "network");
        });
        let container = runtime.container(&bundle);
        on_a_host(&container, &[]).fails_with(&["linux.netDevices", "linux.namespaces"]);
        container.assert_gone();
    });
}

#[runs(host, guest)]
fn a_created_container_has_it_until_it_is_deleted() {
    each(&OLD, |runtime| {
        // Both, because the end of one is the end of the other, and the host ends before its container here.
        let bundle = with(Bundle::sleeper(), &json!({"skt0": {}, "skt1": {}}));
        let container = runtime.container(&bundle);
        on_a_host(&container, &["--detach"]).ok();
        let seen = container.verb("exec", &[], &["cat", "/proc/net/dev"]).run().ok();
        assert!(seen.contains("skt0:"), "{seen}");
        container.delete(&["--force"]).ok();
        container.assert_gone();
    });
}
