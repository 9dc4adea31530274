//! Hooks: all six, in order, with the state on standard input, their environment and time limit, and what a failing
//! one does (runtime-spec, runtime.md, lifecycle).

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::compare::each;
use skiff_integration_tests::runtime::{Container, Kind};
use skiff_lanes::runs;

const ORDER: &[&str] = &["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

fn log(bundle: &Bundle) -> PathBuf {
    bundle.path().join("hooks.log")
}

fn lines(bundle: &Bundle) -> Vec<String> {
    fs::read_to_string(log(bundle)).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// A hook that appends its own name, the status and the pid from the state that it gets, to the log; the log of the
/// hooks that run inside of the container is the same file, bound to /mnt/hooks.log.
fn hook(bundle: &Bundle, name: &str, then: &str) -> Value {
    // startContainer runs in the container's root: the shell is the container's there.
    let target = if name == "startContainer" { PathBuf::from("/data/hooks.log") } else { log(bundle) };
    let script = format!(
        "read -r state; all=$(echo \"$state\"; cat); status=$(echo \"$all\" | tr -d ' \\n\\t' | grep -o '\"status\":\"[a-z]*\"' | cut -d'\"' -f4); \
         echo {name} $status >>{}; {then}",
        target.display()
    );
    json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]})
}

fn bundle_with(hooks: &[(&str, &str)]) -> Bundle {
    let bundle = Bundle::script("echo program >>/data/hooks.log");
    fs::write(log(&bundle), "").unwrap();
    let source = log(&bundle);
    let mut entries = serde_json::Map::new();
    for (name, then) in hooks {
        entries.insert((*name).to_owned(), json!([hook(&bundle, name, then)]));
    }
    bundle
        .mount(json!({"destination": "/data/hooks.log", "source": source, "options": ["bind"]}))
        .edit(|config| config["hooks"] = Value::Object(entries))
}

