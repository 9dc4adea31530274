//! What follows from what is known, played against a world that does as it is told.

use super::*;
use crate::node::{Doing, Seen};
use skiff_planner::span::Span;

const START: Moment = Moment(1_000_000);

fn staged(version: &str, services: &str) -> News {
    let text = format!(
        r#"{{"apiVersion":"skiff.dev/v1","kind":"Release","metadata":{{"name":"t","version":"{version}"}},"services":{services}}}"#
    );
    let digest = format!("sha256:{version:0>64}").parse().unwrap();
    let gate = Gate { min_healthy: Span::from_secs(10), deadline: Span::from_secs(60), auto_revert: true };
    News::Staged(Box::new(Staged {
        id: ReleaseId { version: version.into(), digest },
        release: serde_json::from_str(&text).unwrap(),
        gate,
        group: Some("all".into()),
        bundles: BTreeMap::new(),
    }))
}

/// The state, and a world in which every action comes about at once.
struct World {
    state: State,
    now: Moment,
    steps: Vec<Step>,
    done: Vec<String>,
}

impl World {
    fn new() -> Self {
        Self { state: State::default(), now: START, steps: Vec::new(), done: Vec::new() }
    }

    fn learn(&mut self, fact: Fact) {
        self.state.learn(fact, self.now);
        self.settle();
    }

    fn later(&mut self, secs: u64) {
        self.now = self.now.plus(Span::from_secs(secs));
        self.learn(Fact::Due);
    }

    fn settle(&mut self) {
        for _ in 0..50 {
            let decision = self.state.decide(self.now);
            let over = decision.plan.actions.is_empty() && decision.steps.is_empty();
            self.state.accept(&decision);
            self.steps.extend(decision.steps);
            for action in decision.plan.actions {
                self.done.push(action.to_string());
                self.perform(action);
            }
            if over {
                return;
            }
        }
        panic!("it never settles: {:?}", self.done);
    }

    fn perform(&mut self, action: Action) {
        let now = self.now;
        let mut tell = |seen| self.state.learn(Fact::Seen(seen), now);
        match action {
            Action::Start { instance, .. } => {
                tell(Seen::Started { instance: instance.clone(), pid: 7, since: now });
                tell(Seen::Done { instance, doing: Doing::Start, outcome: Ok(()) });
            }
            Action::Stop { instance, .. } => {
                let exit = Exit::Status { code: 0, oom: false };
                tell(Seen::Ended { instance: instance.clone(), exit, since: Some(START), at: now });
                tell(Seen::Done { instance, doing: Doing::Stop, outcome: Ok(()) });
            }
            Action::Remove { instance } => tell(Seen::Done { instance, doing: Doing::Remove, outcome: Ok(()) }),
            Action::Update { instance, .. } => tell(Seen::Done { instance, doing: Doing::Update, outcome: Ok(()) }),
        }
    }

    fn version(&self) -> &str {
        self.state.rollout.running().map_or("", |release| &release.version)
    }
}

const WEB: &str = r#"{"web":{"bundle":"/srv/web"}}"#;

#[test]
fn nothing_is_touched_before_anything_was_chosen() {
    let mut world = World::new();
    world.later(1);
    assert!(world.done.is_empty() && world.steps.is_empty());
    world.learn(Fact::News(News::Refused { reason: "signature", text: "no".into() }));
    assert!(world.done.is_empty());
    assert_eq!(world.state.heard.failures["signature"], 1);
}

