//! Bad input, as a table: what is wrong, how the runtime exits, which words its one line has; and nothing is left.

use std::fs::{self, File};

use serde_json::{Value, json};
use skiff_integration_tests::bundle::{Bundle, in_user_namespaces};
use skiff_integration_tests::compare::each;
use skiff_integration_tests::runtime::{Kind, Runtime};
use skiff_integration_tests::skip::skip;
use skiff_lanes::runs;

/// What is done to a good bundle.
type Edit = fn(&mut Value);

/// One row: a name, the edit, the exit code of `run`, words that the error has, and the references that accept the row
/// or fail in a way of their own, by their letters (`r`unc, `c`run, re`f`erence).
struct Row(&'static str, Edit, i32, &'static [&'static str], &'static str);

/// Each of them refuses by its own words; `run` exits with 1 for a bad configuration.
const CONFIG: &[Row] = &[
    Row("version of the future", |c| c["ociVersion"] = json!("2.0.0"), 1, &["ociVersion", "2.0.0"], "r"),
    Row("version that is none", |c| c["ociVersion"] = json!("one"), 1, &["ociVersion", "one"], "r"),
    Row("no version", |c| drop(take(c, "ociVersion")), 1, &["ociVersion"], "rc"),
    Row("no root", |c| drop(take(c, "root")), 1, &["root"], ""),
    Row("root not there", |c| c["root"]["path"] = json!("elsewhere"), 1, &["elsewhere"], ""),
    Row("no process", |c| drop(take(c, "process")), 1, &["process"], ""),
    Row("no arguments", |c| c["process"]["args"] = json!([]), 1, &["process.args"], "f"),
    Row("empty program", |c| c["process"]["args"] = json!([""]), 127, &["executable file not found in $PATH"], "rcf"),
    Row("arguments are a string", |c| c["process"]["args"] = json!("true"), 1, &["config.json"], ""),
    Row("NUL in an argument", |c| c["process"]["args"] = json!(["/bin/true", "a\0b"]), 1, &["process.args"], "cf"),
    Row("NUL in the environment", |c| c["process"]["env"] = json!(["A=a\0b"]), 1, &["process.env"], "rcf"),
    Row("variable without =", |c| c["process"]["env"] = json!(["NOTHING"]), 1, &["process.env[0]"], "rcf"),
    Row("relative working directory", |c| c["process"]["cwd"] = json!("data"), 1, &["process.cwd"], "cf"),
    Row("no working directory", |c| c["process"]["cwd"] = json!(""), 1, &["process.cwd"], "rcf"),
    Row("uid of -1", |c| c["process"]["user"]["uid"] = json!(4_294_967_295u32), 1, &["process.user.uid"], "rcf"),
    Row("gid of -1", |c| c["process"]["user"]["gid"] = json!(4_294_967_295u32), 1, &["process.user.gid"], "rcf"),
    Row("uid beyond 32 bits", |c| c["process"]["user"]["uid"] = json!(5_000_000_000u64), 1, &["config.json"], "c"),
    Row("negative uid", |c| c["process"]["user"]["uid"] = json!(-1), 1, &["config.json"], "c"),
    Row(
        "additional gid of -1",
        |c| c["process"]["user"]["additionalGids"] = json!([4_294_967_295u32]),
        1,
        &["additionalGids"],
        "rcf",
    ),
    Row("unmapped uid", unmapped_user, 1, &["70000"], "cf"),
    Row(
        "unknown limit",
        |c| c["process"]["rlimits"] = json!([{"type": "RLIMIT_FOO", "soft": 1, "hard": 1}]),
        1,
        &["RLIMIT_FOO"],
        "c",
    ),
    Row("limit given twice", twice_limited, 1, &["RLIMIT_NOFILE"], "rcf"),
    Row("soft limit over hard", |c| c["process"]["rlimits"][0]["soft"] = json!(100_000), 1, &["RLIMIT_NOFILE"], "c"),
    Row("score out of range", |c| c["process"]["oomScoreAdj"] = json!(2000), 1, &["process.oomScoreAdj"], "cf"),
    Row("umask out of range", |c| c["process"]["user"]["umask"] = json!(0o10000), 1, &["process.user.umask"], "rcf"),
    Row("unknown scheduler", |c| c["process"]["scheduler"] = json!({"policy": "SCHED_FOO"}), 1, &["SCHED_FOO"], "rc"),
    Row(
        "unknown io class",
        |c| c["process"]["ioPriority"] = json!({"class": "IOPRIO_FOO", "priority": 1}),
        1,
        &["IOPRIO_FOO"],
        "rc",
    ),
    Row(
        "io priority out of range",
        |c| c["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 9}),
        1,
        &["process.ioPriority"],
        "rcf",
    ),
    Row("unknown namespace", |c| namespaces(c).push(json!({"type": "galaxy"})), 1, &["galaxy"], "c"),
    Row("namespace given twice", |c| namespaces(c).push(json!({"type": "pid"})), 1, &["linux.namespaces", "pid"], "cf"),
    Row(
        "namespace path not there",
        |c| namespaces(c)[0]["path"] = json!("/does/not/exist"),
        1,
        &["/does/not/exist"],
        "c",
    ),
    Row("no mount namespace", |c| namespaces(c).retain(|entry| entry["type"] != "mount"), 1, &["mount"], "rcf"),
    Row("name without uts namespace", |c| namespaces(c).retain(|entry| entry["type"] != "uts"), 1, &["hostname"], "f"),
    Row("domain without uts namespace", domain_of_the_host, 1, &["domainname"], "rcf"),
    Row(
        "mappings without user namespace",
        |c| c["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 1, "size": 1}]),
        1,
        &["uidMappings"],
        "rcf",
    ),
    Row("user namespace without mappings", |c| namespaces(c).push(json!({"type": "user"})), 1, &["Mappings"], "c"),
    Row("mapping of size 0", mapping_of_nothing, 1, &["uidMappings"], "c"),
    Row(
        "offsets without time namespace",
        |c| c["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1, "nanosecs": 0}}),
        1,
        &["timeOffsets"],
        "rcf",
    ),
    Row(
        "unknown propagation of the root",
        |c| c["linux"]["rootfsPropagation"] = json!("sideways"),
        1,
        &["rootfsPropagation", "sideways"],
        "rcf",
    ),
    Row(
        "unknown mount option",
        |c| mounts(c).push(json!({"destination": "/mnt", "source": "/tmp", "options": ["bind", "sideways"]})),
        1,
        &["sideways"],
        "rcf",
    ),
    Row(
        "unknown file system",
        |c| mounts(c).push(json!({"destination": "/mnt", "type": "nosuchfs", "source": "x"})),
        1,
        &["nosuchfs"],
        "",
    ),
    Row(
        "absent source",
        |c| mounts(c).push(json!({"destination": "/mnt", "source": "/does/not/exist", "options": ["bind"]})),
        1,
        &["/does/not/exist"],
        "",
    ),
    Row(
        "mount without destination",
        |c| mounts(c).push(json!({"type": "tmpfs", "source": "tmpfs"})),
        1,
        &["destination"],
        "rf",
    ),
    Row(
        "mount over the root",
        |c| mounts(c).push(json!({"destination": "/", "type": "tmpfs", "source": "tmpfs"})),
        1,
        &["`/`"],
        "rcf",
    ),
    Row(
        "mount over /proc",
        |c| mounts(c).push(json!({"destination": "/proc", "source": "/tmp", "options": ["bind"]})),
        1,
        &["/proc"],
        "cf",
    ),
    Row(
        "data for the kernel",
        |c| mounts(c).push(json!({"destination": "/mnt", "type": "tmpfs", "source": "x", "options": ["size=many"]})),
        1,
        &["size=many"],
        "",
    ),
    Row(
        "unknown kind of device",
        |c| c["linux"]["devices"] = json!([{"path": "/dev/x", "type": "x", "major": 1, "minor": 3}]),
        1,
        &["config.json", "line"],
        "c",
    ),
    Row(
        "device without a number",
        |c| c["linux"]["devices"] = json!([{"path": "/dev/x", "type": "c"}]),
        1,
        &["linux.devices"],
        "rcf",
    ),
    Row(
        "device by a relative path",
        |c| c["linux"]["devices"] = json!([{"path": "x", "type": "c", "major": 1, "minor": 3}]),
        1,
        &["linux.devices"],
        "rcf",
    ),
    Row("relative masked path", |c| c["linux"]["maskedPaths"] = json!(["relative"]), 1, &["linux.maskedPaths"], "rcf"),
    Row(
        "relative read-only path",
        |c| c["linux"]["readonlyPaths"] = json!(["relative"]),
        1,
        &["linux.readonlyPaths"],
        "rcf",
    ),
    Row(
        "cgroup path with ..",
        |c| c["linux"]["cgroupsPath"] = json!("/a/../../b"),
        1,
        &["linux.cgroupsPath", ".."],
        "rcf",
    ),
    Row(
        "systemd's cgroup path",
        |c| c["linux"]["cgroupsPath"] = json!("system.slice:skiff:x"),
        1,
        &["linux.cgroupsPath"],
        "rcf",
    ),
    Row("memory limit below -1", |c| c["linux"]["resources"]["memory"] = json!({"limit": -7}), 1, &["memory"], "rcf"),
    Row("unknown personality", |c| c["linux"]["personality"] = json!({"domain": "LINUX99"}), 1, &["LINUX99"], "r"),
    Row(
        "calls left to somebody, and nobody",
        |c| c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_NOTIFY"}),
        1,
        &["linux.seccomp.listenerPath", "SCMP_ACT_NOTIFY"],
        "rcf",
    ),
    Row(
        "words for a listener, and nobody listens",
        |c| c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"}),
        1,
        &["linux.seccomp.listenerMetadata"],
        "rcf",
    ),
    Row(
        "an unknown system call that was to be refused",
        |c| {
            let rule = json!({"names": ["no_such_call"], "action": "SCMP_ACT_KILL"});
            c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]});
        },
        1,
        &["linux.seccomp.syscalls[0].names", "no_such_call"],
        "rcf",
    ),
    Row(
        "an error number that is none",
        |c| c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 70_000}),
        1,
        &["linux.seccomp.defaultErrnoRet", "4095"],
        "rcf",
    ),
    Row("AppArmor", |c| c["process"]["apparmorProfile"] = json!("profile"), 1, &["process.apparmorProfile"], "rc"),
    Row(
        "SELinux",
        |c| c["process"]["selinuxLabel"] = json!("a:b:c:s0"),
        1,
        &["process.selinuxLabel", "not built in"],
        "rcf",
    ),
    Row(
        "SELinux of mounts",
        |c| c["linux"]["mountLabel"] = json!("a:b:c:s0"),
        1,
        &["linux.mountLabel", "not built in"],
        "rcf",
    ),
    Row("Intel RDT", |c| c["linux"]["intelRdt"] = json!({"closID": "x"}), 1, &["linux.intelRdt", "resctrl"], "rcf"),
    Row(
        "memory policy without nodes",
        |c| c["linux"]["memoryPolicy"] = json!({"mode": "MPOL_BIND"}),
        1,
        &["linux.memoryPolicy.nodes", "MPOL_BIND"],
        "rcf",
    ),
    Row(
        "unknown memory policy",
        |c| c["linux"]["memoryPolicy"] = json!({"mode": "MPOL_MOON", "nodes": "0"}),
        1,
        &["MPOL_MOON"],
        "rcf",
    ),
    Row(
        "absent network device",
        |c| c["linux"]["netDevices"] = json!({"eth9": {}}),
        1,
        &["linux.netDevices.eth9"],
        "rcf",
    ),
    Row(
        "CPU affinity of exec that is no list",
        |c| c["process"]["execCPUAffinity"] = json!({"initial": "0", "final": "3-1"}),
        1,
        &["process.execCPUAffinity.final", "3-1"],
        "rcf",
    ),
    Row("a virtual machine", |c| c["vm"] = json!({"kernel": {"path": "/vmlinuz"}}), 1, &["vm"], "rcf"),
    Row("Windows", |c| c["windows"] = json!({"layerFolders": ["x"]}), 1, &["windows"], "rcf"),
    Row("hook not absolute", |c| c["hooks"] = json!({"prestart": [{"path": "true"}]}), 1, &["hooks.prestart"], "rcf"),
    Row(
        "hook not there",
        |c| c["hooks"] = json!({"prestart": [{"path": "/does/not/exist"}]}),
        1,
        &["/does/not/exist"],
        "f",
    ),
    Row(
        "hook without time",
        |c| c["hooks"] = json!({"prestart": [{"path": "/bin/true", "timeout": 0}]}),
        1,
        &["hooks.prestart", "timeout"],
        "rcf",
    ),
    Row(
        "program not there",
        |c| c["process"]["args"] = json!(["/does/not/exist"]),
        127,
        &["/does/not/exist", "no such file or directory"],
        "rcf",
    ),
    Row(
        "program not on the path",
        |c| c["process"]["args"] = json!(["nowhere"]),
        127,
        &["nowhere", "executable file not found in $PATH"],
        "rcf",
    ),
    Row(
        "program may not be executed",
        |c| c["process"]["args"] = json!(["/etc/passwd"]),
        126,
        &["/etc/passwd", "permission denied"],
        "rcf",
    ),
    Row("program is a folder", |c| c["process"]["args"] = json!(["/etc"]), 126, &["/etc", "is a directory"], "rcf"),
    Row(
        "interpreter not there",
        |c| c["process"]["args"] = json!(["/data/lost"]),
        127,
        &["/data/lost", "no such file or directory"],
        "rcf",
    ),
    Row(
        "no program but words",
        |c| c["process"]["args"] = json!(["/data/words"]),
        126,
        &["/data/words", "exec format error"],
        "rcf",
    ),
];

