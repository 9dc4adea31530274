//! Sysctls: set in the container's namespaces, refused outside of them, never set on the host.

use std::fs;

use serde_json::json;
use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::compare::{as_is, each, same};
use skiff_integration_tests::runtime::Kind;
use skiff_lanes::runs;

#[runs(everywhere)]
fn sysctls_of_the_containers_namespaces() {
    let script = "cd /proc/sys; cat kernel/shmmni kernel/msgmax net/ipv4/ip_forward fs/mqueue/msg_max";
    let bundle = Bundle::script(script).edit(|config| {
        config["linux"]["sysctl"] = json!({
            "kernel.shmmni": "1234", "kernel.msgmax": "4321", "net.ipv4.ip_forward": "1", "fs.mqueue.msg_max": "12",
        });
    });
    let before = fs::read_to_string("/proc/sys/kernel/shmmni").unwrap();
    if let Some(seen) = same(&[], &bundle, as_is) {
        assert_eq!(seen, "1234\n4321\n1\n12\n");
    }
    assert_eq!(fs::read_to_string("/proc/sys/kernel/shmmni").unwrap(), before);
}

#[test]
fn slashes_are_dots_too() {
    each(&[(Kind::Runc, "1.1 takes dots only"), (Kind::Reference, "takes dots only")], |runtime| {
        let bundle = Bundle::script("cat /proc/sys/net/ipv4/ip_forward")
            .edit(|config| config["linux"]["sysctl"] = json!({"net/ipv4/ip_forward": "1"}));
        assert_eq!(runtime.run(&bundle).ok(), "1\n");
    });
}

#[test]
fn sysctls_of_the_host_are_refused() {
    each(&[(Kind::Reference, "sets what it is told")], |runtime| {
        for name in ["vm.swappiness", "kernel.core_pattern", "kernel.hostname_that_is_not"] {
            let bundle = Bundle::new().edit(|config| config["linux"]["sysctl"] = json!({name: "1"}));
            let container = runtime.container(&bundle);
            container.run(&[]).fails_with(&[name]);
            container.assert_gone();
        }
        // Without the namespace it would be the host's.
        let bundle = Bundle::new().without_namespace("ipc").edit(|config| {
            config["linux"]["sysctl"] = json!({"kernel.shmmni": "77"});
        });
        let container = runtime.container(&bundle);
        container.run(&[]).fails_with(&["kernel.shmmni"]);
        container.assert_gone();
    });
    assert_ne!(fs::read_to_string("/proc/sys/kernel/shmmni").unwrap().trim(), "77");
}

#[test]
fn a_path_to_the_runtimes_own_network_is_not_the_containers() {
    each(&[(Kind::Runc, "not measured"), (Kind::Crun, "not measured"), (Kind::Reference, "not measured")], |runtime| {
        let bundle = Bundle::new()
            .namespace("network", Some("/proc/self/ns/net"))
            .edit(|config| config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"}));
        let container = runtime.container(&bundle);
        container.run_under(&["unshare", "-n"], &[]).run().fails_with(&["net.ipv4.ip_forward"]);
        container.assert_gone();
    });
}
