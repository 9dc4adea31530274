//! What bash offers while a command line of `skiff` is typed. That the scripts are made of the help is a unit test's.

use std::path::Path;

use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::command::Invocation;
use skiff_integration_tests::runtime::{Kind, Runtime};
use skiff_lanes::runs;

const ASK: &str = r#"
source "$1"; shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_skiff
echo "${COMPREPLY[*]}"
"#;

/// What is offered for the last of these words, which are as bash takes them apart.
fn offered(runtime: &Runtime, words: &[&str]) -> String {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let script = top.join("configs/completions/skiff.bash");
    let (script, folder) = (script.to_string_lossy(), runtime.binary.parent().unwrap().to_string_lossy());
    let all = [&["-c", ASK, "bash", &*script, "skiff"], words].concat();
    let path = format!("{folder}:{}", std::env::var("PATH").unwrap());
    Invocation::new("bash", &all).env("PATH", &path).run().ok().trim().to_owned()
}

#[runs(host)]
fn words_are_offered_where_they_fit() {
    let Some(runtime) = Runtime::wanted().into_iter().find(|runtime| runtime.kind == Kind::Skiff) else { return };
    let offered = |words: &[&str]| offered(&runtime, words);
    assert_eq!(offered(&["st"]), "start state");
    assert_eq!(offered(&["--log-format", ""]), "text json");
    assert_eq!(offered(&["--log-format", "=", "te"]), "text");
    assert_eq!(offered(&["run", "--det"]), "--detach");
    assert_eq!(offered(&["start", "--det"]), "");
    let bundle = Bundle::sleeper();
    let container = runtime.container(&bundle);
    container.run(&["--detach"]).ok();
    let root = runtime.root().to_string_lossy();
    assert_eq!(offered(&["--root", &root, "state", ""]), container.id);
    assert_eq!(offered(&["--root", "=", &root, "kill", &container.id[..3]]), container.id);
    container.delete(&["--force"]).ok();
}
