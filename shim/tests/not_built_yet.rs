//! Until the shim is built its binary must say so and fail, so that nobody takes it for one.

use std::process::Command;

#[test]
fn it_says_what_it_will_be_and_fails() {
    let output = Command::new(env!("CARGO_BIN_EXE_containerd-shim-skiff-v1")).arg("start").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty(), "containerd reads standard output as an address");
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("not built yet") && text.lines().count() == 1, "{text}");
}

#[test]
fn it_has_a_version() {
    let output = Command::new(env!("CARGO_BIN_EXE_containerd-shim-skiff-v1")).arg("--version").output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8(output.stdout).unwrap().contains(env!("CARGO_PKG_VERSION")));
}
