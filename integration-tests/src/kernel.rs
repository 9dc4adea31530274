//! What the kernel of this lane lacks: the same words as `without` was given, so that a test can expect the refusal that
//! is right there. What a real old kernel lacks is not asked here; a test that meets one fails, and says so.

/// Whether `call` was taken away from the runtime.
#[must_use]
pub fn lacks(call: &str) -> bool {
    let missing = std::env::var("SKIFF_TEST_WITHOUT").unwrap_or_default();
    missing.split(',').any(|word| word == call || word == "linux-4.19")
}