fn take(config: &mut Value, key: &str) -> Option<Value> {
    config.as_object_mut().unwrap().remove(key)
}

fn namespaces(config: &mut Value) -> &mut Vec<Value> {
    config["linux"]["namespaces"].as_array_mut().unwrap()
}

fn mounts(config: &mut Value) -> &mut Vec<Value> {
    config["mounts"].as_array_mut().unwrap()
}

fn twice_limited(config: &mut Value) {
    let limits = config["process"]["rlimits"].as_array_mut().unwrap();
    limits.push(json!({"type": "RLIMIT_NOFILE", "soft": 10, "hard": 10}));
}

fn domain_of_the_host(config: &mut Value) {
    take(config, "hostname");
    namespaces(config).retain(|entry| entry["type"] != "uts");
    config["domainname"] = json!("example");
}

fn mapping_of_nothing(config: &mut Value) {
    namespaces(config).push(json!({"type": "user"}));
    let none = json!([{"containerID": 0, "hostID": 100_000, "size": 0}]);
    config["linux"]["uidMappings"] = none.clone();
    config["linux"]["gidMappings"] = none;
}

fn unmapped_user(config: &mut Value) {
    namespaces(config).push(json!({"type": "user"}));
    let map = json!([{"containerID": 0, "hostID": 200_000, "size": 65536}]);
    config["linux"]["uidMappings"] = map.clone();
    config["linux"]["gidMappings"] = map;
    config["process"]["user"]["uid"] = json!(70_000);
}

