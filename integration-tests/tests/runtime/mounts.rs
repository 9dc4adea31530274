//! Mounts: every type and option of the specification, as the container's mountinfo and its programs see them.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use skiff_integration_tests::bundle::{Bundle, in_user_namespaces};
use skiff_integration_tests::command::Invocation;
use skiff_integration_tests::compare::{Exemption, as_is, each, same};
use skiff_integration_tests::kernel;
use skiff_integration_tests::runtime::Kind;
use skiff_integration_tests::skip::skip;
use skiff_lanes::runs;

/// Options and propagation of the last mount on `at`, sorted: `options;super options;propagation`.
fn line_of(mountinfo: &str, at: &str) -> Option<String> {
    let line = mountinfo.lines().rfind(|line| line.split(' ').nth(4) == Some(at))?;
    let (left, right) = line.split_once(" - ")?;
    let left: Vec<&str> = left.split(' ').collect();
    let right: Vec<&str> = right.split(' ').collect();
    let mut options: Vec<&str> = left[5].split(',').collect();
    options.sort_unstable();
    let mut propagation: Vec<&str> = left[6..].iter().map(|tag| tag.split(':').next().unwrap_or(tag)).collect();
    // Where systemd shares the host's tree runc and skiff keep the container's a slave of it, and crun makes it private.
    propagation.retain(|tag| *tag != "master");
    Some(format!("{} {} {};{}", right[0], right[1], options.join(","), propagation.join(",")))
}

fn shows(at: &'static str) -> impl Fn(&str) -> String {
    move |text| line_of(text, at).unwrap_or_else(|| panic!("no mount on {at}:\n{text}"))
}

fn mountinfo() -> Bundle {
    Bundle::new().args(&["/bin/cat", "/proc/self/mountinfo"])
}

#[runs(everywhere)]
fn default_mounts_look_as_in_the_references() {
    let bundle = mountinfo();
    let view = |text: &str| {
        let points = ["/", "/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys"];
        let lines: Vec<String> = points.iter().map(|at| format!("{at} {}", shows_super(text, at))).collect();
        lines.join("\n")
    };
    if let Some(seen) = same(&[], &bundle, view) {
        assert!(seen.contains("/dev/shm tmpfs nodev,noexec,nosuid"), "{seen}");
        assert!(seen.contains("/proc proc "), "{seen}");
    }
}

fn shows_super(text: &str, at: &str) -> String {
    let line = line_of(text, at).unwrap_or_else(|| panic!("no mount on {at}:\n{text}"));
    let mut words = line.split(' ');
    // The source of a bind is a path of this machine.
    format!("{} {}", words.next().unwrap(), words.nth(1).unwrap())
}

#[test]
fn nothing_but_the_configured_mounts() {
    let bundle = mountinfo();
    let points = |text: &str| {
        let mut points: Vec<&str> = text.lines().filter_map(|line| line.split(' ').nth(4)).collect();
        // v1 controllers differ by layout; masks differ between runtimes in kind but not in place.
        points.retain(|point| !point.starts_with("/sys/fs/cgroup/"));
        points.sort_unstable();
        points.dedup();
        points.join("\n")
    };
    same(&[], &bundle, points);
}

/// One row: mount options in, options seen.
const OPTIONS: &[(&[&str], &str)] = &[
    (&["ro"], "ro,relatime"),
    (&["rw"], "rw,relatime"),
    (&["nosuid", "nodev", "noexec"], "rw,nosuid,nodev,noexec,relatime"),
    (&["nosuid", "suid"], "rw,relatime"),
    (&["nodev", "dev", "noexec", "exec"], "rw,relatime"),
    (&["noatime"], "rw,noatime"),
    (&["nodiratime"], "rw,nodiratime,relatime"),
    (&["strictatime"], "rw"),
    (&["relatime"], "rw,relatime"),
    (&["ro", "rw"], "rw,relatime"),
];

/// crun 1.8 does not let the later of two opposite options win; runc and mount(8) do.
fn opposites(options: &[&str]) -> &'static [Exemption] {
    let has_pair = ["suid", "dev", "exec"]
        .iter()
        .chain(&["rw"][usize::from(options.len() == 1)..])
        .any(|word| options.contains(word));
    if has_pair { &[(Kind::Crun, "crun 1.8 ignores the later of two opposite options")] } else { &[] }
}

