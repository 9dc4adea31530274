//! What holds of every decision, whatever the documents and the world are like.
#![allow(clippy::unwrap_used, reason = "a test ends there")]

#[allow(dead_code, reason = "the scenarios use the rest")]
#[path = "model/world.rs"]
mod world;

#[path = "model/arbitrary.rs"]
mod arbitrary;

mod property {
    mod bundle;
    mod lives;
    mod plan;
    mod restart;
    mod rollout;
    mod select;
}