fn is_excused(runtime: &Runtime, letters: &str) -> bool {
    let letter = match runtime.kind {
        Kind::Skiff => return false,
        Kind::Runc => 'r',
        Kind::Crun => 'c',
        Kind::Reference => 'f',
    };
    letters.contains(letter)
}

fn good() -> Bundle {
    Bundle::new().file("/data/lost", 0o755, "#!/does/not/exist/either\n").file("/data/words", 0o755, "just words\n")
}

/// Collects what is wrong with the rows of a table, so that one run names them all.
#[derive(Default)]
struct Complaints(Vec<String>);

impl Complaints {
    #[expect(clippy::too_many_arguments, reason = "the columns of the table")]
    fn check(
        &mut self,
        runtime: &Runtime,
        name: &str,
        bundle: &Bundle,
        arguments: Option<&[&str]>,
        code: i32,
        words: &[&str],
    ) {
        let container = runtime.container(bundle);
        let outcome = match arguments {
            None => container.run(&[]),
            Some(arguments) => runtime.command(arguments).cwd(bundle.path()).run(),
        };
        let mut wrong = Vec::new();
        if outcome.hung || outcome.signal.is_some() {
            wrong.push("hung or killed".to_owned());
        }
        if runtime.kind == Kind::Skiff {
            let lines = outcome.stderr.trim_end().lines().count();
            if outcome.code != Some(code) {
                wrong.push(format!("exit code should be {code}"));
            }
            if code != 0 && lines != 1 {
                wrong.push(format!("{lines} lines"));
            }
            wrong.extend(
                words.iter().filter(|word| !outcome.stderr.contains(**word)).map(|word| format!("no word {word:?}")),
            );
        } else if outcome.succeeded() && code != 0 {
            wrong.push("was accepted".to_owned());
        }
        if outcome.stderr.contains("panicked") {
            wrong.push("panicked".to_owned());
        }
        // libcontainer leaves its folder behind whenever it fails; the other references clean up.
        if runtime.kind != Kind::Reference {
            wrong.extend(skiff_integration_tests::leftovers::until_none(|| container.leftovers()));
        }
        if !wrong.is_empty() {
            self.0.push(format!("\n- {name}: {}\n  {}", wrong.join("; "), outcome.stderr.trim_end()));
        }
    }

