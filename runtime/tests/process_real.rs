//! The process and hooks rooms on the real kernel. What changes a process for good happens in a copy of this very test
//! binary, which becomes the program of the configuration it finds in its environment. Needs root.
// The bans protect the runtime; these are whole programs that only play its part.
#![allow(clippy::disallowed_methods)]

use std::ffi::CString;
use std::os::fd::AsFd;
use std::process::Command;
use std::time::{Duration, Instant};

use oci_spec::runtime::{Hook, LinuxIdMapping, Process};
use serde_json::{Value, json};
use skiff::hooks::{self, Kind, Surroundings};
use skiff::process::{self, Facts, UserNamespace, capabilities::Held, environment, program};

const PROCESS: &str = "SKIFF_TEST_PROCESS";
/// No standard signal (the lowest 31 bits) is blocked or ignored.
const STANDARD_SIGNALS_ARE_DEFAULT: &str = "^Sig(Blk|Ign):.*[08]0{7}$";
/// The mappings of the user namespace it is in already.
const MAPPINGS: &str = "SKIFF_TEST_MAPPINGS";
/// The root to change to, and a folder outside of it that leaks as descriptor [`LEAKED`].
const ROOT: &str = "SKIFF_TEST_ROOT";
const LEAK: &str = "SKIFF_TEST_LEAK";
const LEAKED: i32 = 50;
const KEYRING: &str = "SKIFF_TEST_KEYRING";

/// Not a test but the child of the others: it becomes the program, or says why not.
#[test]
fn become_the_program() {
    let Ok(text) = std::env::var(PROCESS) else { return };
    let process: Process = serde_json::from_str(&text).expect("the parent wrote it");
    let keyring = std::env::var(KEYRING).ok();
    let error = into_program(&process, keyring.as_deref()).expect_err("exec does not return");
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    eprintln!("{text}");
    std::process::exit(error.exit_code().into());
}

fn into_program(process: &Process, keyring_of: Option<&str>) -> Result<(), process::Error> {
    let mappings = std::env::var(MAPPINGS).ok().map(|text| serde_json::from_str(&text).expect("the parent wrote it"));
    let mappings: Option<Vec<LinuxIdMapping>> = mappings;
    let held = Held::observe(process.capabilities().as_ref(), mappings.is_some()).expect("capget works");
    let user_namespace = match &mappings {
        Some(mappings) => UserNamespace::New { uids: mappings, gids: mappings },
        None => UserNamespace::Caller,
    };
    let facts = Facts {
        user_namespace,
        held,
        keyring_of,
        listen: None,
        personality: None,
        memory_policy: None,
        apparmor: false,
    };
    let (plan, warnings) = process::plan(process, &facts)?;
    for warning in warnings {
        eprintln!("{warning}");
    }
    process::before_root(&plan)?;
    let _open_until_exec = std::env::var(ROOT).map(|root| leak_and_change_root(&root));
    let environment = environment::complete(&plan.environment, plan.identity.uid);
    process::enter(&plan)?;
    let file = program::find(&plan.program.args[0], plan.environment.path.as_deref())?;
    Err(program::exec_alone(&file, &plan.program.args, &environment, 3, None))
}

/// Leaves a descriptor of the old root open as [`LEAKED`], and changes the root.
fn leak_and_change_root(root: &str) -> std::os::fd::OwnedFd {
    let folder = std::fs::File::open(std::env::var(LEAK).expect("set with the root")).expect("a folder");
    let leaked = rustix::io::fcntl_dupfd_cloexec(folder, LEAKED).expect("a free number");
    assert_eq!(std::os::fd::AsRawFd::as_raw_fd(&leaked), LEAKED);
    rustix::process::chdir("/").expect("it is there");
    rustix::process::chroot(root).expect("we are root");
    leaked
}

/// Runs `sh -c script` in a process with `more` in its configuration; its exit code, output and errors.
fn shell(script: &str, more: Value) -> (i32, String, String) {
    let mut all = json!({"args": ["/bin/sh", "-c", script]});
    all.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    spawn(&all, None)
}

