//! Room `namespaces`: to be filled.
