//! Room `process`: to be filled.