fn spawn(more: &Value, keyring: Option<&str>) -> (i32, String, String) {
    let mut config = json!({"user": {"uid": 0, "gid": 0}, "cwd": "/", "env": ["PATH=/usr/bin:/bin"]});
    config.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    let mut command = Command::new(std::env::current_exe().expect("/proc is mounted"));
    if let Some(name) = keyring {
        command.env(KEYRING, name);
    }
    become_program(&mut command, &config)
}

fn become_program(command: &mut Command, config: &Value) -> (i32, String, String) {
    command.args(["--exact", "become_the_program", "--nocapture"]).env(PROCESS, config.to_string());
    let output = command.output().expect("this binary can be run");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

fn check(found: (i32, String, String), code: i32, wanted: &[&str]) {
    assert_eq!(found.0, code, "{found:?}");
    for part in wanted {
        assert!(found.1.contains(part) || found.2.contains(part), "no `{part}` in {found:?}");
    }
}

#[test]
fn limits_are_set() {
    let limits = json!({"rlimits": [
        {"type": "RLIMIT_NOFILE", "soft": 64, "hard": 100}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]});
    check(shell("echo $(ulimit -Sn) $(ulimit -Hn) $(ulimit -c)", limits), 0, &["64 100 0"]);
    let too_high = json!({"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 99_999_999_999_u64}]});
    let text = "cannot set `process.rlimits[0] RLIMIT_NOFILE` to soft 1, hard 99999999999 (raising a hard limit";
    check(shell("true", too_high), 1, &[text]);
}

#[test]
fn the_oom_score_and_priorities_are_set() {
    let settings = json!({"oomScoreAdj": 321, "scheduler": {"policy": "SCHED_BATCH", "nice": 7},
        "ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 0}});
    check(shell("cat /proc/self/oom_score_adj; cut -d' ' -f19,41 /proc/self/stat", settings), 0, &["321\n", "7 3\n"]);
}

#[test]
fn the_user_is_complete() {
    let user = json!({"user": {"uid": 1234, "gid": 5678, "additionalGids": [7, 9], "umask": 63}});
    let wanted = ["1234 5678", "5678 7 9", "0077", "home /\n"];
    check(shell("echo $(id -u) $(id -g); id -G; umask; echo home $HOME", user), 0, &wanted);
    check(shell("umask; id -G; echo home $HOME", json!({})), 0, &["0022\n0\nhome /root\n"]);
}

#[test]
fn capabilities_are_those_asked_for() {
    let script = "grep -E '^(Cap|NoNew)' /proc/self/status | tr -d '\\t\\n'";
    let sets = |inh, prm, eff, bnd, amb, nnp| {
        format!("CapInh:{inh:016x}CapPrm:{prm:016x}CapEff:{eff:016x}CapBnd:{bnd:016x}CapAmb:{amb:016x}NoNewPrivs:{nnp}")
    };
    check(shell(script, json!({})), 0, &[&sets(0, 0, 0, 0, 0, 0)]);
    let kill = ["CAP_KILL"];
    let usual = json!({"noNewPrivileges": true,
        "capabilities": {"bounding": kill, "permitted": kill, "effective": kill}});
    check(shell(script, usual.clone()), 0, &[&sets(0, 32, 32, 32, 0, 1)]);
    let mut as_user = usual;
    as_user["user"] = json!({"uid": 1000, "gid": 1000});
    check(shell(script, as_user.clone()), 0, &[&sets(0, 0, 0, 32, 0, 1)]);
    as_user["capabilities"]["inheritable"] = json!(kill);
    as_user["capabilities"]["ambient"] = json!(kill);
    check(shell(script, as_user), 0, &[&sets(32, 32, 32, 32, 32, 1)]);
}

#[test]
fn capabilities_that_cannot_be_granted_are_warned_about() {
    let odd = json!({"capabilities": {"permitted": [], "effective": ["CAP_KILL"]}});
    check(shell("echo runs", odd), 0, &["runs", "left out what cannot be granted: CAP_KILL (effective)"]);
}

#[test]
fn a_user_namespace_grants_all_and_may_deny_groups() {
    let in_namespace = |user: Value| {
        let script = "grep CapEff /proc/self/status; id -u";
        let effective = ["CAP_SYS_RESOURCE", "CAP_CHOWN"];
        let config = json!({"user": user, "cwd": "/", "args": ["/bin/sh", "-c", script], "env": ["PATH=/bin:/usr/bin"],
            "capabilities": {"bounding": effective, "permitted": effective, "effective": effective}});
        // Who maps only itself must deny setgroups (user_namespaces(7)).
        let mut command = Command::new("unshare");
        command.args(["-U", "--map-root-user"]).arg(std::env::current_exe().expect("/proc is mounted"));
        command.env(MAPPINGS, r#"[{"containerID":0,"hostID":0,"size":1}]"#);
        become_program(&mut command, &config)
    };
    let found = in_namespace(json!({"uid": 0, "gid": 0}));
    assert!(!found.2.contains("left out"), "{found:?}");
    check(found, 0, &["0000000001000001\n0\n"]);
    let denied = "cannot apply `process.user.additionalGids` (the user namespace denies setgroups; leave them out)";
    check(in_namespace(json!({"uid": 0, "gid": 0, "additionalGids": [0]})), 1, &[denied]);
    check(in_namespace(json!({"uid": 1, "gid": 0})), 1, &["`process.user.uid` is 1, which is not mapped in"]);
}

#[test]
fn the_session_keyring_is_its_own() {
    let Ok(_) = std::fs::metadata("/proc/keys") else { return };
    let look = json!({"args": ["/bin/sh", "-c", "grep _ses.skiff-real /proc/keys"]});
    check(spawn(&look, Some("skiff-real")), 0, &["_ses.skiff-real", "3f1b0000"]);
}

#[test]
fn programs_fail_in_the_known_words() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = |name: &str, text: &str, mode| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).expect("changed");
        path.to_str().expect("text").to_owned()
    };
    let plain = script("plain", "true", 0o644);
    let garbage = script("garbage", "\u{1}", 0o755);
    let orphan = script("orphan", "#!/nope\n", 0o755);
    for (name, code, text) in [
        ("nope", 127, "exec: \"nope\": executable file not found in $PATH".to_owned()),
        ("/nope", 127, "exec: \"/nope\": stat /nope: no such file or directory".to_owned()),
        ("/etc", 126, "exec: \"/etc\": is a directory".to_owned()),
        (&plain, 126, format!("exec: \"{plain}\": permission denied")),
        (&garbage, 126, format!("exec {garbage}: exec format error")),
        (&orphan, 127, format!("exec {orphan}: no such file or directory")),
    ] {
        check(spawn(&json!({"args": [name]}), None), code, &[&text]);
    }
}

#[test]
fn the_working_directory_is_entered_and_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let cwd = folder.path().join("a/b");
    check(shell("pwd", json!({"cwd": cwd})), 0, &[cwd.to_str().expect("text")]);
    check(
        shell("pwd", json!({"cwd": "/etc/passwd"})),
        1,
        &["cannot enter `process.cwd` `/etc/passwd`: Not a directory"],
    );
}

#[test]
fn a_working_directory_outside_of_the_root_is_refused() {
    let host = tempfile::tempdir().expect("a folder");
    let root = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(root.path().join("proc")).expect("a folder");
    for below in ["", "/new"] {
        let script = format!("mount -t proc proc '{0}/proc' && exec \"$0\" \"$@\"", root.path().display());
        let cwd = format!("/proc/self/fd/{LEAKED}{below}");
        let config = json!({"user": {}, "cwd": cwd, "args": ["/bin/true"]});
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", &script]).arg(std::env::current_exe().expect("/proc is mounted"));
        command.env(ROOT, root.path()).env(LEAK, host.path());
        check(become_program(&mut command, &config), 1, &["is outside of the container's root"]);
    }
    assert_eq!(std::fs::read_dir(host.path()).expect("readable").count(), 0, "a folder was made on the host");
}

#[test]
fn no_descriptor_and_no_signal_is_inherited() {
    // The lowest 31 bits are the standard signals; 0 to 2 are open, and the folder that ls reads.
    let script = format!("ls /proc/self/fd | wc -w; grep -cE '{STANDARD_SIGNALS_ARE_DEFAULT}' /proc/self/status");
    check(shell(&script, json!({})), 0, &["4\n2\n"]);
}

fn run_hook(hook: Value, surroundings: &Surroundings<'_>) -> Result<(), String> {
    let hook: Hook = serde_json::from_value(hook).expect("a hook");
    hooks::run(&[hook], Kind::CreateRuntime, surroundings).map_err(|error| error.to_string())
}

fn sh(script: &str) -> Value {
    json!({"path": "/bin/sh", "args": ["sh", "-c", script]})
}

const BARE: Surroundings<'static> = Surroundings { state: b"{\"id\":\"c\"}", environment: &[], directory: None };

#[test]
fn hooks_get_state_environment_directory_and_signals() {
    assert_eq!(run_hook(sh("test \"$(cat)\" = '{\"id\":\"c\"}'"), &BARE), Ok(()));
    assert_eq!(run_hook(sh("test -z \"$HOME$USER\""), &BARE), Ok(()));
    assert_eq!(run_hook(json!({"path": "/bin/true"}), &BARE), Ok(()));
    let mut own = sh("test \"$A\" = 1 && test -z \"$B\"");
    own["env"] = json!(["A=1"]);
    let environment = [CString::new("B=2").expect("no NUL")];
    let folder = std::fs::File::open("/etc").expect("a folder");
    let rich = Surroundings { environment: &environment, directory: Some(folder.as_fd()), ..BARE };
    assert_eq!(run_hook(own, &rich), Ok(()));
    assert_eq!(run_hook(sh("test \"$B\" = 2 && test \"$(pwd)\" = /etc"), &rich), Ok(()));
    let signals = format!("test 2 = $(grep -cE '{STANDARD_SIGNALS_ARE_DEFAULT}' /proc/self/status)");
    assert_eq!(run_hook(sh(&signals), &BARE), Ok(()));
    let big = vec![b'x'; 300_000];
    assert_eq!(run_hook(json!({"path": "/bin/true"}), &Surroundings { state: &big, ..BARE }), Ok(()));
}

#[test]
fn hooks_that_fail_are_named() {
    let name = "hook createRuntime[0] `/bin/sh`";
    assert_eq!(
        run_hook(sh("echo a; echo b >&2; exit 3"), &BARE),
        Err(format!("{name} failed with exit status 3: `a\\nb`"))
    );
    assert_eq!(run_hook(sh("kill -9 $$"), &BARE), Err(format!("{name} failed with signal 9")));
    let missing = json!({"path": "/no/such"});
    assert_eq!(run_hook(missing, &BARE), Err("cannot run hook createRuntime[0] `/no/such`".to_owned()));
}

#[test]
fn hooks_that_hang_are_killed() {
    for script in ["sleep 60", "exec yes", "exec >/dev/null 2>&1; exec sleep 60"] {
        let started = Instant::now();
        let mut hook = sh(script);
        hook["timeout"] = json!(1);
        let text = run_hook(hook, &BARE).expect_err("it hangs");
        assert!(text.contains("hook createRuntime[0] `/bin/sh` ran past its timeout of 1 s and was killed"), "{text}");
        assert!(started.elapsed() < Duration::from_secs(5), "{script}: {:?}", started.elapsed());
    }
}

#[test]
fn what_a_hook_leaves_running_does_not_hold_us() {
    let started = Instant::now();
    assert_eq!(run_hook(sh("sleep 20 &"), &BARE), Ok(()));
    assert!(started.elapsed() < Duration::from_secs(5));
}