    fn none(self) {
        assert!(self.0.is_empty(), "{} rows of the table: {}", self.0.len(), self.0.concat());
    }
}

#[runs(host, guest, arm64)]
fn each_row_of_the_table_is_refused() {
    each(&[], |runtime| {
        let mut complaints = Complaints::default();
        for Row(name, edit, code, words, excused) in CONFIG {
            if !is_excused(runtime, excused) {
                complaints.check(runtime, name, &good().edit(edit), None, *code, words);
            }
        }
        complaints.none();
    });
}

#[test]
fn config_json_that_cannot_be_read() {
    /// Makes the file that stands for config.json.
    type Make = fn(&std::path::Path);
    let rows: [(&str, Make, &[&str], &str); 6] = [
        ("missing", |_| {}, &["config.json"], ""),
        ("a folder", |path| fs::create_dir(path).unwrap(), &["config.json"], ""),
        ("empty", |path| fs::write(path, "").unwrap(), &["config.json", "line 1"], ""),
        (
            "cut off",
            |path| fs::write(path, "{\n\"ociVersion\": \"1.0.2\",\n\"process\": {").unwrap(),
            &["config.json", "line 3"],
            "",
        ),
        (
            "a comma too much",
            |path| fs::write(path, "{\n\"ociVersion\": \"1.0.2\",\n}").unwrap(),
            &["config.json", "line 3"],
            "c",
        ),
        ("huge", |path| File::create(path).unwrap().set_len(1 << 32).unwrap(), &["config.json"], "rcf"),
    ];
    each(&[], |runtime| {
        let mut complaints = Complaints::default();
        for (name, make, words, excused) in rows {
            if is_excused(runtime, excused) {
                continue;
            }
            let bundle = Bundle::new();
            make(&bundle.path().join("config.json"));
            let arguments = ["run", &bundle.id];
            complaints.check(runtime, name, &bundle, Some(&arguments), 1, words);
        }
        complaints.none();
    });
}

