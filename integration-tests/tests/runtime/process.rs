//! The process: user, groups, umask, working directory, environment, program look-up, limits, capabilities,
//! no_new_privs, scores, scheduling, personality, and the descriptors that it gets and does not get.

use std::fs;

use serde_json::{Value, json};
use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::compare::{as_is, each, same};
use skiff_integration_tests::runtime::Kind;
use skiff_integration_tests::skip::skip;
use skiff_lanes::runs;

fn process(bundle: Bundle, change: impl FnOnce(&mut Value)) -> Bundle {
    bundle.edit(|config| change(&mut config["process"]))
}

fn status_lines(fields: &str) -> Bundle {
    Bundle::script(&format!("grep -E '^({fields}):' /proc/self/status"))
}

#[runs(everywhere)]
fn user_group_and_additional_groups() {
    let bundle =
        process(Bundle::script("id -u; id -g; grep ^Groups: /proc/self/status | tr -s '\\t ' ' '"), |process| {
            process["user"] = json!({"uid": 1000, "gid": 1001, "additionalGids": [5, 6, 1007]});
        });
    if let Some(seen) = same(&[], &bundle, as_is) {
        assert_eq!(seen.trim_end(), "1000\n1001\nGroups: 5 6 1007");
    }
}

#[test]
fn no_group_of_the_caller_is_kept() {
    let bundle = process(status_lines("Groups|Uid|Gid"), |process| process["user"] = json!({"uid": 7, "gid": 8}));
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some(seen) = same(&[], &bundle, words) {
        assert_eq!(seen, "Uid: 7 7 7 7 Gid: 8 8 8 8 Groups:");
    }
}

#[test]
fn umask_is_set_or_0022() {
    for (umask, expected) in [(Some(0o27), "0027\n"), (Some(0), "0000\n"), (None, "0022\n")] {
        let bundle = process(Bundle::script("umask"), |process| {
            if let Some(umask) = umask {
                process["user"]["umask"] = json!(umask);
            }
        });
        if let Some(seen) = same(&[], &bundle, as_is) {
            assert_eq!(seen, expected);
        }
    }
}

#[test]
fn working_directory_is_set() {
    let bundle = process(Bundle::script("pwd; readlink /proc/self/cwd"), |process| process["cwd"] = json!("/data"));
    if let Some(seen) = same(&[], &bundle, as_is) {
        assert_eq!(seen, "/data\n/data\n");
    }
}

#[test]
fn a_missing_working_directory_is_made() {
    each(&[(Kind::Reference, "does not make it")], |runtime| {
        let bundle =
            process(Bundle::script("pwd; stat -c '%a %u' ."), |process| process["cwd"] = json!("/data/a/b")).writable();
        assert_eq!(runtime.run(&bundle).ok(), "/data/a/b\n755 0\n");
    });
}

#[test]
fn a_working_directory_only_its_user_may_enter() {
    // CVE-2021-20206's neighbour: root without CAP_DAC_OVERRIDE cannot enter, the user can.
    each(&[(Kind::Reference, "changes directory as root only")], |runtime| {
        let bundle = process(Bundle::script("pwd"), |process| {
            process["cwd"] = json!("/data/private");
            process["user"] = json!({"uid": 1000, "gid": 1000});
        });
        let folder = bundle.rootfs().join("data/private");
        fs::create_dir(&folder).unwrap();
        std::os::unix::fs::chown(&folder, Some(1000), Some(1000)).unwrap();
        fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        assert_eq!(runtime.run(&bundle).ok(), "/data/private\n");
    });
}

#[test]
fn a_file_as_working_directory_is_refused() {
    each(&[], |runtime| {
        let bundle = process(Bundle::new(), |process| process["cwd"] = json!("/etc/passwd"));
        let container = runtime.container(&bundle);
        container.run(&[]).fails();
        container.assert_gone();
    });
}

#[runs(everywhere)]
fn environment_is_the_configs_and_nothing_else() {
    let bundle = process(Bundle::new().args(&["/bin/env"]), |process| {
        process["env"] = json!(["PATH=/bin", "EMPTY=", "TWO=a=b", "HOME=/data"]);
    });
    let sorted = |text: &str| {
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        lines.join("\n")
    };
    if let Some(seen) = same(&[], &bundle, sorted) {
        assert_eq!(seen, "EMPTY=\nHOME=/data\nPATH=/bin\nTWO=a=b");
    }
}

