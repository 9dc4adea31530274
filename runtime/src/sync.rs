//! Room `sync`: to be filled.
