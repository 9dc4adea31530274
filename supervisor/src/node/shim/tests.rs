//! Answers, command lines, and programs that fail.

use super::*;
use crate::node::Log;

fn settings(run: &Path) -> Settings {
    Settings {
        run: run.to_owned(),
        logs: run.to_owned(),
        shim: "/usr/bin/shim".into(),
        runtime: "/usr/bin/skiff".into(),
        runtime_root: run.join("runtime"),
        systemd: false,
        cgroup: "/skiff".into(),
        log: Log::Plain,
    }
}

#[test]
fn answers() {
    let two = Address { path: "/run/s/ab".into(), version: Version::Two };
    let three = Address { path: "/run/s/ab".into(), version: Version::Three };
    let json = |version: u32, protocol: &str| {
        format!(r#"{{"version":{version},"address":"unix:///run/s/ab","protocol":"{protocol}"}}"#)
    };
    assert_eq!(parse("unix:///run/s/ab").unwrap(), two);
    assert_eq!(parse("unix:///run/s/ab\n").unwrap(), two);
    assert_eq!(parse(&json(2, "ttrpc")).unwrap(), two);
    assert_eq!(parse(&json(3, "ttrpc")).unwrap(), three);
    let bad = ["", "/run/s/ab", "unix://", "unix://@/s/ab", "vsock://1:2", "{}", &json(4, "ttrpc"), &json(3, "grpc")];
    for answer in bad {
        assert!(matches!(parse(answer), Err(Error::Answer(said)) if said == answer), "{answer}");
    }
}

#[test]
fn command_lines() {
    let settings = settings(Path::new("/run/skiff"));
    let instance = "web-0".parse().unwrap();
    let text = |words: &Words| words.words.iter().map(|word| word.to_str().unwrap().to_owned()).collect::<Vec<_>>();
    let start = start_words(&settings, &instance);
    let expected = "-namespace skiff -address /run/skiff/events.sock -id web-0 -bundle /run/skiff/shims/web start";
    assert_eq!(text(&start).join(" "), expected);
    assert_eq!(start.folder, Path::new("/run/skiff/shims/web"));
    assert_eq!(start.environment[0], ("TTRPC_ADDRESS", "/run/skiff/events.sock".into()));
    let delete = delete_words(&settings, &instance, Path::new("/run/skiff/instances/web-0"));
    assert_eq!(delete.folder, Path::new("/run/skiff/instances/web-0"));
    assert!(text(&delete).join(" ").ends_with("-id web-0 -bundle /run/skiff/instances/web-0 delete"));
    assert_eq!(
        text(&runtime_words(&settings, &instance)),
        ["--root", "/run/skiff/runtime/skiff", "delete", "--force", "web-0"]
    );
}

#[tokio::test]
async fn a_program_that_fails_is_quoted() {
    let folder = tempfile::tempdir().unwrap();
    let sh = |script: &str| Words {
        program: "/bin/sh".into(),
        words: ["-c", script].map(OsString::from).into(),
        environment: vec![("WORD", "hello".into())],
        folder: folder.path().to_owned(),
    };
    let (output, errors) = (folder.path().join("output"), folder.path().join("errors"));
    execute(&sh("pwd; echo $WORD; echo $HOME"), &output, &errors).await.unwrap();
    let said = fs::read_to_string(&output).unwrap();
    assert_eq!(said, format!("{}\nhello\n\n", folder.path().display()), "no more than PATH is handed on");
    let failed = execute(&sh("echo out; echo the >&2; echo reason >&2; exit 1"), &output, &errors).await;
    assert!(matches!(failed, Err(Error::Failed { said, .. }) if said == "the reason"));
    let failed = execute(&sh("echo out; exit 1"), &output, &errors).await;
    assert!(matches!(failed, Err(Error::Failed { said, .. }) if said == "out"));
    let failed = execute(&sh("exit 7"), &output, &errors).await;
    assert!(matches!(failed, Err(Error::Failed { said, .. }) if said.contains('7')));
    let absent = Words { program: "/nowhere/shim".into(), ..sh("") };
    assert!(matches!(execute(&absent, &output, &errors).await, Err(Error::Run { .. })));
}

#[tokio::test]
async fn a_socket_without_a_listener_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let address = Address { path: folder.path().join("s"), version: Version::Two };
    assert!(connect(&address).await.unwrap_err().is_gone());
    drop(tokio::net::UnixListener::bind(&address.path).unwrap());
    // A child that another test has just made holds a copy of it until it executes its program.
    let mut attempts = 0;
    let error = loop {
        match connect(&address).await {
            Err(error) => break error,
            Ok(_) if attempts < 500 => attempts += 1,
            Ok(_) => panic!("a listener that is gone still answers"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert!(error.is_gone());
}

#[test]
fn the_end_of_a_long_text_is_kept() {
    let text = format!("{}the end", "é".repeat(1000));
    let said = last_words(text.as_bytes());
    assert!(said.ends_with("the end") && said.chars().count() == 400);
}
