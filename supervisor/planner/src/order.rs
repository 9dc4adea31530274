//! The order of services: what has to be so before an instance starts, and what has to be gone before it is stopped.

use crate::desired::Desired;
use crate::ledger::{Held, Ledger};
use crate::name::{InstanceId, ServiceName};
use crate::observed::{Instance, Observed, State};
use crate::release::{Condition, Service};
use std::collections::{BTreeMap, BTreeSet};

#[cfg(test)]
mod tests;

/// A service that depends on itself, by way of others: every name on the way, the first one again at the end.
#[must_use]
pub fn cycle(services: &BTreeMap<ServiceName, Service>) -> Option<Vec<ServiceName>> {
    let mut cleared = BTreeSet::new();
    services.keys().find_map(|name| cycle_from(services, name, &mut Vec::new(), &mut cleared))
}

/// Depth first; `way` is how `name` was reached, and what is `cleared` leads to no cycle.
fn cycle_from<'a>(
    services: &'a BTreeMap<ServiceName, Service>,
    name: &'a ServiceName,
    way: &mut Vec<&'a ServiceName>,
    cleared: &mut BTreeSet<&'a ServiceName>,
) -> Option<Vec<ServiceName>> {
    if cleared.contains(name) {
        return None;
    }
    if let Some(begin) = way.iter().position(|other| *other == name) {
        return Some(way[begin..].iter().copied().chain([name]).cloned().collect());
    }
    way.push(name);
    let dependencies = services.get(name).into_iter().flat_map(|service| service.depends_on.keys());
    for dependency in dependencies {
        if let Some(found) = cycle_from(services, dependency, way, cleared) {
            return Some(found);
        }
    }
    way.pop();
    cleared.insert(name);
    None
}

/// What an instance of `service` waits for before it may start, for people; none when nothing.
#[must_use]
pub fn waits(service: &Service, desired: &Desired, observed: &Observed, ledger: &Ledger) -> Option<String> {
    service.depends_on.iter().find_map(|(name, condition)| {
        // The lint refuses a dependency on what is not there; should one come here, it is never satisfied.
        let Some(dependency) = desired.services.get(name) else { return Some(format!("`{name}`, which is not there")) };
        (0..dependency.deploy.replicas.0).find_map(|replica| {
            let id = InstanceId { service: name.clone(), replica };
            let completed = ledger.instances.get(&id).is_some_and(|entry| entry.held == Some(Held::Completed));
            let instance = observed.instances.get(&id).filter(|instance| instance.blueprint.serves(dependency));
            if satisfied(*condition, completed, instance) {
                return None;
            }
            let verb = match condition {
                Condition::ServiceStarted => "run",
                Condition::ServiceHealthy => "be ready",
                Condition::ServiceCompletedSuccessfully => "complete",
            };
            Some(format!("`{id}` to {verb}"))
        })
    })
}

/// An instance of another blueprint than the desired one does not come here: it is about to go.
fn satisfied(condition: Condition, completed: bool, instance: Option<&Instance>) -> bool {
    let running = instance.filter(|instance| matches!(instance.state, State::Running { .. }));
    match condition {
        // What ran to its good end has been started.
        Condition::ServiceStarted => completed || running.is_some(),
        Condition::ServiceHealthy => running.is_some_and(|instance| instance.health.ready),
        Condition::ServiceCompletedSuccessfully => completed,
    }
}

/// Services that depended on each other when their instances were made, as far as those are still there.
pub struct Dependents {
    /// By service: those that depend on it, also by way of others.
    of: BTreeMap<ServiceName, BTreeSet<ServiceName>>,
}

impl Dependents {
    /// As the observed instances were made.
    #[must_use]
    pub fn observed(observed: &Observed) -> Self {
        let mut of: BTreeMap<ServiceName, BTreeSet<ServiceName>> = BTreeMap::new();
        for (id, instance) in &observed.instances {
            for dependency in instance.blueprint.service.depends_on.keys() {
                of.entry(dependency.clone()).or_default().insert(id.service.clone());
            }
        }
        // One more link in each turn, until there is none.
        loop {
            let mut longer = of.clone();
            for dependents in longer.values_mut() {
                let indirect: Vec<_> = dependents.iter().filter_map(|name| of.get(name)).flatten().cloned().collect();
                dependents.extend(indirect);
            }
            if longer == of {
                return Self { of };
            }
            of = longer;
        }
    }

    /// The first of the `leaving` instances that has to be gone before `id` is stopped.
    ///
    /// Only what leaves as well is waited for: what stays is not stopped because something that it depends on is made
    /// anew. Instances of different releases can depend on each other in a circle, and then none of them waits.
    #[must_use]
    pub fn first_to_go<'a>(&self, id: &InstanceId, leaving: &'a BTreeMap<InstanceId, State>) -> Option<&'a InstanceId> {
        let dependents = self.of.get(&id.service)?;
        let circular = |other: &ServiceName| self.of.get(other).is_some_and(|of| of.contains(&id.service));
        let gone = |state: &State| matches!(state, State::Ended { .. });
        leaving
            .iter()
            .find(|(other, state)| dependents.contains(&other.service) && !circular(&other.service) && !gone(state))
            .map(|(other, _)| other)
    }
}
