//! Every decision about workloads, as pure functions from documents to plans.
