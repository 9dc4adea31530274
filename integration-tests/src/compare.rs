//! The same bundle through every runtime: runs a check for each, names the runtime that failed, and compares what the
//! containers saw.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::bundle::Bundle;
use crate::runtime::{Kind, Runtime};
use crate::skip::exempt;

/// A runtime that is left out of a test, and why it is not the measure there.
pub type Exemption = (Kind, &'static str);

/// Runs `check` with each wanted runtime; all of them run even when one fails, and the failure names who failed.
#[track_caller]
pub fn each(exemptions: &[Exemption], mut check: impl FnMut(&Runtime)) {
    let mut failures = Vec::new();
    let all = std::env::var("SKIFF_EXEMPT").is_ok_and(|word| word == "none");
    let exemptions = if all { &[] } else { exemptions };
    for runtime in Runtime::wanted() {
        if let Some((kind, reason)) = exemptions.iter().find(|(kind, _)| *kind == runtime.kind) {
            exempt(kind.name(), reason);
            continue;
        }
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(&runtime))) {
            let message = panic.downcast_ref::<String>().cloned();
            let message = message.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            failures.push(format!("[{}] {}", runtime.kind, message.unwrap_or_default()));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Runs `bundle` in the foreground with each wanted runtime, passes what it printed through `normalise`, asserts that
/// all saw the same, and returns it (`None` when every wanted runtime is exempt).
#[track_caller]
pub fn same(exemptions: &[Exemption], bundle: &Bundle, normalise: impl Fn(&str) -> String) -> Option<String> {
    let mut seen: BTreeMap<Kind, String> = BTreeMap::new();
    each(exemptions, |runtime| {
        let container = runtime.container(bundle);
        seen.insert(runtime.kind, normalise(&container.run(&[]).ok()));
        container.assert_gone();
    });
    let (first, expected) = seen.iter().next()?;
    for (kind, view) in &seen {
        assert!(view == expected, "{first} and {kind} differ\n--{first}\n{expected}\n--{kind}\n{view}");
    }
    Some(expected.clone())
}

/// For [`same`]: nothing to normalise.
pub fn as_is(text: &str) -> String {
    text.to_owned()
}
