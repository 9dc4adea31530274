//! What is passed on between a socket inside and one outside, and how long anybody waits.
// One thread is the service manager.
#![allow(clippy::disallowed_methods)]

use super::*;
use std::os::unix::net::UnixDatagram;

const OUTER: &str = "outer";

/// A service manager that listens at [`OUTER`] in a folder, and a relay to it from the socket in the same folder.
fn relay() -> (tempfile::TempDir, UnixDatagram, Relay) {
    let folder = tempfile::tempdir().unwrap();
    let outer = folder.path().join(OUTER);
    let manager = UnixDatagram::bind(&outer).unwrap();
    let dir = OwnedFd::from(std::fs::File::open(folder.path()).unwrap());
    let relay = Relay::listen(&dir, "x", Manager::at(outer.as_os_str()).unwrap()).unwrap();
    (folder, manager, relay)
}

#[test]
fn a_container_says_what_it_may() {
    let check = |said: &str, passed: &str, ready: bool| {
        assert_eq!(passed_on(said.as_bytes()), (passed.as_bytes().to_vec(), ready), "{said:?}");
    };
    check("READY=1", "READY=1", true);
    check("READY=1\nSTATUS=all = well\nMAINPID=1\n", "READY=1\nSTATUS=all = well", true);
    check("READY=0", "READY=0", false);
    check("FDSTORE=1\nFDNAME=x\nBARRIER=1\nNOTIFYACCESS=all", "", false);
    check("READY\nREADYY=1\nXREADY=1\n\n=", "", false);
    check("WATCHDOG=1", "WATCHDOG=1", false);
    assert_eq!(passed_on(b"STATUS=\xff\n\xfe=1"), (b"STATUS=\xff".to_vec(), false));
}

#[test]
fn managers_are_paths_or_abstract() {
    for good in ["/run/systemd/notify", "@abstract"] {
        assert!(Manager::at(OsStr::new(good)).is_ok(), "{good}");
    }
    for bad in ["relative", "vsock:2:1", &format!("/{}", "x".repeat(200))] {
        assert!(Manager::at(OsStr::new(bad)).unwrap_err().to_string().contains("unset it"), "{bad}");
    }
}

#[test]
fn what_is_said_inside_is_heard_outside() {
    let (folder, manager, mut relay) = relay();
    let outer = folder.path().join(OUTER);
    let program = UnixDatagram::unbound().unwrap();
    let say = |text: &str| program.send_to(text.as_bytes(), folder.path().join(SOCKET)).unwrap();
    assert!(!relay.carry(None).unwrap());
    say("STATUS=begins");
    say("MAINPID=1");
    assert!(!relay.carry(Some(7)).unwrap());
    say("READY=1\nMAINPID=1");
    assert!(relay.carry(Some(7)).unwrap());
    let mut buffer = [0; 99];
    let mut heard = || {
        let length = manager.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    assert_eq!([heard(), heard()], ["STATUS=begins", "MAINPID=7\nREADY=1"]);
    // Nothing is made of what was cut off.
    say(&format!("STATUS={}", "x".repeat(LONGEST)));
    say("STATUS=ends");
    relay.carry(Some(7)).unwrap();
    assert_eq!(heard(), "STATUS=ends");
    drop(manager);
    std::fs::remove_file(&outer).unwrap();
    let manager = UnixDatagram::bind(&outer).unwrap();
    say("STATUS=still here");
    relay.carry(Some(7)).unwrap();
    let length = manager.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"STATUS=still here", "to one that was started again");
}

#[test]
fn a_manager_that_does_not_read_holds_nobody_up() {
    let (folder, manager, mut relay) = relay();
    let program = UnixDatagram::unbound().unwrap();
    program.set_nonblocking(true).unwrap();
    let mut said = 0;
    while program.send_to(format!("STATUS={said}").as_bytes(), folder.path().join(SOCKET)).is_ok() {
        said += 1;
        relay.carry(None).unwrap();
    }
    assert!(relay.waits().revents().is_empty() && !relay.pending.is_empty());
    let mut buffer = [0; 99];
    manager.set_nonblocking(true).unwrap();
    let mut heard = 0;
    loop {
        relay.carry(None).unwrap();
        let Ok(length) = manager.recv(&mut buffer) else { break };
        assert_eq!(&buffer[..length], format!("STATUS={heard}").as_bytes());
        heard += 1;
    }
    assert_eq!(heard, said, "in order, and all of it");
    assert!(said > 2);
}

#[test]
fn the_end_waits_until_the_manager_has_read() {
    let (folder, manager, mut relay) = relay();
    relay.barrier().unwrap();
    let program = UnixDatagram::unbound().unwrap();
    program.send_to(b"READY=1", folder.path().join(SOCKET)).unwrap();
    assert!(relay.carry(None).unwrap());
    let has_read = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // So long that one who does not wait for this is through before.
            std::thread::sleep(Duration::from_millis(50));
            let mut buffer = [0; 99];
            assert_eq!(manager.recv(&mut buffer).unwrap(), 7);
            has_read.store(true, std::sync::atomic::Ordering::SeqCst);
            assert_eq!(manager.recv(&mut buffer).unwrap(), 9);
        });
        relay.barrier().unwrap();
        assert!(has_read.load(std::sync::atomic::Ordering::SeqCst));
    });
}

#[test]
fn the_configuration_gets_a_mount_and_a_variable() {
    let mut spec = Spec::default();
    spec.process_mut().as_mut().unwrap().set_env(Some(vec!["NOTIFY_SOCKET=/other".into(), "NOTIFY_SOCKETS=1".into()]));
    let before = spec.mounts().as_ref().unwrap().len();
    provide(&mut spec, Path::new("/state/x/notify"));
    let environment = spec.process().as_ref().unwrap().env().clone().unwrap();
    assert_eq!(environment, ["NOTIFY_SOCKETS=1", "NOTIFY_SOCKET=/run/notify/notify.sock"]);
    let mounts = spec.mounts().as_ref().unwrap();
    assert_eq!((mounts.len(), mounts[before].destination().as_path()), (before + 1, Path::new(INSIDE)));
}
