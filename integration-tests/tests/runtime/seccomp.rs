//! `linux.seccomp`, as programs feel it. What a filter answers to which call is `runtime/src/seccomp/tests`.

use serde_json::{Value, json};
use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::compare::{Exemption, as_is, each, same};
use skiff_integration_tests::runtime::Kind;
use skiff_lanes::runs;

/// The two calls that make a folder: which one a program makes depends on the architecture.
const MKDIR: [&str; 2] = ["mkdir", "mkdirat"];

const SYS_ADMIN: u64 = 1 << 21;
const NO_FILTER: Exemption = (Kind::Reference, "is built without libseccomp, and loads none");

trait Filtered {
    fn filtered(self, profile: Value) -> Self;
    fn new_privileges(self, allowed: bool) -> Self;
}

impl Filtered for Bundle {
    fn filtered(self, profile: Value) -> Self {
        self.edit(|config| config["linux"]["seccomp"] = profile)
    }

    fn new_privileges(self, allowed: bool) -> Self {
        self.edit(|config| config["process"]["noNewPrivileges"] = json!(!allowed))
    }
}

/// All but these calls, which get `answer`.
fn all_but(names: &[&str], answer: &str, errno: Option<u32>) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": names, "action": answer, "errnoRet": errno}]})
}

#[runs(everywhere)]
fn a_refused_call_gets_its_error() {
    let script =
        "mkdir /data/x 2>&1 | grep -o 'cross-device link'; ls /data; rmdir /data/y 2>&1 | grep -o 'No such file'";
    let bundle = Bundle::script(script).writable().filtered(all_but(&MKDIR, "SCMP_ACT_ERRNO", Some(18)));
    if let Some(seen) = same(&[NO_FILTER], &bundle, as_is) {
        assert_eq!(seen, "cross-device link\nNo such file\n");
    }
}

#[runs(everywhere)]
fn a_forbidden_call_is_the_end() {
    for action in ["SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"] {
        // 128 and SIGSYS.
        let bundle = Bundle::script("mkdir /data/x; echo $?").writable().filtered(all_but(&MKDIR, action, None));
        if let Some(seen) = same(&[NO_FILTER], &bundle, as_is) {
            assert_eq!(seen, "159\n", "{action}");
        }
    }
}

#[runs(everywhere)]
fn a_program_that_may_not_be_executed_says_so() {
    each(&[NO_FILTER, (Kind::Runc, "has other words"), (Kind::Crun, "has other words")], |runtime| {
        let bundle = Bundle::new().filtered(all_but(&["execve"], "SCMP_ACT_ERRNO", None));
        let container = runtime.container(&bundle);
        container.run(&[]).exits(126).fails_with(&["operation not permitted", "does `linux.seccomp` allow execve?"]);
        container.assert_gone();
    });
}

#[runs(everywhere)]
fn arguments_decide() {
    let about = |name: &str, index: u32| {
        let args = json!([{"index": index, "op": "SCMP_CMP_MASKED_EQ", "value": 0o4000, "valueTwo": 0o4000}]);
        json!({"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": 18, "args": args})
    };
    let syscalls = json!([about("chmod", 1), about("fchmod", 1), about("fchmodat", 2), about("fchmodat2", 2)]);
    let script = "chmod 700 /data && echo done; chmod 4700 /data 2>&1 | grep -o cross-device";
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": syscalls});
    if let Some(seen) = same(&[NO_FILTER], &Bundle::script(script).writable().filtered(profile), as_is) {
        assert_eq!(seen, "done\ncross-device\n");
    }
}

/// The right that it takes to load a filter does not reach the program, whoever the program is.
#[runs(everywhere)]
fn the_program_has_a_filter_and_no_right_more() {
    for (uid, allowed, shared) in [
        (0, true, false),
        (0, false, false),
        (1000, true, false),
        (1000, false, false),
        (0, true, true),
        (1000, true, true),
    ] {
        let status = "grep -E '^(NoNewPrivs|Seccomp|Cap...):' /proc/self/status | tr '\\t' ' '";
        let bundle = Bundle::script(status).filtered(all_but(&MKDIR, "SCMP_ACT_ERRNO", None)).new_privileges(allowed);
        let bundle = bundle.edit(|config| config["process"]["user"] = json!({"uid": uid, "gid": uid}));
        let bundle = if shared { bundle.without_namespace("pid") } else { bundle };
        if let Some(seen) = same(&[NO_FILTER], &bundle, as_is) {
            assert!(seen.contains("Seccomp: 2\n"), "{seen}");
            assert!(seen.contains(&format!("NoNewPrivs: {}\n", u8::from(!allowed))), "{seen}");
            let effective = seen.lines().find_map(|line| line.strip_prefix("CapEff: ")).unwrap();
            assert_eq!(u64::from_str_radix(effective, 16).unwrap() & SYS_ADMIN, 0, "{seen}");
        }
    }
}

