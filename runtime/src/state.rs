//! Room `state`: to be filled.
