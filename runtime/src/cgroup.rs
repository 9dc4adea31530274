//! Room `cgroup`: to be filled.
