//! Names of files and folders, and the sentence that each source file opens with.

/// Drawers: a file called so collects whatever has no home.
const DRAWERS: [&str; 12] = [
    "util",
    "utils",
    "utility",
    "utilities",
    "common",
    "helper",
    "helpers",
    "misc",
    "manager",
    "managers",
    "handler",
    "handlers",
];

pub(crate) fn check(path: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    if path.ends_with("/mod.rs") {
        complaints.push(format!("{path}: put `foo.rs` beside `foo/` instead of `mod.rs`"));
    }
    for part in path.split('/') {
        let stem = part.split('.').next().unwrap_or(part);
        if DRAWERS.contains(&stem) {
            complaints.push(format!("{path}: `{stem}` names a drawer, not a thing"));
        }
    }
    complaints
}

pub(crate) fn check_header(path: &str, text: &str) -> Vec<String> {
    let said = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with("#!/"));
    let enough = said.is_some_and(|line| line.strip_prefix("//!").is_some_and(|words| words.trim().len() >= 15));
    if enough { Vec::new() } else { vec![format!("{path}: has no `//!` header")] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawers_are_refused() {
        for path in ["runtime/src/utils.rs", "shim/src/common/a.rs", "runtime/src/cgroup/mod.rs", "a/helpers.sh"] {
            assert_eq!(check(path).len(), 1, "{path}");
        }
        assert!(check("runtime/src/cgroup.rs").is_empty());
    }

    #[test]
    fn a_header_is_the_first_thing() {
        assert!(check_header("a.rs", "\n//! The messages between the two processes.\n").is_empty());
        for text in ["", "use a;\n//! Too late to be a header.\n", "// Not for documentation.\n", "//!\n", "//! x\n"] {
            assert_eq!(check_header("a.rs", text).len(), 1, "{text:?}");
        }
    }
}