fn names(bundle: &Bundle) -> Vec<String> {
    lines(bundle).iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

#[runs(everywhere)]
fn all_six_in_order_with_the_state_of_the_moment() {
    let unordered = [
        (Kind::Runc, "1.1 runs poststart within create"),
        (Kind::Crun, "runs poststart without waiting for the startContainer hooks"),
        (Kind::Reference, "as crun"),
    ];
    each(&unordered, |runtime| {
        let all: Vec<(&str, &str)> = ORDER.iter().map(|name| (*name, "")).collect();
        let bundle = bundle_with(&all);
        let container = runtime.container(&bundle);
        container.create(&[]).ok();
        assert_eq!(names(&bundle), ["prestart", "createRuntime", "createContainer"]);
        container.start().ok();
        container.reaches("stopped");
        container.delete(&[]).ok();
        container.assert_gone();
        let mut seen = names(&bundle);
        // The program and poststart run at the same time.
        seen.retain(|name| name != "program");
        assert_eq!(seen, ORDER);
        let lines = lines(&bundle);
        assert!(lines.contains(&"program".to_owned()));
        let start = lines.iter().position(|line| line.starts_with("startContainer")).unwrap();
        assert!(
            lines.iter().position(|line| line == "program").unwrap() > start,
            "startContainer comes first: {lines:?}"
        );
        assert!(lines.contains(&"poststop stopped".to_owned()), "{lines:?}");
    });
}

#[test]
fn the_state_on_standard_input_is_the_containers() {
    each(&[], |runtime| {
        let bundle = Bundle::sleeper().edit(|config| config["annotations"] = json!({"key": "value"}));
        let copy = bundle.path().join("state.json");
        let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", format!("cat >{}", copy.display())]});
        let bundle = bundle.edit(|config| config["hooks"] = json!({"createRuntime": [hook]}));
        let container = runtime.container(&bundle);
        container.create(&[]).ok();
        let state: Value = serde_json::from_slice(&fs::read(&copy).unwrap()).unwrap();
        assert_eq!(state["id"], container.id.as_str());
        assert_eq!(state["bundle"], bundle.path().to_string_lossy().as_ref());
        assert_eq!(state["pid"], container.pid());
        assert_eq!(state["annotations"]["key"], "value");
        assert!(state["ociVersion"].is_string() && state["status"].is_string(), "{state}");
    });
}

#[test]
fn environment_and_arguments_are_the_hooks_own() {
    each(&[], |runtime| {
        let bundle = Bundle::new();
        let copy = bundle.path().join("copy");
        // The first argument is argv[0], so the shell says it as $0.
        let script = format!(
            "{{ cat >/dev/null; /usr/bin/env | grep -vE '^(PWD|SHLVL|_|OLDPWD)='; echo \"$@\"; }} >{}",
            copy.display()
        );
        let hook =
            json!({"path": "/bin/sh", "args": ["sh", "-c", script, "zero", "one", "two words"], "env": ["ONLY=this"]});
        let bundle = bundle.edit(|config| config["hooks"] = json!({"createRuntime": [hook]}));
        let container = runtime.container(&bundle);
        container.run_command(&[]).env("SECRET", "of the caller").run().ok();
        assert_eq!(fs::read_to_string(&copy).unwrap(), "ONLY=this\none two words\n");
    });
}

#[test]
fn several_hooks_run_in_their_order() {
    // None of them reads its standard input.
    each(&[(Kind::Crun, "takes an unread state for a failure, now and then")], |runtime| {
        let bundle = Bundle::new();
        let log = log(&bundle);
        let hook =
            |word: &str| json!({"path": "/bin/sh", "args": ["sh", "-c", format!("echo {word} >>{}", log.display())]});
        let bundle =
            bundle.edit(|config| config["hooks"] = json!({"createRuntime": [hook("a"), hook("b"), hook("c")]}));
        runtime.run(&bundle).ok();
        assert_eq!(lines(&bundle), ["a", "b", "c"]);
    });
}

#[test]
fn hooks_run_in_the_namespaces_that_the_spec_names() {
    each(&[], |runtime| {
        let bundle = Bundle::sleeper();
        let own = fs::read_link("/proc/self/ns/mnt").unwrap();
        let say = |name: &str| {
            let path = bundle.path().join(name);
            json!([{"path": "/bin/sh", "args": ["sh", "-c", format!("readlink /proc/self/ns/mnt >{}", path.display())]}])
        };
        let hooks = json!({"createRuntime": say("createRuntime"), "createContainer": say("createContainer")});
        let read = |name: &str| fs::read_to_string(bundle.path().join(name)).unwrap().trim().to_owned();
        let path = bundle.path().to_owned();
        let bundle = Bundle::sleeper().edit(|config| config["hooks"] = hooks);
        let container = runtime.container(&bundle);
        container.create(&[]).ok();
        assert!(path.join("createContainer").exists());
        if !runtime.is_wrapped() {
            assert_eq!(read("createRuntime"), own.to_string_lossy());
        }
        let inside = fs::read_link(format!("/proc/{}/ns/mnt", container.pid())).unwrap();
        assert_eq!(read("createContainer"), inside.to_string_lossy(), "in the container's, before pivot_root");
    });
}

fn fails_and_is_gone(container: &Container<'_>, name: &str) {
    let outcome = container.run(&[]);
    assert!(!outcome.succeeded() && !outcome.hung, "{name}: {outcome}");
    container.assert_gone();
}

#[runs(everywhere)]
fn a_failing_hook_before_the_program_undoes_the_container_and_runs_poststop() {
    // runtime-spec 1.2, lifecycle 3 to 7: "generate an error, stop the container, continue at step 12" (poststop).
    for name in &ORDER[..4] {
        let quiet = [
            (Kind::Runc, "runc 1.1 skips poststop there"),
            (Kind::Crun, "crun 1.8 skips poststop there"),
            (Kind::Reference, "libcontainer skips poststop there"),
        ];
        each(&quiet, |runtime| {
            let bundle = bundle_with(&[(name, "exit 7"), ("poststop", "")]);
            let container = runtime.container(&bundle);
            fails_and_is_gone(&container, name);
            let seen = names(&bundle);
            assert!(!seen.contains(&"program".to_owned()), "{name}: {seen:?}");
            assert_eq!(seen, [name, "poststop"], "{name}");
        });
    }
}

#[test]
fn a_failing_hook_before_the_program_is_an_error_for_all() {
    each(&[(Kind::Reference, "leaves its folder")], |runtime| {
        for name in &ORDER[..4] {
            if *name == "startContainer" && runtime.kind != Kind::Skiff {
                continue;
            }
            let bundle = bundle_with(&[(name, "exit 7")]);
            let container = runtime.container(&bundle);
            fails_and_is_gone(&container, name);
            assert_eq!(names(&bundle), [*name]);
        }
    });
}

#[test]
fn a_failing_poststart_stops_the_container() {
    // runtime-spec 1.2, lifecycle 9, as 1.3 clarifies: error, stop, poststop.
    let old = [(Kind::Runc, "1.1 keeps to the older words"), (Kind::Crun, "1.8 warns"), (Kind::Reference, "warns")];
    each(&old, |runtime| {
        let bundle = bundle_with(&[("poststart", "exit 7"), ("poststop", "")]).args(&["/bin/sleep", "1000"]);
        let container = runtime.container(&bundle);
        let outcome = container.run(&[]);
        assert!(!outcome.succeeded() && !outcome.hung, "{outcome}");
        container.assert_gone();
        assert_eq!(names(&bundle), ["poststart", "poststop"]);
    });
}

#[test]
fn a_failing_poststop_is_a_warning() {
    each(&[(Kind::Reference, "aborts the deletion half-way")], |runtime| {
        let bundle = bundle_with(&[("poststop", "exit 7")]);
        let container = runtime.container(&bundle);
        let outcome = container.run(&[]);
        assert!(outcome.succeeded(), "{outcome}");
        container.assert_gone();
        let seen = names(&bundle);
        assert!(seen.contains(&"poststop".to_owned()), "{seen:?}");
    });
}

#[test]
fn all_poststop_hooks_run_even_when_one_fails() {
    each(&[(Kind::Reference, "aborts at the first"), (Kind::Runc, "1.1 stops at the first")], |runtime| {
        let bundle = Bundle::new();
        let log = log(&bundle);
        let hook = |word: &str, code: u8| json!({"path": "/bin/sh", "args": ["sh", "-c", format!("echo {word} >>{}; exit {code}", log.display())]});
        let bundle = bundle.edit(|config| config["hooks"] = json!({"poststop": [hook("a", 1), hook("b", 0)]}));
        runtime.run(&bundle).ok();
        assert_eq!(lines(&bundle), ["a", "b"]);
    });
}

#[test]
fn a_hook_over_its_time_is_killed_and_is_an_error() {
    each(&[(Kind::Reference, "leaves its folder")], |runtime| {
        let bundle = Bundle::new();
        let hook = json!({"path": "/bin/sleep", "args": ["sleep", "1000.5"], "timeout": 1});
        let bundle = bundle.edit(|config| config["hooks"] = json!({"createRuntime": [hook]}));
        let container = runtime.container(&bundle);
        fails_and_is_gone(&container, "createRuntime");
    });
}

#[test]
fn a_hook_that_is_not_there_or_not_absolute_is_refused() {
    each(&[(Kind::Reference, "leaves its folder")], |runtime| {
        let missing =
            Bundle::new().edit(|config| config["hooks"] = json!({"createRuntime": [{"path": "/does/not/exist"}]}));
        let container = runtime.container(&missing);
        container.run(&[]).fails_with(&["/does/not/exist"]);
        container.assert_gone();
    });
    each(
        &[(Kind::Reference, "leaves its folder"), (Kind::Runc, "1.1 looks it up"), (Kind::Crun, "looks it up")],
        |runtime| {
            let relative =
                Bundle::new().edit(|config| config["hooks"] = json!({"createRuntime": [{"path": "bin/true"}]}));
            let container = runtime.container(&relative);
            container.run(&[]).fails_with(&["hooks.createRuntime[0].path"]);
            container.assert_gone();
        },
    );
}

#[test]
fn a_hook_gets_no_descriptor_of_the_runtime() {
    each(&[(Kind::Runc, "not measured"), (Kind::Crun, "not measured"), (Kind::Reference, "not measured")], |runtime| {
        let bundle = Bundle::new();
        let copy = bundle.path().join("copy");
        let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", format!("exec /bin/ls /proc/self/fd >{}", copy.display())], "env": ["PATH=/bin"]});
        let bundle = bundle.edit(|config| config["hooks"] = json!({"createRuntime": [hook]}));
        runtime.run(&bundle).ok();
        // Its standard streams and the folder that it lists: not even what our own caller has left open.
        assert_eq!(fs::read_to_string(&copy).unwrap(), "0\n1\n2\n3\n");
    });
}
