//! The table, cell by cell: what is not named here is refused.

use super::*;

const STATES: [State; 10] = [
    State::Creating,
    State::Created,
    State::Starting,
    State::Running,
    State::Pausing,
    State::Paused,
    State::Resuming,
    State::Exiting,
    State::Stopped,
    State::Deleting,
];

const EVENTS: [Event; 20] = [
    Event::Made,
    Event::Start,
    Event::Started,
    Event::StartFailed,
    Event::Pause,
    Event::Paused,
    Event::PauseFailed,
    Event::Resume,
    Event::Resumed,
    Event::ResumeFailed,
    Event::Exec,
    Event::Kill,
    Event::Update,
    Event::Measure,
    Event::Stream,
    Event::Exited,
    Event::Settled,
    Event::Delete,
    Event::DeleteFailed,
    Event::Spared,
];

/// One letter a cell, in the order of EVENTS: `.` refused, `=` stays, `h` held, `!` ended, else as `letter` has it.
const TABLE: [(State, &str); 10] = [
    (State::Creating, "c... ... ... ..... h...."),
    (State::Created, " .s.. ... ... ===== x.d.."),
    (State::Starting, "..rc ... ... .==== h...."),
    (State::Running, " .... p.. ... ===== x...."),
    (State::Pausing, " .... .Pr ... .==== x...."),
    (State::Paused, "  .... ... u.. .==== x...."),
    (State::Resuming, ".... ... .rP .==== x...."),
    (State::Exiting, " .... .== .== .!.== .S..."),
    (State::Stopped, " .... .== .== .!.== ..d.."),
    (State::Deleting, ".... ... ... .!... ==.Sc"),
];

fn letter(verdict: Verdict) -> char {
    match verdict {
        Verdict::Refuse => '.',
        Verdict::Stay => '=',
        Verdict::Hold => 'h',
        Verdict::Ended => '!',
        Verdict::Go(State::Creating) => 'n',
        Verdict::Go(State::Created) => 'c',
        Verdict::Go(State::Starting) => 's',
        Verdict::Go(State::Running) => 'r',
        Verdict::Go(State::Pausing) => 'p',
        Verdict::Go(State::Paused) => 'P',
        Verdict::Go(State::Resuming) => 'u',
        Verdict::Go(State::Exiting) => 'x',
        Verdict::Go(State::Stopped) => 'S',
        Verdict::Go(State::Deleting) => 'd',
    }
}

#[test]
fn every_cell() {
    for (state, row) in TABLE {
        let wanted: String = row.chars().filter(|letter| *letter != ' ').collect();
        let seen: String = EVENTS.iter().map(|event| letter(next(state, *event))).collect();
        assert_eq!(seen, wanted, "{state:?}");
    }
}

#[test]
fn an_exit_is_told_once_and_always() {
    for state in STATES {
        let verdict = next(state, Event::Exited);
        match state {
            State::Exiting | State::Stopped => assert_eq!(verdict, Verdict::Refuse, "{state:?}"),
            _ => assert_ne!(verdict, Verdict::Refuse, "{state:?}"),
        }
    }
}

#[test]
fn nothing_but_an_end_leads_out_of_the_end() {
    for event in EVENTS {
        let verdict = next(State::Stopped, event);
        assert!(matches!(verdict, Verdict::Go(State::Deleting)) || !matches!(verdict, Verdict::Go(_)), "{event:?}");
    }
}
