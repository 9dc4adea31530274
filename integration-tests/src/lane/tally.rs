//! What a test program's output says: which tests passed, failed or were not run, read line by line while it comes.

use std::collections::{BTreeMap, BTreeSet};

/// The results so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many passed.
    pub passed: usize,
    /// Their names; two crates may have a test of one name.
    pub names: BTreeSet<String>,
    /// Those that failed, with the beginning of what they said.
    pub failed: BTreeMap<String, String>,
    /// How many libtest left out because of `#[ignore]`.
    pub ignored: usize,
    /// Whose words the lines are, between libtest's `---- NAME stdout ----` and the list of names.
    telling: Option<String>,
}

/// Of what a failed test said, these many lines are kept.
const WORDS: usize = 12;

impl Tally {
    /// Notes a failure that is not a test's: what kept tests from running, or from saying how they ended.
    pub fn fail(&mut self, what: impl Into<String>) {
        self.failed.insert(what.into(), String::new());
    }

    /// Takes one line of output. libtest prints `test NAME ... ok`; with `-q` or a terminal it prints something else, so
    /// neither is used.
    pub fn line(&mut self, line: &str) {
        let Some((name, verdict)) = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... ")) else {
            self.words(line);
            return;
        };
        // What a test without capture printed may stand between; the verdict is at the end.
        match verdict.rsplit(' ').next() {
            Some("ok") => {
                self.passed += 1;
                self.names.insert(name.to_owned());
            }
            Some("FAILED") => self.fail(name),
            _ if verdict.starts_with("ignored") => self.ignored += 1,
            _ => {}
        }
    }

    /// Takes a line that is no verdict: libtest repeats what each failed test said, after all verdicts.
    fn words(&mut self, line: &str) {
        if let Some(name) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----")) {
            self.telling = Some(name.to_owned());
        } else if line == "failures:" || line.starts_with("test result: ") {
            self.telling = None;
        } else if let Some(said) = self.telling.as_ref().and_then(|name| self.failed.get_mut(name)) {
            let is_kept =
                !line.is_empty() && !line.starts_with("note: run with `RUST_BACKTRACE") && said.lines().count() < WORDS;
            if is_kept {
                said.push_str(line);
                said.push('\n');
            }
        }
    }

    /// How many tests the output told of.
    #[must_use]
    pub fn told(&self) -> usize {
        self.passed + self.failed.len()
    }
}

/// The tests that could not be tested here, and why, from the lines of `SKIFF_SKIP_LOG`: `SKIP NAME: REASON`.
#[must_use]
pub fn skips(log: &str) -> Vec<(String, String)> {
    let lines = log.lines().filter_map(|line| line.strip_prefix("SKIP ")?.split_once(": "));
    let mut skips: Vec<_> = lines.map(|(test, reason)| (test.to_owned(), reason.to_owned())).collect();
    skips.sort();
    skips.dedup_by(|a, b| a.0 == b.0);
    skips
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted() {
        let mut tally = Tally::default();
        for line in [
            "running 4 tests",
            "test a::b ... ok",
            "test a::c ... FAILED",
            "test a::d::on_guest ... ignored, runs in lane guest",
            "test a::e ... what it printed ok",
            "",
            "failures:",
            "",
            "---- a::c stdout ----",
            "",
            "thread 'a::c' panicked at a.rs:1:1:",
            "it is not so",
            "note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace",
            "",
            "failures:",
            "    a::c",
            "test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.10s",
        ] {
            tally.line(line);
        }
        assert_eq!((tally.passed, tally.ignored, tally.told()), (2, 1, 3));
        assert_eq!(tally.failed["a::c"], "thread 'a::c' panicked at a.rs:1:1:\nit is not so\n");
    }

    #[test]
    fn a_test_that_skips_twice_is_one() {
        let log = "SKIP a::b: no swap\nEXEMPT a::b: runc: no\nSKIP a::c: no disk\nSKIP a::b: no other\n";
        assert_eq!(skips(log).len(), 2);
    }
}