#[test]
fn command_lines_that_make_no_sense() {
    // runc and crun differ in what they take for an error of the command line; ours are the rows.
    let others = [(Kind::Runc, "its own words"), (Kind::Crun, "its own words"), (Kind::Reference, "its own words")];
    let long = "x".repeat(2000);
    let rows: [(&str, &[&str], &[&str]); 15] = [
        ("unknown verb", &["lanch"], &["lanch"]),
        ("unknown flag", &["run", "--sideways", "x"], &["--sideways"]),
        ("unknown global flag", &["--sideways", "list"], &["--sideways"]),
        ("no id", &["run"], &["id"]),
        ("an id too much", &["start", "one", "two"], &["two"]),
        ("empty id", &["run", ""], &["id"]),
        ("id with a slash", &["run", "a/b"], &["a/b"]),
        ("id of dots", &["run", ".."], &[".."]),
        ("id that climbs", &["run", "../x"], &["../x"]),
        ("id with a blank", &["run", "a b"], &["a b"]),
        ("id that is too long", &["run", &long], &["id"]),
        ("bundle not there", &["run", "--bundle", "/does/not/exist", "x"], &["/does/not/exist"]),
        ("descriptors that are no number", &["run", "--preserve-fds", "many", "x"], &["many"]),
        ("log format unknown", &["--log-format", "xml", "list"], &["xml"]),
        ("checkpoint", &["checkpoint", "x"], &["checkpoint"]),
    ];
    each(&others, |runtime| {
        let mut complaints = Complaints::default();
        for (name, arguments, words) in rows {
            let bundle = Bundle::new();
            bundle.write();
            complaints.check(runtime, name, &bundle, Some(arguments), 1, words);
        }
        complaints.none();
    });
}