#[test]
fn home_comes_from_passwd_when_unset() {
    for (uid, expected) in [(0, "/root"), (1000, "/srv/adm"), (4242, "/")] {
        let no_home = [
            (Kind::Reference, "libcontainer has its own idea of HOME"),
            (Kind::Crun, "crun sets none for a user that passwd does not know"),
        ];
        let bundle = process(Bundle::script("echo $HOME"), |process| process["user"]["uid"] = json!(uid));
        if let Some(seen) = same(&no_home, &bundle, as_is) {
            assert_eq!(seen.trim_end(), expected);
        }
    }
}

#[test]
fn program_is_looked_up_in_the_containers_path() {
    each(&[], |runtime| {
        let own = |path: &str| {
            Bundle::new()
                .file("/data/tool", 0o755, "#!/bin/sh\necho found\n")
                .args(&["tool"])
                .edit(|config| config["process"]["env"] = json!([format!("PATH={path}")]))
        };
        assert_eq!(runtime.run(&own("/nowhere:/data")).ok(), "found\n");
        let not_on_path = own("/nowhere");
        let container = runtime.container(&not_on_path);
        container.run(&[]).fails();
        container.assert_gone();
    });
}

#[test]
fn relative_programs_start_at_the_working_directory() {
    each(&[], |runtime| {
        let bundle = Bundle::new()
            .file("/data/tool", 0o755, "#!/bin/sh\necho found\n")
            .args(&["./tool"])
            .edit(|config| config["process"]["cwd"] = json!("/data"));
        assert_eq!(runtime.run(&bundle).ok(), "found\n");
    });
}

#[runs(everywhere)]
fn resource_limits_are_set() {
    let bundle = process(
        Bundle::script("grep -E 'open files|core file|stack|processes' /proc/self/limits | tr -s ' ' | sort"),
        |process| {
            process["rlimits"] = json!([
                {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
                {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
                {"type": "RLIMIT_STACK", "soft": 1_048_576, "hard": 2_097_152},
                {"type": "RLIMIT_NPROC", "soft": 50, "hard": 60},
            ]);
        },
    );
    if let Some(seen) = same(&[], &bundle, as_is) {
        assert!(seen.contains("Max open files 100 200 files"), "{seen}");
        assert!(seen.contains("Max core file size 0 0 bytes"), "{seen}");
        assert!(seen.contains("Max stack size 1048576 2097152 bytes"), "{seen}");
        assert!(seen.contains("Max processes 50 60 processes"), "{seen}");
    }
}

fn capabilities(bundle: Bundle, sets: &Value) -> Bundle {
    process(bundle, |process| process["capabilities"] = sets.clone())
}

fn hex_sets(text: &str) -> Vec<u64> {
    text.lines().map(|line| u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()).collect()
}

const SETS: &str = "CapInh|CapPrm|CapEff|CapBnd|CapAmb";

#[runs(everywhere)]
fn five_capability_sets() {
    const CHOWN: u64 = 1;
    const KILL: u64 = 1 << 5;
    const NET_RAW: u64 = 1 << 13;
    let sets = json!({
        "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"], "permitted": ["CAP_KILL", "CAP_NET_RAW"],
        "effective": ["CAP_KILL"], "inheritable": ["CAP_NET_RAW"], "ambient": ["CAP_NET_RAW"],
    });
    // As a user other than root, so that execve(2) does not raise anything by itself.
    let bundle =
        capabilities(status_lines(SETS), &sets).edit(|config| config["process"]["user"] = json!({"uid": 9, "gid": 9}));
    if let Some(seen) = same(&[], &bundle, as_is) {
        let [inheritable, permitted, effective, bounding, ambient] = hex_sets(&seen)[..] else { panic!("{seen}") };
        assert_eq!((inheritable, bounding, ambient), (NET_RAW, CHOWN | KILL | NET_RAW, NET_RAW), "{seen}");
        assert_eq!((permitted, effective), (NET_RAW, NET_RAW), "execve leaves the ambient ones: {seen}");
    }
}

#[test]
fn inheritable_is_empty_unless_asked() {
    let sets = json!({"bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"]});
    if let Some(seen) = same(&[], &capabilities(status_lines(SETS), &sets), as_is) {
        let [inheritable, permitted, _, bounding, ambient] = hex_sets(&seen)[..] else { panic!("{seen}") };
        assert_eq!((inheritable, permitted, bounding, ambient), (0, 1 << 5, 1 << 5, 0), "{seen}");
    }
}

