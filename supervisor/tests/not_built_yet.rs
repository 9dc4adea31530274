//! Until the supervisor is built its binaries must say so and fail, so that nobody takes them for it.

use std::process::Command;

const BINARIES: [&str; 2] = [env!("CARGO_BIN_EXE_skiffd"), env!("CARGO_BIN_EXE_skiffctl")];

#[test]
fn they_say_what_they_will_be_and_fail() {
    for binary in BINARIES {
        let output = Command::new(binary).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{binary}");
        assert!(output.stdout.is_empty(), "{binary}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains("not built yet") && text.lines().count() == 1, "{binary}: {text}");
    }
}

#[test]
fn they_have_a_version() {
    for binary in BINARIES {
        let output = Command::new(binary).arg("--version").output().unwrap();
        assert!(output.status.success(), "{binary}");
        assert!(String::from_utf8(output.stdout).unwrap().contains(env!("CARGO_PKG_VERSION")), "{binary}");
    }
}
