//! The life of a container: [`create`], [`start`], [`kill`], [`delete`], and [`observe`], the look at the world from
//! which its status follows. Each is what the verb of the same name does; `run` is create, start, wait and delete.

pub mod create;
pub mod delete;
pub mod kill;
mod maps;
pub mod observe;
pub mod plans;
pub mod start;
mod undo;
