//! Rollouts under every sequence of targets and verdicts.

use crate::world::release_id;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use skiff_planner::fleet::Gate;
use skiff_planner::moment::Moment;
use skiff_planner::rollout::{Rollout, Step, Verdict, advance, wake};
use skiff_planner::span::Span;

fn gates() -> impl Strategy<Value = Gate> {
    (0..60_u64, 1..600_u64, any::<bool>()).prop_map(|(healthy, more, auto_revert)| Gate {
        min_healthy: Span::from_secs(healthy),
        deadline: Span::from_secs(healthy + more),
        auto_revert,
    })
}

type Look = (u64, Option<&'static str>, Verdict);

fn looks() -> impl Strategy<Value = Vec<Look>> {
    let verdict = prop_oneof![
        3 => (0..100_000_u64).prop_map(|since| Verdict::Healthy { since: Moment(since) }),
        2 => Just(Verdict::NotYet("not yet".into())),
        1 => Just(Verdict::Broken("broken".into())),
    ];
    let target = proptest::option::weighted(0.9, select(&["1", "2", "3", "4"][..]));
    vec((0..60_000_u64, target, verdict), 0..80)
}

/// Looks on, with nothing new, whenever the rollout asks for it.
fn settle(mut rollout: Rollout, verdict: &Verdict, gate: &Gate, mut now: Moment) -> (Rollout, Vec<Step>) {
    let (target, mut all) = (rollout.running().cloned(), Vec::new());
    for _ in 0..10 {
        let (next, steps) = advance(&rollout, target.as_ref(), verdict, gate, now);
        rollout = next;
        all.extend(steps.iter().filter(|step| !matches!(step, Step::Resume { .. })).cloned());
        if !steps.is_empty() {
            continue;
        }
        match wake(&rollout) {
            Some(at) => now = at.max(now),
            None => break,
        }
    }
    (rollout, all)
}

proptest! {
    #[test]
    fn a_failed_release_is_not_tried_again(gate in gates(), looks in looks()) {
        let (mut rollout, mut now) = (Rollout::default(), Moment(0));
        for (later, target, verdict) in looks {
            now = now.plus(Span::from_millis(later));
            let target = target.map(release_id);
            let (next, steps) = advance(&rollout, target.as_ref(), &verdict, &gate, now);
            prop_assert_eq!((&next, &steps), (&advance(&rollout, target.as_ref(), &verdict, &gate, now).0, &steps));
            prop_assert!(steps.len() <= 1);
            for step in &steps {
                match step {
                    Step::Switch { from, to } => {
                        prop_assert!(rollout.refuses(to).is_none() && Some(to) == target.as_ref());
                        prop_assert_eq!((from.as_ref(), next.running()), (rollout.running(), Some(to)));
                    }
                    Step::Commit { release } => {
                        prop_assert_eq!((next.running(), &next.previous), (Some(release), &rollout.committed));
                    }
                    Step::Revert { from, to, .. } => {
                        prop_assert!(gate.auto_revert && next.refuses(from).is_some());
                        prop_assert_eq!((rollout.running(), next.running()), (Some(from), Some(to)));
                        prop_assert_eq!(Some(to), rollout.committed.as_ref());
                    }
                    Step::Withdraw { from, to } => {
                        let wanted = target.as_ref().expect("only what is asked for moves a device");
                        prop_assert!(wanted == to || rollout.refuses(wanted).is_some());
                        prop_assert!(next.refuses(from).is_none() && wanted != from);
                        prop_assert_eq!(rollout.committed.as_ref(), Some(to));
                    }
                    Step::Resume { .. } => prop_assert!(false, "nothing was booted"),
                    Step::Overdue { .. } => {
                        prop_assert!(!gate.auto_revert || rollout.committed.is_none());
                        prop_assert!(next.trial.as_ref().is_some_and(|trial| trial.overdue.is_some()));
                    }
                }
            }
            let trial = next.trial.as_ref();
            prop_assert!(trial.is_none_or(|trial| next.refuses(&trial.release).is_none()));
            // What was good once is never lost.
            prop_assert!(rollout.committed.is_none() || next.committed.is_some());
            if rollout.running() == next.running() && steps.is_empty() {
                prop_assert_eq!(&rollout.committed, &next.committed);
            }
            rollout = next;
        }
        let healthy = Verdict::Healthy { since: Moment(0) };
        // On another boot the trial begins anew, so that there is time enough for the proof.
        let text = serde_json::to_string(&rollout).unwrap();
        let (good, _) = settle(serde_json::from_str(&text).unwrap(), &healthy, &gate, Moment(0));
        prop_assert!(good.trial.is_none(), "{good:?}");
        prop_assert_eq!(good.committed.as_ref(), rollout.running());
        let (bad, steps) = settle(rollout.clone(), &Verdict::NotYet("no".into()), &gate, now);
        prop_assert!(steps.len() <= 1, "{steps:?}");
        match (&rollout.committed, gate.auto_revert) {
            (Some(committed), true) => prop_assert_eq!((bad.running(), bad.trial.is_none()), (Some(committed), true)),
            (None, _) | (_, false) => prop_assert_eq!(bad.running(), rollout.running()),
        }
    }
}
