//! The ledger at the beginning of a plan: it forgets what is neither desired nor there, begins anew where a service has
//! changed, and counts the ends that are seen.

use crate::desired::{Blueprint, Desired};
use crate::ledger::{Entry, Held, Ledger};
use crate::moment::Moment;
use crate::observed::{Observed, State};
use crate::release::Service;
use crate::restart;

/// The ledger after this look at the world.
pub(super) fn refresh(desired: &Desired, observed: &Observed, ledger: &Ledger) -> Ledger {
    let mut ledger = ledger.clone();
    ledger.instances.retain(|id, _| desired.service_of(id).is_some() || observed.instances.contains_key(id));
    for (id, service) in desired.instances() {
        renew(ledger.instances.entry(id).or_default(), desired, service);
    }
    for (id, instance) in &observed.instances {
        let State::Ended { since, at, exit } = &instance.state else { continue };
        let entry = ledger.instances.entry(id.clone()).or_default();
        match desired.service_of(id).filter(|service| instance.blueprint.serves(service)) {
            Some(service) => restart::record_exit(entry, id, service, *since, *at, exit),
            None => restart::record_departure(entry, *since, *at, exit),
        }
    }
    ledger
}

/// A changed service begins anew. A new release gives another chance to one that was given up, but what has completed is
/// not done again. A changed policy looks at the last end once more.
fn renew(entry: &mut Entry, desired: &Desired, service: &Service) {
    if let Some(about) = &entry.about {
        let given_up = matches!(entry.held, Some(Held::Failed | Held::StartLimit));
        let (before, after) = (restart::policy(&about.service), restart::policy(service));
        if !about.serves(service) {
            begin_anew(entry);
        } else if given_up && about.release.digest != desired.release.digest {
            another_chance(entry);
        } else if entry.held.is_some() && before != after {
            let held = restart::held_by_policy(&after, entry);
            if entry.held == Some(Held::StartLimit) {
                another_chance(entry);
            }
            entry.held = held;
        }
    }
    let same = |about: &Blueprint| about.release == desired.release && about.service == *service;
    if !entry.about.as_ref().is_some_and(same) {
        entry.about = Some(Blueprint { release: desired.release.clone(), service: service.clone() });
    }
}

/// The last end and the kills at the memory limit are kept: they are what people ask about.
fn begin_anew(entry: &mut Entry) {
    another_chance(entry);
    entry.restarts = 0;
    entry.unhealthy = false;
}

fn another_chance(entry: &mut Entry) {
    entry.held = None;
    entry.row = 0;
    entry.starts.clear();
    entry.not_before = Moment::default();
}
