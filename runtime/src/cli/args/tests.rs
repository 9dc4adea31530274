//! Command lines as callers of runc write them, and wrong ones.

use super::*;

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
fn podmans_forms_are_understood() {
    let parsed = words("--root=/r --cgroup-manager=disabled kill --all abc 9").unwrap();
    assert_eq!(parsed.global.cgroups, CgroupManager::Disabled);
    assert_eq!(parsed.command, Command::Kill(Kill { id: "abc".into(), signal: Some("9".into()), all: true }));
    let run = words("run -d -b /b --keep --preserve-fds 3 x").unwrap().command;
    let Command::Run(make) = run else { panic!("not run") };
    assert!(make.detach && make.keep && make.preserve_fds == 3);
    assert_eq!(words("delete -f x").unwrap().command, Command::Delete { id: "x".into(), force: true });
    assert_eq!(words("create --console-socket= x").unwrap().command, words("create x").unwrap().command);
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
    fails("--systemd-cgroup state x", "systemd");
    fails("--cgroup-manager magic state x", "magic");
    fails("list --format yaml", "yaml");
    fails("checkpoint x", "checkpoint");
    fails("exec x ls", "exec");
    fails("run --bundle", "--bundle");
}

#[test]
fn help_is_everywhere() {
    for line in ["", "--help", "help", "run --help", "kill -h", "features -h", "spec --help", "list -h", "state -h"] {
        assert!(matches!(words(line).unwrap().command, Command::Help(text) if text.contains("Usage:")), "{line}");
    }
    assert_eq!(words("--version").unwrap().command, Command::Version);
}
