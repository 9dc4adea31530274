//! Room `init`: to be filled.
