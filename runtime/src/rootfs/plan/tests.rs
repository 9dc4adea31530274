//! The plan as data: what a configuration leads to, and what is refused with which words.
