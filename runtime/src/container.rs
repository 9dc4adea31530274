//! Room `container`: to be filled.
