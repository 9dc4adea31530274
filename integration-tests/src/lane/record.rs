//! What came of a lane, and the table that a test run ends with.

use std::fmt::Write as _;
use std::time::Duration;

use super::tally::Tally;
use super::{Lane, find};

/// What came of a lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The lane's name.
    pub lane: String,
    /// Tests that passed and were not skipped.
    pub passed: u64,
    /// Those that failed, or what kept the lane from running, and what was said of it.
    pub failed: Vec<(String, String)>,
    /// Tests that could not be made here, and why.
    pub skipped: Vec<(String, String)>,
    /// Seconds that building took.
    pub build: u64,
    /// Seconds that the tests took.
    pub run: u64,
}

impl Record {
    /// From a lane's counts and skips.
    #[must_use]
    pub fn new(lane: &Lane, tally: Tally, skipped: Vec<(String, String)>, times: (Duration, Duration)) -> Self {
        // A test that skips returns like one that passes; what a script left out never ran.
        let returned = skipped.iter().filter(|(test, _)| tally.names.contains(test)).count();
        let passed = (tally.passed - returned) as u64;
        let failed = tally.failed.into_iter().collect();
        Self { lane: lane.name.to_owned(), passed, failed, skipped, build: times.0.as_secs(), run: times.1.as_secs() }
    }
}

/// The table: a line a lane, then which tests were skipped and why, and which failed. What is built for one lane is built
/// while another runs, so `whole`, the time from beginning to end, is less than the sum.
#[must_use]
pub fn table(records: &[Record], whole: Duration) -> String {
    let mut text = format!(
        "{:<22} {:>6} {:>6} {:>7} {:>9} {:>9}  {}\n",
        "lane", "passed", "failed", "skipped", "built in", "ran in", "what it is"
    );
    for record in records {
        let about = find(&record.lane).map_or("", |lane| lane.about);
        let (passed, failed, skipped) = (record.passed, record.failed.len(), record.skipped.len());
        let (build, run) = (format!("{} s", record.build), format!("{} s", record.run));
        let _never_fails =
            writeln!(text, "{:<22} {passed:>6} {failed:>6} {skipped:>7} {build:>9} {run:>9}  {about}", record.lane);
    }
    let seconds = whole.as_secs();
    let _never_fails = writeln!(text, "together {} min {} s", seconds / 60, seconds % 60);
    for record in records {
        for (test, reason) in &record.skipped {
            let _never_fails = writeln!(text, "skipped: {}: {test}: {reason}", record.lane);
        }
        for (test, said) in &record.failed {
            let _never_fails = writeln!(text, "FAILED: {}: {test}", record.lane);
            for line in said.lines() {
                let _never_fails = writeln!(text, "    {line}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            lane: "guest".to_owned(),
            passed: 7,
            failed: vec![("a::b".to_owned(), "it is not so\n".to_owned())],
            skipped: vec![("a::c".to_owned(), "no swap".to_owned())],
            build: 61,
            run: 60,
        }
    }

    #[test]
    fn the_table_names_what_failed_and_what_was_skipped() {
        let text = table(&[record()], Duration::from_secs(121));
        assert!(text.contains("together 2 min 1 s"), "{text}");
        assert!(
            text.contains("skipped: guest: a::c: no swap") && text.contains("FAILED: guest: a::b\n    it is not so\n"),
            "{text}"
        );
    }
}