#[test]
fn a_release_is_tried_proves_itself_and_is_followed_by_another() {
    let mut world = World::new();
    world.learn(Fact::News(staged("1", WEB)));
    assert_eq!(world.done, ["start web-0 of 1"]);
    assert_eq!(world.state.wake, Some(START.plus(Span::from_secs(10))), "the end of its proof is waited for");
    world.later(10);
    assert_eq!(world.state.rollout.committed.as_ref().map(|it| it.version.as_str()), Some("1"));
    world.learn(Fact::News(staged("2", r#"{"web":{"bundle":"/srv/web2"}}"#)));
    assert_eq!(world.version(), "2");
    assert_eq!(
        world.done[1..],
        ["stop web-0 by SIGTERM, 10s: its service has changed", "remove web-0", "start web-0 of 2"]
    );
    assert_eq!(world.state.worth_keeping().len(), 3, "what is returned to, what is tried, and what is wanted");
}

#[test]
fn a_start_that_fails_is_an_end_and_breaks_no_other() {
    let mut world = World::new();
    world.learn(Fact::News(staged("1", r#"{"web":{"bundle":"/srv/web","restart":"no"}}"#)));
    world.later(10);
    world.state.learn(Fact::News(staged("2", r#"{"web":{"bundle":"/srv/broken","restart":"no"}}"#)), world.now);
    for _ in 0..3 {
        let decision = world.state.decide(world.now);
        world.state.accept(&decision);
        world.steps.extend(decision.steps);
        for action in decision.plan.actions {
            match action {
                Action::Start { instance, blueprint } if blueprint.release.version == "2" => {
                    let outcome = Err("no such folder".to_owned());
                    world.state.learn(Fact::Seen(Seen::Done { instance, doing: Doing::Start, outcome }), world.now);
                }
                other => world.perform(other),
            }
        }
    }
    world.settle();
    assert_eq!(world.version(), "1", "{:?}", world.steps);
    let (release, reason) = world.state.last_revert.clone().unwrap();
    assert!(release == "2" && reason.contains("no such folder"), "{reason}");
}

#[test]
fn a_decision_that_is_not_on_disk_is_not_done() {
    let mut world = World::new();
    world.state.learn(Fact::News(staged("1", WEB)), world.now);
    let decision = world.state.decide(world.now);
    assert_eq!(decision.plan.actions.len(), 1);
    world.state.put_off("no space left".into(), world.now);
    assert!(world.state.rollout.running().is_none() && world.state.instances.is_empty());
    assert_eq!(world.state.wake, Some(START.plus(PUT_OFF)));
    assert_eq!(world.state.blocked.as_deref(), Some("no space left"));
    // Whatever is learnt meanwhile, the disk is not asked again before that.
    let almost = Span::from_millis(PUT_OFF.millis() - 1);
    assert!(world.state.is_put_off(START.plus(almost)) && !world.state.is_put_off(START.plus(PUT_OFF)));
    // The disk takes things again.
    world.later(5);
    assert_eq!((world.done.len(), world.state.blocked.as_deref()), (1, None));
}

#[test]
fn late_words_about_what_is_gone_change_nothing() {
    let mut world = World::new();
    let gone: InstanceId = "web-0".parse().unwrap();
    let exit = Exit::Unseen;
    world.learn(Fact::Seen(Seen::Ended { instance: gone.clone(), exit, since: None, at: START }));
    world.learn(Fact::Seen(Seen::Done { instance: gone, doing: Doing::Stop, outcome: Ok(()) }));
    assert!(world.state.instances.is_empty() && world.done.is_empty());
}

#[test]
fn a_drain_stops_everything_and_starts_nothing() {
    let mut world = World::new();
    world.learn(Fact::News(staged("1", WEB)));
    world.learn(Fact::Drain);
    assert!(world.state.is_drained(), "{:?}", world.state.instances);
    world.learn(Fact::News(staged("2", r#"{"web":{"bundle":"/srv/web2"}}"#)));
    assert!(world.state.is_drained());
    assert_eq!(world.version(), "1", "the release stays chosen for the next start");
}

#[test]
fn a_drain_in_a_trial_waits_for_nothing_of_the_trial() {
    let mut world = World::new();
    world.learn(Fact::News(staged("1", WEB)));
    world.learn(Fact::Drain);
    // Its proof and its deadline pass, and nobody judges it: a moment in the past to wake at would be waited for without end.
    for secs in [11, 61] {
        world.later(secs);
        assert_eq!(world.state.wake, None);
    }
    assert_eq!(world.steps.len(), 1, "{:?}", world.steps);
}

#[test]
fn a_drain_stops_also_what_nobody_chose() {
    let mut world = World::new();
    world.learn(Fact::News(staged("1", WEB)));
    // The state folder was lost, and what was chosen with it.
    (world.state.rollout, world.state.target) = (Rollout::default(), None);
    world.learn(Fact::Drain);
    assert!(world.state.is_drained(), "{:?}", world.done);
}

#[test]
fn limits_change_while_it_runs() {
    let mut world = World::new();
    world.learn(Fact::News(staged("1", WEB)));
    world.later(10);
    let limited = r#"{"web":{"bundle":"/srv/web","deploy":{"resources":{"limits":{"memory":"64M"}}}}}"#;
    world.learn(Fact::News(staged("2", limited)));
    assert_eq!(world.done[1..], ["update web-0 to cpus no limit, memory 67108864 bytes, pids default"]);
    let instance = world.state.instances.values().next().unwrap();
    assert_eq!(instance.seen.limits.memory.map(|memory| memory.0), Some(64 << 20));
}
