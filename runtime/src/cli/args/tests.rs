//! Command lines as callers of runc write them, and wrong ones.

use super::*;
use crate::container::exec::What;

fn words(line: &str) -> Result<Parsed, Error> {
    parse(std::iter::once("skiff").chain(line.split(' ').filter(|word| !word.is_empty())).map(OsString::from))
}

fn fails(line: &str, part: &str) {
    let text = words(line).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(text.contains(part), "`{line}`: {text}");
}

#[test]
fn containerds_create_is_understood() {
    let line = "--root /r --log /l.json --log-format json create --bundle /b --pid-file /p --console-socket /c x";
    let parsed = words(line).unwrap();
    assert_eq!(parsed.global.log_format, Format::Json);
    let Command::Create(make) = parsed.command else { panic!("not create") };
    assert_eq!((make.id.as_str(), make.bundle, make.pid_file), ("x", "/b".into(), Some("/p".into())));
}

#[test]
fn execs_are_understood() {
    let exec = |line: &str| match words(line).unwrap().command {
        Command::Exec(exec) => exec,
        other => panic!("{other:?}"),
    };
    let shims = exec("--root /r exec --process /p --pid-file /f --console-socket /c --detach x");
    assert_eq!((shims.what, shims.id.as_str()), (What::File("/p".into()), "x"));
    assert!(shims.detach && !shims.tty && shims.pid_file == Some("/f".into()));
    // What follows the id is the program's, however it looks.
    let typed =
        exec("exec -t -u 1:2 -e A=1 --env B= -c CAP_KILL -g 5 --cwd /w --apparmor p --no-new-privs x ls -l --tty");
    let What::Command(program) = typed.what else { panic!("not a command") };
    assert_eq!(program.args, ["ls", "-l", "--tty"]);
    assert_eq!(program.apparmor.as_deref(), Some("p"));
    assert_eq!((program.user, program.env.len(), program.no_new_privileges), (Some((1, Some(2))), 2, Some(true)));
    assert_eq!(exec("exec x -- ls"), exec("exec x ls"));
    assert_eq!(exec("exec --apparmor= x ls"), exec("exec x ls"));
}

#[test]
fn podmans_forms_are_understood() {
    let parsed = words("--root=/r --cgroup-manager=disabled kill --all abc 9").unwrap();
    assert_eq!(parsed.global.cgroups, Driver::Disabled);
    assert_eq!(parsed.command, Command::Kill(Kill { id: "abc".into(), signal: Some("9".into()), all: true }));
    let run = words("run -d -b /b --keep --preserve-fds 3 x").unwrap().command;
    let Command::Run(make) = run else { panic!("not run") };
    assert!(make.detach && make.keep && make.preserve_fds == 3);
    assert_eq!(words("delete -f x").unwrap().command, Command::Delete { id: "x".into(), force: true });
    assert_eq!(words("create --console-socket= x").unwrap().command, words("create x").unwrap().command);
}

