//! Which of a test program's tests belong to a lane: by the words that `#[runs(...)]` put at the end of their names.

use super::{Lane, Tests};

/// Words that stand for many lanes.
const EVERYWHERE: &str = "everywhere";
const CGROUPS: &str = "cgroups";

/// The word in a test's name; `None` for a plain `#[test]`.
fn word(test: &str) -> Option<&str> {
    test.rsplit("::").next().and_then(|last| last.strip_prefix("on_"))
}

/// Whether `test` runs in `lane`.
#[must_use]
pub fn belongs(test: &str, lane: &Lane) -> bool {
    match word(test) {
        None => lane.tests == Tests::All,
        Some(EVERYWHERE) => lane.tests != Tests::Cgroups,
        Some(CGROUPS) => lane.tests != Tests::CoreWithoutCgroups,
        Some(word) => word == lane.word,
    }
}

/// The tests of `listing` (what a test program prints for `--list`) that run in `lane` and have one of `filters`, if there
/// are any, in their name.
#[must_use]
pub fn select(listing: &str, lane: &Lane, filters: &[String]) -> Vec<String> {
    let tests = listing.lines().filter_map(|line| line.strip_suffix(": test"));
    let wanted = |test: &&str| {
        belongs(test, lane) && (filters.is_empty() || filters.iter().any(|filter| test.contains(filter.as_str())))
    };
    tests.filter(wanted).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{LANES, find};
    use super::*;

    const LISTING: &str = "exec::plain: test\nexec::core::on_everywhere: test\ncgroups::limit::on_cgroups: test\n\
        systemd::scope::on_guest: test\nsystemd::scope::on_trixie: test\n\n5 tests, 0 benchmarks\n";

    fn names(lane: &str, filters: &[&str]) -> Vec<String> {
        let filters: Vec<_> = filters.iter().map(|filter| (*filter).to_owned()).collect();
        select(LISTING, find(lane).unwrap(), &filters)
    }

    #[test]
    fn each_lane_has_its_tests() {
        assert_eq!(names("host", &[]), ["exec::plain", "exec::core::on_everywhere", "cgroups::limit::on_cgroups"]);
        assert_eq!(names("guest", &[]).len(), 4);
        let trixie = ["exec::core::on_everywhere", "cgroups::limit::on_cgroups", "systemd::scope::on_trixie"];
        assert_eq!(names("guest-trixie", &[]), trixie);
        assert_eq!(names("no-cgroups", &[]), ["exec::core::on_everywhere"]);
        assert_eq!(names("linux-4.19", &[]).len(), 2);
        assert_eq!(names("guest-v1", &[]), ["cgroups::limit::on_cgroups"]);
    }

    /// A word of the attribute that no lane has would be a test that never runs.
    #[test]
    fn each_word_of_the_attribute_has_a_lane() {
        let text = include_str!("../../lanes/src/lib.rs");
        let list = text.split("const WORDS").nth(1).and_then(|rest| rest.split("];").next()).unwrap();
        let mut words: Vec<&str> = list.split('"').skip(1).step_by(2).collect();
        words.retain(|word| ![EVERYWHERE, CGROUPS].contains(word));
        let mut of_lanes: Vec<&str> = LANES.iter().map(|lane| lane.word).collect();
        of_lanes.retain(|word| !word.is_empty());
        words.sort_unstable();
        of_lanes.sort_unstable();
        assert_eq!(words, of_lanes);
    }

    #[test]
    fn filters_narrow_a_lane() {
        assert_eq!(names("guest", &["scope", "plain"]), ["exec::plain", "systemd::scope::on_guest"]);
        assert!(names("host", &["scope"]).is_empty());
    }
}
