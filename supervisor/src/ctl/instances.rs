//! Instances by name, as skiffd gives them: the name of one or of a service.

use super::client::{Client, Error};
use crate::percent;
use crate::view::Instance;
use serde::Deserialize;

/// One for an instance, all for a service.
#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    All(Vec<Instance>),
    One(Box<Instance>),
}

/// The instance of this name, or all of the service.
pub(super) async fn named(client: &Client, name: &str) -> Result<Vec<Instance>, Error> {
    match client.get(&path(name)).await? {
        Answer::All(instances) => Ok(instances),
        Answer::One(instance) => Ok(vec![*instance]),
    }
}

/// Where they are told.
pub(super) fn path(name: &str) -> String {
    format!("/v1/instances/{}", percent::encode(name))
}
