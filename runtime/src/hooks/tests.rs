//! What is refused in the configuration of hooks, and how their failures read.

use super::*;

fn check_hooks(json: &str, expected: Result<(), &str>) {
    let hooks: Hooks = serde_json::from_str(json).unwrap();
    assert_eq!(validate(&hooks).map_err(|error| error.to_string()), expected.map_err(str::to_owned), "{json}");
}

#[test]
fn hooks_are_checked_by_name() {
    check_hooks("{}", Ok(()));
    check_hooks(r#"{"poststop":[{"path":"/a","args":["a"],"env":["A=","B=1=2"],"timeout":1}]}"#, Ok(()));
    check_hooks(
        r#"{"createRuntime":[{"path":"/a"},{"path":"b"}]}"#,
        Err("`hooks.createRuntime[1].path` must be absolute, and is `b`"),
    );
    check_hooks(
        r#"{"prestart":[{"path":"/a","timeout":0}]}"#,
        Err("`hooks.prestart[0].timeout` must be greater than zero (seconds)"),
    );
    check_hooks(r#"{"poststart":[{"path":"/a","env":["A"]}]}"#, Err("`hooks.poststart[0].env[0]` has no `=`"));
    check_hooks(
        r#"{"startContainer":[{"path":"/a","env":["=A"]}]}"#,
        Err("`hooks.startContainer[0].env[0]` has no name before its `=`"),
    );
    check_hooks(
        r#"{"createContainer":[{"path":"/a","args":["a","\u0000"]}]}"#,
        Err("`hooks.createContainer[0].args[1]` contains a NUL character"),
    );
}

#[test]
fn failures_are_one_line() {
    let name = || Name { kind: Kind::Poststart, index: 2, path: PathBuf::from("/h") };
    let outcome = |end, output: &[u8]| run::Outcome { end, output: output.to_vec() };
    let text = |outcome| judge(name(), outcome, Duration::from_secs(2)).map_err(|error| error.to_string());
    assert_eq!(text(outcome(run::End::Exited(0), b"x")), Ok(()));
    assert_eq!(
        text(outcome(run::End::Exited(3), b"no \"a\"\nit's \x1b[0m\n")).unwrap_err(),
        "hook poststart[2] `/h` failed with exit status 3: `no \"a\"\\nit's \\u{1b}[0m`"
    );
    assert_eq!(text(outcome(run::End::Killed(9), b"")).unwrap_err(), "hook poststart[2] `/h` failed with signal 9");
    assert_eq!(
        text(outcome(run::End::TimedOut, b"")).unwrap_err(),
        "hook poststart[2] `/h` ran past its timeout of 2 s and was killed"
    );
}