/// What is done before the program of `run` is the runtime's business: a profile that knows the program alone will do.
#[runs(everywhere)]
fn a_profile_needs_to_know_the_program_only() {
    let needs = [
        "execve",
        "brk",
        "arch_prctl",
        "set_tid_address",
        "mmap",
        "mprotect",
        "munmap",
        "write",
        "writev",
        "exit",
        "exit_group",
        "set_robust_list",
        "rseq",
        "prlimit64",
        "readlink",
        "readlinkat",
        "getrandom",
        "ioctl",
        "getuid",
        "geteuid",
        "getgid",
        "getegid",
        "prctl",
        "fstat",
        "set_tls",
    ];
    let profile =
        json!({"defaultAction": "SCMP_ACT_KILL_PROCESS", "syscalls": [{"names": needs, "action": "SCMP_ACT_ALLOW"}]});
    let larger = "its own calls have to be allowed, too";
    each(&[(Kind::Runc, larger), (Kind::Crun, larger), NO_FILTER], |runtime| {
        for allowed in [true, false] {
            let bundle = Bundle::new().args(&["/bin/echo", "hello"]).filtered(profile.clone()).new_privileges(allowed);
            assert_eq!(runtime.run(&bundle).ok(), "hello\n");
        }
    });
}

/// What waits for its start has the filter and no right more: processes that `exec` brought could reach for it.
#[runs(everywhere)]
fn a_created_container_waits_under_its_filter() {
    let profile: Value = serde_json::from_str(include_str!("../../../configs/seccomp/default.json")).unwrap();
    each(&[NO_FILTER, (Kind::Crun, "loads it at the start")], |runtime| {
        for (allowed, uid) in [(true, 0), (true, 1000), (false, 0)] {
            let bundle = Bundle::new().args(&["/bin/sleep", "1000"]).filtered(profile.clone()).new_privileges(allowed);
            let bundle = bundle.edit(|config| config["process"]["user"] = json!({"uid": uid, "gid": uid}));
            let container = runtime.container(&bundle);
            container.create(&[]).ok();
            let status = std::fs::read_to_string(format!("/proc/{}/status", container.pid())).unwrap();
            let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
            assert_eq!(field("Seccomp:"), "2");
            for set in ["CapPrm:", "CapEff:"] {
                assert_eq!(u64::from_str_radix(&field(set), 16).unwrap() & SYS_ADMIN, 0, "{set}");
            }
            container.start().ok();
            container.verb("exec", &[], &["/bin/true"]).run().ok();
            container.delete(&["--force"]).ok();
            container.assert_gone();
        }
    });
}

/// `configs/seccomp/default.json` is for programs that want nothing special, and those work under it.
#[runs(everywhere)]
fn ordinary_programs_work_under_the_default_profile() {
    let profile: Value = serde_json::from_str(include_str!("../../../configs/seccomp/default.json")).unwrap();
    let script = "mkdir /data/a && echo x >/data/a/f && cat /data/a/f | wc -c && ls -l /data/a | grep -c f; (sleep 0.1; echo later) & wait; \
                  ps | grep -c sh >/dev/null && date +%Y | grep -c 20; mv /data/a /data/b && rm -r /data/b; \
                  unshare -U true 2>/dev/null || echo no; mount -t tmpfs none /data 2>/dev/null || echo no";
    for allowed in [true, false] {
        let bundle = Bundle::script(script).writable().filtered(profile.clone()).new_privileges(allowed);
        if let Some(seen) = same(&[NO_FILTER], &bundle, as_is) {
            assert_eq!(seen, "2\n1\nlater\n1\nno\nno\n");
        }
    }
}

#[runs(everywhere)]
fn further_processes_have_the_filter_too() {
    each(&[NO_FILTER], |runtime| {
        for (allowed, shared) in [(true, false), (false, false), (true, true)] {
            // One process: with neither a pid namespace nor a cgroup nobody could find a second.
            let bundle = Bundle::new().args(&["/bin/sleep", "1000"]).writable();
            let bundle = bundle.filtered(all_but(&MKDIR, "SCMP_ACT_ERRNO", Some(18)));
            let bundle = bundle.new_privileges(allowed);
            let bundle = if shared { bundle.without_namespace("pid") } else { bundle };
            let container = runtime.container(&bundle);
            container.create(&[]).ok();
            let script =
                "grep '^Seccomp:' /proc/self/status | tr '\\t' ' '; mkdir /data/x 2>&1 | grep -o 'cross-device link'";
            let exec = || container.verb("exec", &[], &["/bin/sh", "-c", script]).run().ok();
            if runtime.kind == Kind::Skiff {
                // The bundle is not asked again.
                bundle.write_config(&json!({}));
            }
            assert_eq!(exec(), "Seccomp: 2\ncross-device link\n");
            container.start().ok();
            assert_eq!(exec(), "Seccomp: 2\ncross-device link\n");
            container.delete(&["--force"]).ok();
            container.assert_gone();
        }
    });
}

