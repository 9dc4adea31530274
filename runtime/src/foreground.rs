//! Room `foreground`: to be filled.
