//! Delays between restarts.

use proptest::prelude::*;
use skiff_planner::name::InstanceId;
use skiff_planner::restart::{Again, Policy, delay, exponential};
use skiff_planner::span::Span;

fn policies() -> impl Strategy<Value = Policy> {
    (1..u64::MAX / 4, 1..u64::MAX / 4).prop_map(|(base, more)| Policy {
        again: Again::Always,
        attempts: None,
        base: Span::from_millis(base >> (more % 60)),
        max: Span::from_millis((base >> (more % 60)).saturating_add(more >> (base % 60))),
        reset_after: Span::from_secs(600),
        limit: None,
    })
}

proptest! {
    #[test]
    fn delays_grow_and_are_capped(policy in policies(), row in 1..u32::MAX, replica in 0..u16::MAX) {
        let id = InstanceId { service: "web".parse().unwrap(), replica };
        let nominal = exponential(&policy, row);
        prop_assert!(nominal >= policy.base && nominal <= policy.max);
        prop_assert!(exponential(&policy, row + 1) >= nominal);
        let jittered = delay(&policy, &id, row);
        prop_assert!(jittered <= policy.max, "{jittered} is above {}", policy.max);
        let (low, high) = (nominal.millis() - nominal.millis() / 10, nominal.millis() + nominal.millis() / 10);
        prop_assert!((low..=high).contains(&jittered.millis()), "{jittered} is far from {nominal}");
        prop_assert_eq!(jittered, delay(&policy, &id, row));
    }
}