/// What `exec` is asked for comes to the same with a filter as without: whoever the process is, whatever it may do.
#[runs(everywhere)]
fn a_filter_changes_nothing_about_further_processes() {
    let rows: [(&[&str], &str); 4] = [
        (&["--user", "1000:50"], "CapEff: 0000000000000000\nNoNewPrivs: 0\nSeccomp: 2\n1000 50\n"),
        (&["--cap", "CAP_SYS_ADMIN"], "CapEff: 0000000000200000\nNoNewPrivs: 0\nSeccomp: 2\n0 0\n"),
        (&["--no-new-privs"], "CapEff: 0000000000000000\nNoNewPrivs: 1\nSeccomp: 2\n0 0\n"),
        (&["--no-new-privs", "--user", "7"], "CapEff: 0000000000000000\nNoNewPrivs: 1\nSeccomp: 2\n7 0\n"),
    ];
    each(
        &[NO_FILTER, (Kind::Crun, "changes more than was asked for"), (Kind::Runc, "has other capabilities")],
        |runtime| {
            let bundle =
                Bundle::new().args(&["/bin/sleep", "1000"]).filtered(all_but(&MKDIR, "SCMP_ACT_ERRNO", Some(18)));
            let bundle = bundle.new_privileges(true).edit(|config| config["process"]["capabilities"] = json!({}));
            let container = runtime.container(&bundle);
            container.create(&[]).ok();
            let script =
                "grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status | tr '\t' ' '; echo $(id -u) $(id -g)";
            for (options, expected) in rows {
                let told = container.verb("exec", options, &["/bin/sh", "-c", script]).run().ok();
                assert_eq!(told, expected, "{options:?}");
            }
            container.delete(&["--force"]).ok();
            container.assert_gone();
        },
    );
}

/// A hook in the container is a program of the container.
#[runs(everywhere)]
fn a_hook_in_the_container_is_under_the_filter() {
    for allowed in [true, false] {
        let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", "grep ^Seccomp: /proc/self/status >/data/hook; mkdir /data/x; true"]});
        let bundle = Bundle::script("tr '\t' ' ' </data/hook; ls /data").writable().new_privileges(allowed);
        let bundle = bundle.filtered(all_but(&MKDIR, "SCMP_ACT_ERRNO", Some(18)));
        let bundle = bundle.edit(|config| config["hooks"] = json!({"startContainer": [hook]}));
        if let Some(seen) = same(&[NO_FILTER], &bundle, as_is) {
            assert_eq!(seen, "Seccomp: 2\nhook\n", "{allowed}");
        }
    }
}

#[runs(everywhere)]
fn a_user_namespace_has_the_right_itself() {
    let bundle = Bundle::script("mkdir /tmp/x 2>&1 | grep -o 'cross-device link'")
        .user_namespace(200_000)
        .new_privileges(true)
        .filtered(all_but(&MKDIR, "SCMP_ACT_ERRNO", Some(18)));
    if let Some(seen) = same(&[NO_FILTER], &bundle, as_is) {
        assert_eq!(seen, "cross-device link\n");
    }
}

#[test]
fn a_filter_that_is_lost_is_missed() {
    each(&[(Kind::Runc, "keeps the profile"), (Kind::Crun, "keeps it elsewhere"), NO_FILTER], |runtime| {
        let bundle = Bundle::sleeper().filtered(all_but(&MKDIR, "SCMP_ACT_ERRNO", None));
        let container = runtime.container(&bundle);
        container.run(&["--detach"]).ok();
        let file = runtime.root().join(&container.id).join("seccomp");
        let whole = std::fs::read(&file).unwrap();
        let exec = || container.verb("exec", &[], &["/bin/true"]).run();
        std::fs::write(&file, &whole[..whole.len() - 3]).unwrap();
        exec().fails_with(&["filter is damaged"]);
        std::fs::remove_file(&file).unwrap();
        exec().fails_with(&["seccomp", "No such file"]);
        std::fs::write(&file, whole).unwrap();
        exec().ok();
        container.delete(&["--force"]).ok();
        container.assert_gone();
    });
}
