//! Records on a real file system.

use super::*;
use crate::node::specimen::record;

fn run() -> tempfile::TempDir {
    let run = tempfile::tempdir().unwrap();
    fs::create_dir(folder(run.path())).unwrap();
    run
}

#[test]
fn what_is_written_is_read() {
    let run = run();
    let process = Identity { pid: 7, start_time: 9, cgroup: "/skiff/web-0".into() };
    let (since, started) = (Moment(5), "2026-11-24T08:00:00Z".to_owned());
    let exit = Exit::Status { code: 137, oom: true };
    let phases = [
        Phase::Intent,
        Phase::Created { process: process.clone() },
        Phase::Running { process, since, started: started.clone() },
        Phase::Ended { since: Some(since), started: Some(started), seen: Moment(8), exit },
        Phase::Ended { since: None, started: None, seen: Moment(8), exit: Exit::Unseen },
    ];
    let instance = "web-0".parse().unwrap();
    claim(run.path(), &instance).unwrap();
    for phase in phases {
        let record = record(phase);
        record.write(run.path()).unwrap();
        assert_eq!(Record::read(&bundle(run.path(), &instance)).unwrap(), Some(record));
    }
}

#[test]
fn an_instance_is_claimed_once() {
    let run = run();
    let instance = "web-0".parse().unwrap();
    claim(run.path(), &instance).unwrap();
    assert_eq!(fs::metadata(bundle(run.path(), &instance)).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(matches!(claim(run.path(), &instance), Err(Error::Exists(other)) if other == instance));
    assert_eq!(Record::read(&bundle(run.path(), &instance)).unwrap(), None, "nothing was published");
    remove(run.path(), &instance).unwrap();
    remove(run.path(), &instance).unwrap();
    claim(run.path(), &instance).unwrap();
}

#[test]
fn a_garbled_record_is_set_aside() {
    let run = run();
    let instance = "web-0".parse().unwrap();
    claim(run.path(), &instance).unwrap();
    let whole = serde_json::to_vec(&record(Phase::Intent)).unwrap();
    for length in [0, 1, whole.len() / 2, whole.len() - 1] {
        fs::write(bundle(run.path(), &instance).join("record.json"), &whole[..length]).unwrap();
        assert!(matches!(Record::read(&bundle(run.path(), &instance)), Err(Error::Garbled { .. })));
        let aside = quarantine(run.path(), "web-0").unwrap();
        assert_eq!(fs::read(aside).unwrap(), whole[..length]);
        assert_eq!(Record::read(&bundle(run.path(), &instance)).unwrap(), None);
    }
}
