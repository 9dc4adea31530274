//! What the image, a volume or a mount puts in the place of procfs and of the device that masks are made of.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;
use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::compare::each;
use skiff_integration_tests::runtime::Kind;
use skiff_lanes::runs;

use super::{Canaries, NOT_MEASURED, survives, without_mount};

/// Also CVE-2023-27561 and CVE-2023-28642, which brought it back: a volume in the place of /proc, so that labels and sysctls are
/// written to it and masks cover nothing.
#[test]
fn cve_2019_16884_a_volume_over_proc() {
    each(&NOT_MEASURED, |runtime| {
        let refused = |source: serde_json::Value, destination: &str| {
            let bundle = Bundle::new();
            let volume = bundle.path().join("volume");
            fs::create_dir_all(volume.join("self/attr")).unwrap();
            fs::write(volume.join("self/attr/exec"), "").unwrap();
            let source = if source.is_null() { json!(volume) } else { source };
            let bundle = bundle
                .mount(json!({"destination": destination, "source": source, "options": ["bind"], "type": "none"}));
            let container = runtime.container(&bundle);
            container.run(&[]).fails_with(&["/proc"]);
            container.assert_gone();
            assert_eq!(fs::read_to_string(volume.join("self/attr/exec")).unwrap(), "", "written to the volume");
        };
        for destination in ["/proc", "/proc/", "/x/../proc", "/proc/self", "/proc/self/attr", "/proc/sys"] {
            refused(json!(null), destination);
        }
        refused(json!("/tmp"), "/proc");
    });
}

/// The image itself has a link into procfs where the configuration mounts.
#[test]
fn cve_2023_27561_a_link_leads_a_mount_into_procfs() {
    each(&NOT_MEASURED, |runtime| {
        for target in ["/proc/self/attr", "/proc/sys", "../proc/1"] {
            let bundle =
                Bundle::new().writable().mount(json!({"destination": "/data/way", "type": "tmpfs", "source": "x"}));
            symlink(target, bundle.rootfs().join("data/way")).unwrap();
            let container = runtime.container(&bundle);
            container.run(&[]).fails_with(&["/data/way", "procfs"]);
            container.assert_gone();
        }
    });
}

/// Also CVE-2025-62596: what is written to procfs goes to a procfs of the runtime's own, never to what the image calls /proc.
#[test]
fn cve_2025_52881_sysctls_into_a_false_procfs() {
    each(&[], |runtime| {
        let canaries = Canaries::new();
        let bundle = without_mount(Bundle::new(), "/proc").file("/proc/sys/net/ipv4/ip_forward", 0o644, "fake\n").edit(
            |config| {
                config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
                config["linux"]["maskedPaths"] = json!([]);
                config["linux"]["readonlyPaths"] = json!([]);
            },
        );
        survives(runtime, &bundle, &canaries);
        let fake = fs::read_to_string(bundle.rootfs().join("proc/sys/net/ipv4/ip_forward")).unwrap();
        assert_eq!(fake, "fake\n", "written to the image");
    });
}

/// Also CVE-2025-62161: /dev/null of the container replaced, so that a mask shows (and lets write) something else.
#[runs(everywhere)]
fn cve_2025_31133_the_source_of_a_mask_is_not_the_images_null() {
    let open = [
        (Kind::Runc, "1.1.5 is before the fix"),
        (Kind::Crun, "not measured"),
        (Kind::Reference, "refuses, and leaves its folder"),
    ];
    each(&open, |runtime| {
        let canaries = Canaries::new();
        let evil = canaries.path().join("flag");
        let mask = |bundle: Bundle| bundle.edit(|config| config["linux"]["maskedPaths"] = json!(["/data/secret"]));
        let base = || {
            mask(Bundle::script("cat /data/secret; echo changed >/data/secret").writable().file(
                "/data/secret",
                0o666,
                "secret\n",
            ))
        };
        let bound = base().mount(json!({"destination": "/dev/null", "source": evil, "options": ["bind"]}));
        let seen = survives(runtime, &bound, &canaries);
        assert!(!seen.contains("canary") && !seen.contains("secret"), "{seen}");
        let replaced = without_mount(base(), "/dev");
        symlink(&evil, replaced.rootfs().join("dev/null")).unwrap();
        let seen = survives(runtime, &replaced, &canaries);
        assert!(!seen.contains("canary") && !seen.contains("secret"), "{seen}");
    });
}
