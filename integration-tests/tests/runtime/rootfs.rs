//! The root file system: where it may be, its propagation, read-only root, and `--no-pivot`.

use std::fs;

use serde_json::json;
use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::compare::{each, same};
use skiff_integration_tests::runtime::Kind;
use skiff_lanes::runs;

#[runs(everywhere)]
fn a_read_only_root_refuses_writing() {
    for (readonly, expected) in [(true, "refused\n"), (false, "written\n")] {
        let bundle = Bundle::script("echo x 2>/dev/null >/data/new && echo written || echo refused; exit 0")
            .edit(|config| config["root"]["readonly"] = json!(readonly));
        // busybox sh reports the failed redirection itself.
        let bundle = bundle.args(&["/bin/sh", "-c", "(touch /data/new) 2>/dev/null && echo written || echo refused"]);
        if let Some(seen) = same(&[], &bundle, |text| text.to_owned()) {
            assert_eq!(seen, expected);
        }
    }
}

#[test]
fn the_root_may_be_absolute() {
    each(&[], |runtime| {
        let bundle = Bundle::script("echo here");
        let rootfs = bundle.rootfs();
        let bundle = bundle.edit(|config| config["root"]["path"] = json!(rootfs));
        assert_eq!(runtime.run(&bundle).ok(), "here\n");
    });
}

#[runs(everywhere)]
fn nothing_of_the_host_is_seen() {
    each(&[], |runtime| {
        let bundle = Bundle::script("ls -a / | tr '\\n' ' '; ls /..; cat /proc/self/mountinfo");
        let secret = bundle.path().join("secret");
        fs::write(&secret, "").unwrap();
        let seen = runtime.run(&bundle).ok();
        assert!(!seen.contains("secret"), "{seen}");
        assert!(!seen.contains("/run/") && !seen.contains("/oldroot"), "{seen}");
    });
}

#[runs(everywhere)]
fn no_pivot_moves_the_root() {
    each(&[(Kind::Reference, "covered by the others")], |runtime| {
        let bundle = Bundle::script("ls /; ls /.. | wc -l; head -1 /proc/self/mountinfo").writable();
        let plain = runtime.container(&bundle).run(&[]).ok();
        let moved = runtime.container(&bundle).run(&["--no-pivot"]).ok();
        let names = |text: &str| {
            text.lines().take_while(|line| !line.starts_with(char::is_numeric)).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(names(&plain), names(&moved));
        assert!(names(&plain).contains(&"bin".to_owned()), "{plain}");
    });
}

#[runs(everywhere)]
fn the_hosts_mount_table_stays_as_it_was() {
    each(&[(Kind::Reference, "fails with some of the words")], |runtime| {
        for propagation in ["private", "rprivate", "slave", "rslave"] {
            let bundle = Bundle::script("mount -t tmpfs x /mnt 2>/dev/null; echo done")
                .edit(|config| config["linux"]["rootfsPropagation"] = json!(propagation));
            let container = runtime.container(&bundle);
            assert_eq!(container.run(&[]).ok(), "done\n");
            container.assert_gone();
        }
    });
}

fn propagation_of_root(text: &str) -> String {
    let line = text.lines().find(|line| line.split(' ').nth(4) == Some("/")).expect("a root is mounted");
    let tags = line.split(" - ").next().unwrap().split(' ').skip(6);
    tags.map(|tag| tag.split(':').next().unwrap()).collect::<Vec<_>>().join(",")
}

#[test]
fn propagation_of_the_root() {
    for (asked, expected) in [
        ("private", ""),
        ("rprivate", ""),
        ("slave", ""),
        ("rslave", ""),
        ("shared", "shared"),
        ("unbindable", "unbindable"),
    ] {
        let exemptions = [
            (Kind::Runc, "1.1 applies it before it binds the root, which pivot_root then takes as private"),
            (Kind::Crun, "the wrapped crun starts from a private tree"),
            (Kind::Reference, "keeps its default for the root"),
        ];
        let bundle = Bundle::new().args(&["/bin/cat", "/proc/self/mountinfo"]).edit(|config| {
            config["linux"]["rootfsPropagation"] = json!(asked);
        });
        if let Some(seen) = same(&exemptions, &bundle, propagation_of_root) {
            // A slave of a host that shares nothing is private.
            let is_slave = asked.ends_with("slave") && seen == "master";
            assert!(is_slave || seen == expected, "{asked}: {seen:?}");
        }
    }
}

#[test]
fn a_root_that_is_a_link_or_a_file_is_refused() {
    // runc resolves a link; skiff refuses it, for the target may change between the check and the use.
    let resolving = [(Kind::Runc, "resolves it"), (Kind::Crun, "resolves it"), (Kind::Reference, "resolves it")];
    each(&resolving, |runtime| {
        let bundle = Bundle::new();
        fs::rename(bundle.rootfs(), bundle.path().join("real")).unwrap();
        std::os::unix::fs::symlink("real", bundle.rootfs()).unwrap();
        let container = runtime.container(&bundle);
        container.run(&[]).fails_with(&["rootfs"]);
        container.assert_gone();
    });
    each(&[], |runtime| {
        let bundle = Bundle::new();
        fs::remove_dir_all(bundle.rootfs()).unwrap();
        fs::write(bundle.rootfs(), "").unwrap();
        let container = runtime.container(&bundle);
        container.run(&[]).fails();
        container.assert_gone();
    });
}

#[test]
fn root_of_a_host_folder_with_its_own_mounts() {
    // The root's own submounts come along (rbind), and go with the container.
    each(&[], |runtime| {
        let bundle = Bundle::script("cat /data/inner");
        let at = bundle.rootfs().join("data");
        let at = at.to_string_lossy();
        let shell = |script: &str| skiff_integration_tests::command::Invocation::new("sh", &["-c", script]).run();
        shell(&format!("mount -t tmpfs x {at} && echo inner >{at}/inner")).ok();
        let outcome = runtime.run(&bundle);
        shell(&format!("umount {at}")).ok();
        assert_eq!(outcome.ok(), "inner\n");
    });
}
