//! Room `config`: to be filled.
