//! The table of verdicts.

use super::*;
use crate::node::specimen::record;
use skiff_planner::moment::Moment;

fn phases() -> [Phase; 4] {
    let process = Identity { pid: 7, start_time: 9, cgroup: String::new() };
    [
        Phase::Intent,
        Phase::Created { process: process.clone() },
        Phase::Running { process, since: Moment(1), started: String::new() },
        Phase::Ended { since: None, started: None, seen: Moment(2), exit: Exit::Unseen },
    ]
}

const fn is(status: Status) -> Asked {
    Asked::Is { status, pid: 7, code: 3 }
}

#[test]
fn table() {
    use Verdict::{AsRecorded, AskAgain, Bury, Ended, TakeBack, Watch};
    let rows = [
        (Asked::Gone, [TakeBack, TakeBack, Bury]),
        (Asked::Absent, [TakeBack, TakeBack, Bury]),
        (Asked::Silent, [AskAgain, AskAgain, AskAgain]),
        (is(Status::UNKNOWN), [AskAgain, AskAgain, AskAgain]),
        (is(Status::CREATED), [TakeBack, TakeBack, TakeBack]),
        (is(Status::STOPPED), [TakeBack, Ended(3), Ended(3)]),
        (is(Status::RUNNING), [Watch, Watch, Watch]),
        (is(Status::PAUSED), [Watch, Watch, Watch]),
        (is(Status::PAUSING), [Watch, Watch, Watch]),
    ];
    let [intent, created, running, ended] = phases().map(record);
    for (asked, wanted) in rows {
        let seen = [&intent, &created, &running].map(|record| judge(record, "boot", asked, |_| true));
        assert_eq!(seen, wanted, "{asked:?}");
        assert_eq!(judge(&ended, "boot", asked, |_| true), AsRecorded, "{asked:?}");
        for record in [&intent, &created, &running, &ended] {
            assert_eq!(judge(record, "other boot", asked, |_| true), TakeBack, "{asked:?}");
        }
    }
    assert_eq!(judge(&running, "boot", is(Status::RUNNING), |_| false), Bury, "another process");
}

#[test]
fn a_process_is_held_against_its_record() {
    let own = i32::try_from(std::process::id()).unwrap();
    let process = Identity::of(own, "").unwrap();
    let with = |process: Identity| record(Phase::Created { process });
    assert!(is_that_process(&with(process.clone()), own));
    assert!(!is_that_process(&with(process.clone()), own + 1));
    assert!(!is_that_process(&with(Identity { start_time: process.start_time + 1, ..process.clone() }), own));
    assert!(!is_that_process(&with(Identity { cgroup: "/nowhere".into(), ..process }), own));
    assert!(is_that_process(&record(Phase::Intent), own), "the shim's word");
}
