//! Devices: the default nodes and links of /dev, `linux.devices`, and devices in a user namespace.

use serde_json::json;
use skiff_integration_tests::bundle::{Bundle, in_user_namespaces};
use skiff_integration_tests::compare::{as_is, each, same};
use skiff_integration_tests::runtime::Kind;
use skiff_integration_tests::skip::skip;
use skiff_lanes::runs;

#[runs(everywhere)]
fn default_nodes() {
    if in_user_namespaces() {
        return skip("a user namespace makes no device nodes but borrows the host's");
    }
    let bundle = Bundle::script(
        "cd /dev && for node in null zero full random urandom tty; do stat -c '%n %F %t:%T %a %u:%g' $node; done",
    );
    if let Some(seen) = same(&[], &bundle, as_is) {
        let expected = "null character special file 1:3 666 0:0\nzero character special file 1:5 666 0:0\n\
            full character special file 1:7 666 0:0\nrandom character special file 1:8 666 0:0\n\
            urandom character special file 1:9 666 0:0\ntty character special file 5:0 666 0:0\n";
        assert_eq!(seen, expected);
    }
}

#[runs(everywhere)]
fn default_links() {
    let bundle =
        Bundle::script("cd /dev && for name in fd stdin stdout stderr ptmx; do echo $name $(readlink $name); done");
    if let Some(seen) = same(&[], &bundle, as_is) {
        let links =
            "fd /proc/self/fd\nstdin /proc/self/fd/0\nstdout /proc/self/fd/1\nstderr /proc/self/fd/2\nptmx pts/ptmx\n";
        assert_eq!(seen, links);
    }
}

#[runs(everywhere)]
fn default_nodes_work() {
    each(&[], |runtime| {
        let script = "echo lost >/dev/null && head -c 4 /dev/zero | od -An -tx1 && head -c 16 /dev/urandom | wc -c; \
            (echo x >/dev/full) 2>/dev/null || echo full";
        assert_eq!(runtime.run(&Bundle::script(script)).ok(), " 00 00 00 00\n16\nfull\n");
    });
}

#[test]
fn nothing_else_of_the_hosts_dev() {
    let bundle = Bundle::script("ls /dev | sort | tr '\\n' ' '");
    // `core` is a link to /proc/kcore where that is; console only with a terminal.
    let without_core =
        |text: &str| text.split_whitespace().filter(|name| *name != "core").collect::<Vec<_>>().join(" ");
    if let Some(seen) = same(&[], &bundle, without_core) {
        assert_eq!(seen, "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero");
    }
}

#[runs(everywhere)]
fn configured_devices() {
    if in_user_namespaces() {
        return skip("a user namespace makes no device nodes but borrows the host's");
    }
    let bundle = Bundle::script("cd /dev; stat -c '%n %F %t:%T %a %u:%g' zero2 deep/block pipe").edit(|config| {
        config["linux"]["devices"] = json!([
            {"path": "/dev/zero2", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 7, "gid": 8},
            {"path": "/dev/deep/block", "type": "b", "major": 7, "minor": 200, "fileMode": 0o600},
            {"path": "/dev/pipe", "type": "p", "fileMode": 0o622},
        ]);
    });
    let exemption = [(Kind::Reference, "makes no fifo")];
    if let Some(seen) = same(&exemption, &bundle, as_is) {
        let expected = "zero2 character special file 1:5 640 7:8\ndeep/block block special file 7:c8 600 0:0\npipe fifo 0:0 622 0:0\n";
        assert_eq!(seen, expected);
    }
}

#[test]
fn a_configured_device_replaces_a_default_one() {
    if in_user_namespaces() {
        return skip("a user namespace makes no device nodes but borrows the host's");
    }
    let bundle = Bundle::script("stat -c '%t:%T %a' /dev/null").edit(|config| {
        config["linux"]["devices"] =
            json!([{"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600, "uid": 0, "gid": 0}]);
        // runc's rule for the default node goes with it.
        let rules = config["linux"]["resources"]["devices"].as_array_mut().unwrap();
        rules.push(json!({"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"}));
    });
    let exemptions = [(Kind::Crun, "leaves the default one"), (Kind::Reference, "fails: it exists")];
    if let Some(seen) = same(&exemptions, &bundle, as_is) {
        assert_eq!(seen, "1:3 600\n");
    }
}

#[test]
fn a_device_outside_of_dev() {
    if in_user_namespaces() {
        return skip("a user namespace makes no device nodes but borrows the host's");
    }
    each(&[(Kind::Reference, "refuses it")], |runtime| {
        let bundle = Bundle::script("stat -c '%F %t:%T' /data/zero").writable().edit(|config| {
            config["linux"]["devices"] =
                json!([{"path": "/data/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 0o666}]);
        });
        assert_eq!(runtime.run(&bundle).ok(), "character special file 1:5\n");
    });
}

#[test]
fn devices_are_the_hosts_in_a_user_namespace() {
    let bundle = Bundle::script(
        "cd /dev && stat -c '%n %t:%T' null zero full random urandom tty && echo x >null && readlink ptmx",
    )
    .user_namespace(200_000);
    if let Some(seen) = same(&[], &bundle, as_is) {
        assert_eq!(seen, "null 1:3\nzero 1:5\nfull 1:7\nrandom 1:8\nurandom 1:9\ntty 5:0\npts/ptmx\n");
    }
}

#[runs(everywhere)]
fn a_new_pseudo_terminal_can_be_made() {
    each(&[], |runtime| {
        let bundle = Bundle::script("stat -Lc '%F %t:%T %a' /dev/ptmx; exec 5<>/dev/ptmx && ls /dev/pts");
        assert_eq!(runtime.run(&bundle).ok(), "character special file 5:2 666\n0\nptmx\n");
    });
}
