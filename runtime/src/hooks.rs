//! Room `hooks`: to be filled.
