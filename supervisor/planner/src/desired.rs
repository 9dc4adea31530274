//! What should run: the services of one release.

use crate::name::{InstanceId, ReleaseId, ServiceName};
use crate::release::Service;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What should run on this device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// Of this release.
    pub release: ReleaseId,
    /// By name.
    pub services: BTreeMap<ServiceName, Service>,
}

impl Desired {
    /// Every instance that should be there, in order of name.
    pub fn instances(&self) -> impl Iterator<Item = (InstanceId, &Service)> {
        self.services.iter().flat_map(|(name, service)| {
            let id = move |replica| InstanceId { service: name.clone(), replica };
            (0..service.deploy.replicas.0).map(move |replica| (id(replica), service))
        })
    }

    /// The service of an instance, if the instance should be there.
    #[must_use]
    pub fn service_of(&self, id: &InstanceId) -> Option<&Service> {
        self.services.get(&id.service).filter(|service| id.replica < service.deploy.replicas.0)
    }
}

/// What an instance is made from. It is remembered with the instance, so that a change of the release can be told from
/// no change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blueprint {
    /// The release that asked for it first; an unchanged service keeps its instances when the release changes.
    pub release: ReleaseId,
    /// The service as it was then.
    pub service: Service,
}

impl Blueprint {
    /// Whether an instance made from this one serves for `service` as it is, limits apart, which can change while it runs.
    #[must_use]
    pub fn serves(&self, service: &Service) -> bool {
        let same_but = |service: &Service| {
            let mut service = service.clone();
            // These say how many and how long to wait, not what is made.
            service.deploy = crate::release::Deploy::default();
            service.depends_on.clear();
            service.restart = None;
            service.skiff.backoff = crate::release::Backoff::default();
            service.stop_grace_period = crate::span::Span::ZERO;
            service
        };
        same_but(&self.service) == same_but(service)
    }
}
