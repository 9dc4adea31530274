//! Room `terminal`: to be filled.