fn sorted(options: &str) -> String {
    let mut options: Vec<&str> = options.split(',').collect();
    options.sort_unstable();
    options.join(",")
}

#[runs(everywhere)]
fn attributes_of_a_tmpfs() {
    for (options, expected) in OPTIONS {
        let mount = json!({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": options});
        if let Some(seen) = same(opposites(options), &mountinfo().mount(mount), shows("/mnt")) {
            assert_eq!(seen, format!("tmpfs tmpfs {};", sorted(expected)), "{options:?}");
        }
    }
}

#[runs(everywhere)]
fn attributes_of_a_bind() {
    for (plain, expected) in OPTIONS {
        // A bind keeps the atime mode of its source unless told: a tmpfs of our own is on relatime everywhere.
        let nested = Nested::new();
        let options: Vec<&str> = ["bind"].iter().chain(plain.iter()).copied().collect();
        let source = nested.path();
        let bundle =
            mountinfo().mount(json!({"destination": "/mnt", "type": "bind", "source": source, "options": options}));
        let view = |text: &str| {
            let line = shows("/mnt")(text);
            line.split(' ').nth(2).unwrap().to_owned()
        };
        if let Some(seen) = same(opposites(plain), &bundle, view) {
            assert_eq!(seen, format!("{};", sorted(expected)), "{plain:?}");
        }
    }
}

#[test]
fn data_of_a_tmpfs() {
    let bundle = Bundle::script("stat -c %a /mnt; df -k /mnt | tail -1 | tr -s ' ' | cut -d' ' -f2; stat -c '%u %g' /mnt").mount(
        json!({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1711", "size=128k", "uid=3", "gid=4"]}),
    );
    let old = [(Kind::Runc, "runc 1.1.5 puts the covered folder's mode over the one that was asked (fixed in 1.2)")];
    if let Some(seen) = same(&old, &bundle, as_is) {
        assert_eq!(seen, "1711\n128\n3 4\n");
    }
}

#[test]
fn tmpfs_takes_the_mode_of_what_it_covers() {
    // runc gives a tmpfs the mode of the folder below when no mode is asked.
    each(&[(Kind::Reference, "has the kernel's 1777"), (Kind::Crun, "has the kernel's 1777")], |runtime| {
        let bundle = Bundle::script("stat -c %a /data")
            .mount(json!({"destination": "/data", "type": "tmpfs", "source": "tmpfs"}));
        fs::set_permissions(bundle.rootfs().join("data"), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
        assert_eq!(runtime.run(&bundle).ok(), "711\n");
    });
}

#[runs(everywhere)]
fn bind_of_a_folder_and_of_a_file() {
    each(&[], |runtime| {
        let bundle = Bundle::script("cat /mnt/inner /data/made/file /etc/passwd; echo new >/mnt/written");
        let folder = bundle.path().join("folder");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("inner"), "inner\n").unwrap();
        let file = bundle.path().join("file");
        fs::write(&file, "file\n").unwrap();
        let bundle = bundle
            .mount(json!({"destination": "/mnt", "source": folder, "options": ["bind"]}))
            .mount(json!({"destination": "/data/made/file", "type": "bind", "source": file, "options": ["rbind"]}))
            .mount(json!({"destination": "/etc/passwd", "type": "none", "source": file, "options": ["bind", "ro"]}));
        assert_eq!(runtime.run(&bundle).ok(), "inner\nfile\nfile\n");
        assert_eq!(fs::read_to_string(folder.join("written")).unwrap(), "new\n");
        assert!(bundle.rootfs().join("data/made/file").is_file(), "the mount point of a file is a file");
    });
}

#[test]
fn bind_source_is_relative_to_the_bundle() {
    each(&[(Kind::Reference, "takes it relative to its own working directory")], |runtime| {
        let bundle = Bundle::script("cat /mnt/inner")
            .mount(json!({"destination": "/mnt", "source": "folder", "options": ["bind"]}));
        fs::create_dir(bundle.path().join("folder")).unwrap();
        fs::write(bundle.path().join("folder/inner"), "inner\n").unwrap();
        assert_eq!(runtime.run(&bundle).ok(), "inner\n");
    });
}

#[test]
fn read_only_bind_refuses_writing() {
    each(&[], |runtime| {
        let bundle = Bundle::script("echo x >/mnt/new");
        let folder = bundle.path().join("folder");
        fs::create_dir(&folder).unwrap();
        let bundle = bundle.mount(json!({"destination": "/mnt", "source": folder, "options": ["bind", "ro"]}));
        runtime.run(&bundle).fails_with(&["Read-only file system"]);
        assert!(!folder.join("new").exists());
    });
}

/// A tmpfs with a tmpfs in it, for as long as the value lives.
struct Nested(tempfile::TempDir);

impl Nested {
    fn new() -> Self {
        // Outside of the bundle, whose mounts count as left behind.
        let folder = tempfile::Builder::new().prefix("skt-nested-").tempdir().unwrap();
        let at = folder.path().display().to_string();
        shell(&format!("mount -t tmpfs outer {at} && mkdir {at}/inner && mount -t tmpfs inner {at}/inner"));
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Nested {
    fn drop(&mut self) {
        shell(&format!("umount -R {}", self.path().display()));
    }
}

fn shell(script: &str) {
    Invocation::new("sh", &["-c", script]).run().ok();
}

fn nested(options: &[&str], exemptions: &[Exemption], view: impl Fn(&str) -> String) -> Option<String> {
    let nested = Nested::new();
    let mount = json!({"destination": "/mnt", "source": nested.path(), "options": options});
    same(exemptions, &mountinfo().mount(mount), view)
}

#[runs(everywhere)]
fn bind_is_one_mount_and_rbind_is_a_tree() {
    let inner = |text: &str| line_of(text, "/mnt/inner").map_or_else(|| "none".to_owned(), |_| "there".to_owned());
    if let Some(seen) = nested(&["bind"], &[], inner) {
        assert_eq!(seen, "none");
    }
    if let Some(seen) = nested(&["rbind"], &[], inner) {
        assert_eq!(seen, "there");
    }
}

#[runs(everywhere)]
fn plain_attributes_do_not_recurse_and_r_attributes_do() {
    if kernel::lacks("mount_setattr") {
        return each(&[], |runtime| {
            let nested = Nested::new();
            let mount = json!({"destination": "/mnt", "source": nested.path(), "options": ["rbind", "rro"]});
            runtime.run(&mountinfo().mount(mount)).fails_with(&["recursive options", "Linux 5.12"]);
        });
    }
    let both = |text: &str| format!("{} | {}", shows("/mnt")(text), shows("/mnt/inner")(text));
    if let Some(seen) = nested(&["rbind", "ro", "nosuid"], &[], both) {
        assert_eq!(seen, "tmpfs outer nosuid,relatime,ro; | tmpfs inner relatime,rw;");
    }
    for (option, expected) in [
        ("rro", "relatime,ro"),
        ("rnosuid", "nosuid,relatime,rw"),
        ("rnodev", "nodev,relatime,rw"),
        ("rnoexec", "noexec,relatime,rw"),
        ("rnoatime", "noatime,rw"),
        ("rstrictatime", "rw"),
        ("rnodiratime", "nodiratime,relatime,rw"),
    ] {
        let atime: &[Exemption] = match option.contains("atime") {
            true => &[(Kind::Crun, "crun 1.8 asks for the atime mode without clearing the old one: EINVAL")],
            false => &[],
        };
        if let Some(seen) = nested(&["rbind", option], atime, both) {
            assert_eq!(seen, format!("tmpfs outer {expected}; | tmpfs inner {expected};"), "{option}");
        }
    }
}

#[runs(everywhere)]
fn propagation_of_a_mount() {
    for (option, expected) in [
        ("private", ""),
        ("rprivate", ""),
        ("shared", "shared"),
        ("rshared", "shared"),
        ("unbindable", "unbindable"),
        ("runbindable", "unbindable"),
    ] {
        let mount = json!({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": [option]});
        let view = |text: &str| shows("/mnt")(text).rsplit_once(';').unwrap().1.to_owned();
        let deaf: &[Exemption] = match option {
            "shared" | "rshared" | "unbindable" | "runbindable" => &[
                (Kind::Crun, "crun 1.8 makes the tree private afterwards"),
                (Kind::Reference, "libcontainer does so too"),
            ],
            _ => &[],
        };
        if let Some(seen) = same(deaf, &mountinfo().mount(mount), view) {
            assert_eq!(seen, expected, "{option}");
        }
    }
}

#[test]
fn slave_mounts_receive_from_the_host_and_send_nothing() {
    let alone = [(Kind::Crun, "runs in a private mount namespace here"), (Kind::Reference, "fails on a shared source")];
    each(&alone, |runtime| {
        let nested = Nested::new();
        let at = nested.path();
        shell(&format!("mount --make-rshared {}", at.display()));
        let mount = json!({"destination": "/mnt", "source": at, "options": ["rbind", "rslave"]});
        let slave_root = |config: &mut Value| config["linux"]["rootfsPropagation"] = json!("rslave");
        let bundle = Bundle::sleeper().mount(mount).edit(slave_root);
        let container = runtime.container(&bundle);
        container.run(&["--detach"]).ok();
        shell(&format!("mkdir {0}/late && mount -t tmpfs late {0}/late", at.display()));
        let table = fs::read_to_string(format!("/proc/{}/mountinfo", container.pid())).unwrap();
        assert!(line_of(&table, "/mnt/late").is_some(), "{table}");
        container.delete(&["--force"]).ok();
    });
}

#[runs(everywhere)]
fn tmpcopyup_copies_what_was_below() {
    let exemptions = [(Kind::Reference, "does not know it")];
    let bundle = Bundle::script("cat /data/file; cat /data/folder/deep; stat -c '%a %u' /data/file; readlink /data/link; echo x >/data/new; ls /data | wc -l")
        .file("/data/file", 0o640, "below\n")
        .file("/data/folder/deep", 0o644, "deep\n")
        .mount(json!({"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}));
    std::os::unix::fs::symlink("file", bundle.rootfs().join("data/link")).unwrap();
    if let Some(seen) = same(&exemptions, &bundle, as_is) {
        assert_eq!(seen, "below\ndeep\n640 0\nfile\n4\n");
    }
    assert!(!bundle.rootfs().join("data/new").exists());
}

#[test]
fn relative_destination_is_below_the_root() {
    let mount = json!({"destination": "mnt", "type": "tmpfs", "source": "tmpfs"});
    if let Some(seen) = same(&[], &mountinfo().mount(mount), shows("/mnt")) {
        assert_eq!(seen, "tmpfs tmpfs relatime,rw;");
    }
}

#[runs(everywhere)]
fn missing_mount_points_are_made() {
    each(&[(Kind::Crun, "crun sets the sticky bit on what it makes")], |runtime| {
        let bundle = Bundle::script("stat -c '%a %u:%g' /data/a /data/a/b")
            .mount(json!({"destination": "/data/a/b", "type": "tmpfs", "source": "tmpfs", "options": ["mode=700"]}));
        assert_eq!(runtime.run(&bundle).ok(), "755 0:0\n700 0:0\n");
    });
}

#[test]
fn a_destination_through_a_link_stays_in_the_root() {
    each(&[], |runtime| {
        let bundle = Bundle::script("cat /proc/self/mountinfo")
            .mount(json!({"destination": "/link/deep", "type": "tmpfs", "source": "tmpfs"}));
        let outside = bundle.path().join("outside");
        fs::create_dir(&outside).unwrap();
        std::os::unix::fs::symlink(&outside, bundle.rootfs().join("link")).unwrap();
        // Either it is made inside of the root, or refused; never outside.
        let _either_way = runtime.run(&bundle);
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "made on the host");
    });
}

#[test]
fn mqueue_sysfs_proc_devpts_types() {
    let bundle = Bundle::script("cat /proc/self/mountinfo; test -d /mnt/self && test -e /data/pts/ptmx && test -d /root/kernel")
        .mount(json!({"destination": "/mnt", "type": "proc", "source": "proc", "options": ["nosuid"]}))
        .mount(json!({"destination": "/data/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"]}))
        .mount(json!({"destination": "/data/queue", "type": "mqueue", "source": "mqueue"}))
        .mount(json!({"destination": "/root", "type": "sysfs", "source": "sysfs", "options": ["ro"]}));
    let view = |text: &str| ["/mnt", "/data/pts", "/data/queue", "/root"].map(|at| shows_super(text, at)).join("\n");
    // runc refuses a mount inside of /proc only; procfs twice is fine.
    if let Some(seen) = same(&[], &bundle, view) {
        assert_eq!(seen, "proc nosuid,relatime,rw;\ndevpts relatime,rw;\nmqueue relatime,rw;\nsysfs relatime,ro;");
    }
}

#[test]
fn overlay_is_mounted_by_its_data() {
    if in_user_namespaces() {
        return skip("an overlay made in a user namespace may not mark its upper folder, and is read-only");
    }
    let holder = Bundle::new();
    let folder = |name: &str| holder.path().join(name).to_string_lossy().into_owned();
    let (low, up, scratch) = (folder("low"), folder("up"), folder("wk"));
    for path in [&low, &up, &scratch] {
        fs::create_dir(path).unwrap();
    }
    fs::write(format!("{low}/low"), "low\n").unwrap();
    each(&[], |runtime| {
        let options = [format!("lowerdir={low}"), format!("upperdir={up}"), format!("workdir={scratch}")];
        let bundle = Bundle::script("cat /mnt/low; echo up >/mnt/new; cat /mnt/new")
            .mount(json!({"destination": "/mnt", "type": "overlay", "source": "overlay", "options": options}));
        assert_eq!(runtime.run(&bundle).ok(), "low\nup\n");
        assert_eq!(fs::read_to_string(format!("{up}/new")).unwrap(), "up\n");
    });
}

#[runs(cgroups)]
fn cgroup_mount_shows_the_containers_own_groups() {
    each(&[(Kind::Reference, "libcontainer forgets `ro` on v1")], |runtime| {
        // v2: the files themselves; v1: a folder for each controller.
        let bundle = Bundle::script("cat /sys/fs/cgroup/cgroup.procs 2>/dev/null || cat /sys/fs/cgroup/*/cgroup.procs | sort -u; touch /sys/fs/cgroup/x 2>/dev/null && echo writable")
            .namespace("cgroup", None);
        let seen = runtime.run(&bundle).stdout;
        assert!(seen.lines().any(|line| line == "1"), "its own pid, in its own pid namespace: {seen}");
        assert!(!seen.contains("writable"), "{seen}");
    });
}

fn idmap(mount: Value) -> Bundle {
    let bundle = Bundle::script("stat -c '%u:%g' /mnt/file; echo >/mnt/new");
    let folder = bundle.path().join("folder");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("file"), "").unwrap();
    std::os::unix::fs::chown(&folder, Some(100_000), Some(100_000)).unwrap();
    std::os::unix::fs::chown(folder.join("file"), Some(100_007), Some(100_008)).unwrap();
    let mut mount = mount;
    mount["destination"] = json!("/mnt");
    mount["source"] = json!(folder);
    bundle.mount(mount)
}

#[runs(everywhere)]
fn idmapped_mount_by_its_own_mappings() {
    if in_user_namespaces() {
        return skip("the mapping is to the host's root, who is nobody there");
    }
    let old = [
        (Kind::Runc, "runc 1.1 has no idmapped mounts"),
        (Kind::Crun, "crun 1.8 wants its own option"),
        (Kind::Reference, "parses and validates it only"),
    ];
    each(&old, |runtime| {
        // The ids of the file system, shifted down by 100000 (config.md, mounts: containerID is what the file has).
        let map = json!([{"containerID": 100_000, "hostID": 0, "size": 65536}]);
        for options in [json!(["bind", "idmap"]), json!(["rbind", "ridmap"]), json!(["bind"])] {
            let bundle = idmap(json!({"type": "bind", "options": options, "uidMappings": map, "gidMappings": map}));
            if kernel::lacks("mount_setattr") {
                runtime.run(&bundle).fails_with(&["id mapping (Linux 5.12)"]);
                continue;
            }
            assert_eq!(runtime.run(&bundle).ok(), "7:8\n", "{options}");
            let made = fs::metadata(bundle.path().join("folder/new")).unwrap();
            assert_eq!(std::os::unix::fs::MetadataExt::uid(&made), 100_000, "new files get the file system's ids");
        }
    });
}