#[test]
fn ids_that_all_runtimes_refuse() {
    each(&[(Kind::Reference, "takes any")], |runtime| {
        for id in ["", "a/b", "../x"] {
            let bundle = Bundle::new();
            runtime.write(&bundle);
            runtime.command(&["run", id]).cwd(bundle.path()).run().fails();
        }
    });
}

#[test]
fn ids_that_are_fine() {
    each(&[], |runtime| {
        let bundle = Bundle::new();
        let container = runtime.container(&bundle);
        let fine = format!("{}_Z.9+a-b", container.id);
        runtime.write(&bundle);
        let path = bundle.path().to_string_lossy();
        runtime.command(&["run", "--bundle", &path, &fine]).run().ok();
    });
}

#[test]
fn running_without_root() {
    if in_user_namespaces() {
        return skip("the bundle belongs to another user there");
    }
    each(&[(Kind::Reference, "tries a user namespace by itself"), (Kind::Crun, "tries one too")], |runtime| {
        let (runtime, _copy) = runtime.for_everybody();
        let bundle = Bundle::new();
        runtime.write(&bundle);
        for path in [bundle.path(), runtime.root()] {
            std::os::unix::fs::chown(path, Some(1000), Some(1000)).unwrap();
        }
        let container = runtime.container(&bundle);
        let outcome = container.run_command(&[]).user(1000).env("XDG_RUNTIME_DIR", "/tmp").run();
        assert!(!outcome.hung, "{outcome}");
        let words = outcome.fails();
        if runtime.kind == Kind::Skiff {
            assert!(words.contains("root") && words.contains("user"), "the way out is named: {words}");
            assert_eq!(words.trim_end().lines().count(), 1, "{words}");
        }
        container.assert_gone();
    });
}

#[runs(everywhere)]
fn a_missing_program_fails_start_after_create() {
    // `create` cannot know (the file may come until `start`), or looks already, as runc does; either way an error.
    each(&[(Kind::Reference, "says nothing")], |runtime| {
        let bundle = Bundle::new().args(&["/does/not/exist"]);
        let container = runtime.container(&bundle);
        let created = container.create(&[]);
        if created.succeeded() {
            container.start().fails_with(&["/does/not/exist"]);
        } else {
            created.fails_with(&["/does/not/exist"]);
        }
        container.delete(&["--force"]).ok();
        container.assert_gone();
    });
}