#[test]
fn no_capabilities_at_all() {
    let sets = json!({"bounding": [], "permitted": [], "effective": [], "inheritable": [], "ambient": []});
    if let Some(seen) = same(&[], &capabilities(status_lines(SETS), &sets), as_is) {
        assert_eq!(hex_sets(&seen), [0; 5], "{seen}");
    }
}

#[test]
fn a_capability_that_cannot_be_granted_is_a_warning() {
    // runtime-spec, config.md, capabilities: "the runtime MUST log a warning" for what cannot be granted. This machine
    // may have them all, so an unknown name stands for it.
    each(
        &[(Kind::Reference, "refuses a name it does not know"), (Kind::Crun, "refuses a name it does not know")],
        |runtime| {
            let sets = json!({"bounding": ["CAP_KILL", "CAP_FROM_THE_FUTURE"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"]});
            let outcome = runtime.run(&capabilities(Bundle::script("echo ran"), &sets));
            assert!(outcome.stderr.contains("CAP_FROM_THE_FUTURE"), "{outcome}");
            assert_eq!(outcome.ok(), "ran\n");
        },
    );
}

#[runs(everywhere)]
fn no_new_privileges() {
    for value in [true, false] {
        let bundle = process(status_lines("NoNewPrivs"), |process| process["noNewPrivileges"] = json!(value));
        if let Some(seen) = same(&[], &bundle, as_is) {
            assert_eq!(seen.split_whitespace().last(), Some(if value { "1" } else { "0" }));
        }
    }
}

#[runs(everywhere)]
fn oom_score_adjustment() {
    // Raising needs no right; this host cannot lower.
    for (value, expected) in [(Some(321), "321\n"), (Some(0), "0\n"), (None, "0\n")] {
        let bundle = process(Bundle::script("cat /proc/self/oom_score_adj"), |process| {
            if let Some(value) = value {
                process["oomScoreAdj"] = json!(value);
            }
        });
        let exemption = [(Kind::Reference, "writes the score of its caller")];
        if let Some(seen) = same(&exemption, &bundle, as_is) {
            assert_eq!(seen, expected);
        }
    }
}

#[runs(everywhere)]
fn scheduler_is_set() {
    // Fields 40 and 41 of stat: priority and policy (proc_pid_stat(5)); the command's name may have no space here.
    let old = [(Kind::Runc, "runc 1.1 ignores it"), (Kind::Crun, "crun 1.8 ignores it")];
    each(&old, |runtime| {
        let run = |scheduler: Value| {
            let bundle = process(Bundle::script("cut -d' ' -f19,40,41 /proc/self/stat"), |process| {
                process["scheduler"] = scheduler
            });
            runtime.run(&bundle).ok()
        };
        assert_eq!(run(json!({"policy": "SCHED_BATCH", "nice": 5})), "5 0 3\n");
        assert_eq!(run(json!({"policy": "SCHED_IDLE"})).split(' ').next_back(), Some("5\n"));
        assert_eq!(run(json!({"policy": "SCHED_OTHER", "nice": 3})), "3 0 0\n");
    });
}

#[runs(everywhere)]
fn io_priority_is_set() {
    let old = [(Kind::Runc, "runc 1.1 ignores it"), (Kind::Crun, "crun 1.8 ignores it")];
    each(&old, |runtime| {
        for (class, number, expected) in
            [("IOPRIO_CLASS_BE", 6, "best-effort: prio 6"), ("IOPRIO_CLASS_IDLE", 0, "idle")]
        {
            let bundle = process(Bundle::script("ionice"), |process| {
                process["ioPriority"] = json!({"class": class, "priority": number});
            });
            let seen = runtime.run(&bundle).ok();
            assert!(seen.starts_with(expected), "{class}: {seen}");
        }
    });
}

#[runs(everywhere)]
fn personality_is_set() {
    let old = [(Kind::Runc, "runc 1.1 ignores it")];
    let bundle =
        Bundle::script("uname -m").edit(|config| config["linux"]["personality"] = json!({"domain": "LINUX32"}));
    if let Some(seen) = same(&old, &bundle, as_is) {
        assert!(["i686\n", "armv8l\n"].contains(&seen.as_str()), "{seen}");
    }
}

#[runs(everywhere)]
fn no_descriptor_leaks_into_the_container() {
    let bundle = Bundle::new().args(&["/bin/ls", "/proc/self/fd"]);
    each(&[], |runtime| {
        let container = runtime.container(&bundle);
        let shell = ["sh", "-c", "exec 5</etc/passwd 7</ 9</etc; exec \"$@\"", "sh"];
        assert_eq!(container.run_under(&shell, &[]).run().ok(), "0\n1\n2\n3\n", "3 is the folder that ls reads");
    });
}

#[runs(everywhere)]
fn preserved_descriptors_reach_the_program() {
    each(&[], |runtime| {
        let bundle = Bundle::script("cat <&3; cat <&4; ls /proc/self/fd | sort -n | tr '\\n' ' '");
        let container = runtime.container(&bundle);
        let shell = ["sh", "-c", "exec 3<$0/a 4<$0/b 5</; exec \"$@\"", &*bundle.path().to_string_lossy()];
        fs::write(bundle.path().join("a"), "three\n").unwrap();
        fs::write(bundle.path().join("b"), "four\n").unwrap();
        let seen = container.run_under(&shell, &["--preserve-fds", "2"]).run().ok();
        assert_eq!(seen, "three\nfour\n0 1 2 3 4 5 ", "5 is the folder that ls reads");
    });
}

#[test]
fn preserving_a_descriptor_that_is_not_open_is_refused() {
    let lenient = [(Kind::Crun, "crun 1.8 does not look"), (Kind::Reference, "does not look")];
    each(&lenient, |runtime| {
        let bundle = Bundle::new();
        let container = runtime.container(&bundle);
        container.run(&["--preserve-fds", "5"]).fails();
        container.assert_gone();
    });
}

#[test]
fn listen_fds_are_passed_with_listen_pid_1() {
    each(&[(Kind::Reference, "needs LISTEN_PID of its own"), (Kind::Crun, "crun 1.8 sets no LISTEN_PID")], |runtime| {
        let bundle = Bundle::script("cat <&3; echo $LISTEN_FDS $LISTEN_PID");
        fs::write(bundle.path().join("a"), "three\n").unwrap();
        let container = runtime.container(&bundle);
        // systemd sets LISTEN_PID to the process that it starts: `$$` stays the same through exec.
        let script = "exec 3<$0/a; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$@\"";
        let shell = ["sh", "-c", script, &*bundle.path().to_string_lossy()];
        assert_eq!(container.run_under(&shell, &[]).run().ok(), "three\n1 1\n");
    });
}

#[test]
fn session_and_signals_are_clean() {
    // A runtime blocks signals to forward them and may ignore SIGPIPE; the program must get none of it.
    let bundle = Bundle::new().args(&["/bin/grep", "-E", "^(SigBlk|SigIgn|NSsid|NSpgid):", "/proc/self/status"]);
    let words = |text: &str| {
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        // 32 and 33 are glibc's own; posix_spawn(3) of the tests ignores them.
        words.replace("0000000080000000", "0000000000000000").replace("0000000180000000", "0000000000000000")
    };
    let exemption = [(Kind::Reference, "Rust's ignored SIGPIPE is inherited by its containers")];
    let lines = same(&exemption, &bundle, words);
    if let Some(seen) = lines {
        let zeros = "0000000000000000";
        assert!(seen.contains(&format!("SigBlk: {zeros} SigIgn: {zeros}")), "{seen}");
        assert!(seen.contains("NSpgid: 1 NSsid: 1"), "a session of its own: {seen}");
    }
}

#[runs(everywhere)]
fn a_new_session_keyring_unless_told_otherwise() {
    // The name is not readable from a shell; that it is another one is: the serial in /proc/keys needs view rights.
    if !std::path::Path::new("/proc/keys").exists() {
        return skip("no /proc/keys");
    }
    each(&[(Kind::Reference, "has no keyring code")], |runtime| {
        let unmasked = |config: &mut Value| config["linux"]["maskedPaths"] = json!([]);
        let bundle = Bundle::script("grep -c \"_ses\\.$SKIFF_ID\\|keyring.*_ses\" /proc/keys").edit(unmasked);
        let seen = runtime.container(&bundle).run(&[]);
        assert!(seen.stdout.trim() != "0", "{seen}");
    });
}

#[test]
fn listen_fds_that_were_meant_for_another_are_left_alone() {
    each(&[(Kind::Reference, "not measured"), (Kind::Crun, "1.8 does not look at LISTEN_PID")], |runtime| {
        let bundle = Bundle::script("echo fds $LISTEN_FDS");
        let container = runtime.container(&bundle);
        let outcome = container.run_command(&[]).env("LISTEN_FDS", "7").env("LISTEN_PID", "1").run();
        assert_eq!(outcome.ok(), "fds\n");
    });
}