#[test]
fn updates_are_documents_or_flags() {
    let update = |line: &str| match words(&format!("update {line}")).unwrap().command {
        Command::Update(update) => (update.id, update.source),
        other => panic!("{other:?}"),
    };
    assert_eq!(update("--resources - x"), ("x".into(), Source::StandardInput));
    assert_eq!(update("x -r /r.json"), ("x".into(), Source::File("/r.json".into())));
    let json = |line: &str| match update(line).1 {
        Source::Flags(resources) => serde_json::to_string(&resources).unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!(json("x"), "{}");
    assert_eq!(json("--memory 64M --memory-swap -1 x"), r#"{"memory":{"limit":67108864,"swap":-1}}"#);
    assert_eq!(json("--cpu-shares=7 --cpuset-cpus 0-1 x"), r#"{"cpu":{"shares":7,"cpus":"0-1"}}"#);
    assert_eq!(json("--pids-limit -1 --blkio-weight 10 x"), r#"{"pids":{"limit":-1},"blockIO":{"weight":10}}"#);
}

#[test]
fn what_follows_the_id_is_for_ps() {
    let ps = |line: &str| match words(line).unwrap().command {
        Command::Ps { id, format, options } => (id, format, options),
        other => panic!("{other:?}"),
    };
    assert_eq!(ps("ps x"), ("x".into(), ListFormat::Table, vec![]));
    assert_eq!(ps("ps -f json x"), ("x".into(), ListFormat::Json, vec![]));
    assert_eq!(
        ps("ps x -f --help -- a"),
        ("x".into(), ListFormat::Table, ["-f", "--help", "--", "a"].map(Into::into).into())
    );
}

#[test]
fn wrong_words_are_named() {
    fails("fly", "`fly`");
    fails("--nonsense run x", "--nonsense");
    fails("create --detach x", "--detach");
    fails("create", "skiff create");
    fails("state", "skiff state");
    fails("state a b", "b");
    fails("kill x 9 y", "y");
    fails("run --preserve-fds many x", "many");
    fails("run --preserve-fds 9999999999 x", "--preserve-fds");
    fails("--log-format xml state x", "xml");
    assert_eq!(words("--systemd-cgroup state x").unwrap().global.cgroups, Driver::Systemd);
    assert_eq!(words("--cgroup-manager systemd state x").unwrap().global.cgroups, Driver::Systemd);
    fails("--cgroup-manager=cgrulesengd state x", "use `cgroupfs`, `systemd` or `disabled`");
    fails("--cgroup-manager magic state x", "magic");
    assert_eq!(words("--rootless=auto state x").unwrap().global.rootless, None);
    assert_eq!(words("--rootless true state x").unwrap().global.rootless, Some(true));
    fails("--rootless=yes state x", "use `true`, `false` or `auto`");
    fails("list --format yaml", "yaml");
    fails("checkpoint x", "checkpoint");
    fails("exec x", "--process");
    fails("exec", "skiff exec");
    fails("exec --process /p x ls", "--process");
    fails("exec --process /p --env A=1 x", "--process");
    fails("exec --user root x ls", "--user root");
    fails("exec --process /p --apparmor a x", "--process");
    fails("exec --process-label a x ls", "SELinux");
    fails("exec --no-new-privs=maybe x ls", "maybe");
    fails("run --bundle", "--bundle");
    fails("pause", "skiff pause");
    fails("resume x --force", "--force");
    fails("ps --format yaml x", "yaml");
    fails("ps", "skiff ps");
    fails("update --memory 1g", "skiff update");
    fails("update --memory", "--memory");
    fails("update --memory -2 x", "--memory -2");
    fails("update --cpu-shares -1 x", "--cpu-share -1");
    fails("update --cpu-quota 9223372036854775808 x", "--cpu-quota");
    fails("update --cpu-idle 2 x", "--cpu-idle 2");
    fails("update --blkio-weight 65546 x", "--blkio-weight");
    fails("update --cpuset-cpus 0;1 x", "--cpuset-cpus");
    fails("update -r - --memory 1g x", "--memory");
    fails("update --l3-cache-schema L3:0=f x", "--l3-cache-schema");
    fails("update --cpus 2 x", "--cpus");
}

#[test]
fn what_is_wrong_is_said_once() {
    for (line, said) in [
        ("--nonsense", "invalid option '--nonsense' (see `skiff --help`)"),
        ("run --bundle", "missing argument for option '--bundle' (see `skiff --help`)"),
        ("nonsense", "`nonsense` is not a command of skiff; see `skiff --help`"),
    ] {
        assert_eq!(format!("{:#}", anyhow::Error::from(words(line).unwrap_err())), said);
    }
}

#[test]
fn help_is_everywhere() {
    for line in [
        "",
        "--help",
        "help",
        "run --help",
        "kill -h",
        "exec -h",
        "features -h",
        "spec --help",
        "list -h",
        "state -h",
        "update -h",
        "ps -h",
        "pause -h",
        "resume --help",
    ] {
        assert!(matches!(words(line).unwrap().command, Command::Help(text) if text.contains("Usage:")), "{line}");
    }
    assert_eq!(words("--version").unwrap().command, Command::Version);
}

#[test]
fn intervals_are_times_with_units() {
    let interval = |text: &str| match words(&format!("events --interval {text} x")).unwrap().command {
        Command::Events(events) => events.interval,
        other => panic!("{other:?}"),
    };
    for (text, milliseconds) in
        [("5s", 5000), ("1m30s", 90_000), ("500ms", 500), ("1.5s", 1500), ("0.25h", 900_000), ("1h0.5ms", 3_600_000)]
    {
        assert_eq!(interval(text).as_millis(), milliseconds, "{text}");
    }
    for text in
        ["5", "s", "1.2.3s", "-1s", "1d", "0.0001ms", "1001h", "99999999999999999999h", "1\u{e9}s", ".\u{e9}\u{e9}s"]
    {
        fails(&format!("events --interval={text} x"), "5s, 1m30s or 500ms");
    }
    assert_eq!(
        words("events --stats x").unwrap().command,
        Command::Events(Events { id: "x".into(), interval: Duration::from_secs(5), stats: true })
    );
}
