//! Masked and read-only paths: what they hide, and that a path that is not there is left out.

use serde_json::json;
use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::compare::{as_is, each, same};
use skiff_integration_tests::runtime::Kind;
use skiff_lanes::runs;

#[runs(everywhere)]
fn a_masked_file_is_empty_and_a_masked_folder_too() {
    let bundle = Bundle::script("wc -c </data/file; ls /data/folder | wc -l; (echo x >/data/folder/new) 2>/dev/null; ls /data/folder | wc -l; echo kept >/data/file; wc -c </data/file")
        .file("/data/file", 0o644, "secret")
        .file("/data/folder/inner", 0o644, "secret")
        .writable()
        .edit(|config| config["linux"]["maskedPaths"] = json!(["/data/file", "/data/folder", "/not/there"]));
    if let Some(seen) = same(&[], &bundle, as_is) {
        assert_eq!(seen, "0\n0\n0\n0\n");
    }
    assert_eq!(std::fs::read_to_string(bundle.rootfs().join("data/file")).unwrap(), "secret");
    assert!(!bundle.rootfs().join("not").exists(), "nothing is made to be masked");
}

#[runs(everywhere)]
fn default_masks_of_proc_and_sys() {
    let script = "for path in /proc/kcore /proc/keys /proc/timer_list; do head -c 1 $path 2>/dev/null | wc -c; done; for folder in /proc/acpi /sys/firmware; do ls -A $folder 2>/dev/null | wc -l; done";
    let numbers = |text: &str| text.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    if let Some(seen) = same(&[], &Bundle::script(script), numbers) {
        assert_eq!(seen, "0 0 0 0 0");
    }
}

#[runs(everywhere)]
fn read_only_paths_refuse_writing() {
    let bundle = Bundle::script(
        "for path in /data/folder/new /data/file /proc/sys/kernel/domainname; do (echo x >$path) 2>&1 | grep -o 'Read-only file system'; done; cat /data/file",
    )
    .file("/data/file", 0o644, "kept\n")
    .file("/data/folder/inner", 0o644, "")
    .writable()
    .edit(|config| config["linux"]["readonlyPaths"] = json!(["/data/file", "/data/folder", "/not/there", "/proc/sys"]));
    if let Some(seen) = same(&[], &bundle, as_is) {
        assert_eq!(seen, "Read-only file system\nRead-only file system\nRead-only file system\nkept\n");
    }
}

/// What is masked stays so where all around it is made read-only.
#[runs(everywhere)]
fn masks_below_a_read_only_proc_and_sys() {
    let script = "head -c 1 /proc/kcore 2>/dev/null | wc -c; ls -A /sys/kernel | wc -l
        for path in /proc/sys/kernel/domainname /sys/power/state; do (echo x >$path) 2>&1 | grep -o 'Read-only file system'; done";
    let bundle = Bundle::script(script).edit(|config| {
        config["linux"]["readonlyPaths"] = json!(["/proc", "/sys"]);
        config["linux"]["maskedPaths"] = json!(["/proc/kcore", "/sys/kernel"]);
    });
    let numbers = |text: &str| text.lines().map(str::trim).take(3).collect::<Vec<_>>().join(" ");
    if let Some(seen) = same(&[], &bundle, numbers) {
        assert_eq!(seen, "0 0 Read-only file system");
    }
}

#[test]
fn a_read_only_path_keeps_the_flags_of_its_mount() {
    // A remount without nosuid,nodev,noexec would take them away (and is refused in a user namespace).
    let bundle = Bundle::new()
        .args(&["/bin/grep", " /mnt/inner ", "/proc/self/mountinfo"])
        .mount(json!({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "noexec"]}))
        .mount(json!({"destination": "/mnt/inner", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "noexec"]}))
        .edit(|config| config["linux"]["readonlyPaths"] = json!(["/mnt/inner"]));
    let options = |text: &str| text.lines().last().unwrap().split(' ').nth(5).unwrap().to_owned();
    if let Some(seen) = same(&[(Kind::Crun, "1.8 takes the flags away")], &bundle, options) {
        assert_eq!(seen, "ro,nosuid,nodev,noexec,relatime");
    }
}

#[test]
fn no_protection_is_possible_too() {
    each(&[], |runtime| {
        let bundle = Bundle::script("head -c 1 /proc/timer_list | wc -c").edit(|config| {
            config["linux"]["maskedPaths"] = json!([]);
            config["linux"]["readonlyPaths"] = json!([]);
        });
        let _readable_or_not = runtime.run(&bundle).ok();
    });
}

#[test]
fn a_masked_path_that_is_a_link_does_not_reach_the_target() {
    // CVE-2025-31133's family: the mask must not be laid over what an image's link points to without a word.
    let following = [
        (Kind::Runc, "1.1 follows it in the root"),
        (Kind::Crun, "follows it in the root"),
        (Kind::Reference, "follows it in the root"),
    ];
    each(&following, |runtime| {
        let bundle = Bundle::script("cat /data/target").file("/data/target", 0o644, "plain\n").edit(|config| {
            config["linux"]["maskedPaths"] = json!(["/data/link"]);
        });
        std::os::unix::fs::symlink("target", bundle.rootfs().join("data/link")).unwrap();
        let container = runtime.container(&bundle);
        container.run(&[]).fails_with(&["/data/link"]);
        container.assert_gone();
    });
}
