//! The three figures of a series: median, ninetieth percentile, mean.

use std::time::Duration;

/// The value below which `percent` of the values lie (nearest rank); zero for no values.
pub(crate) fn percentile(values: &[Duration], percent: usize) -> Duration {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

pub(crate) fn median(values: &[Duration]) -> Duration {
    percentile(values, 50)
}

/// The mean; zero for no values.
pub(crate) fn mean(values: &[Duration]) -> Duration {
    let count = u32::try_from(values.len()).expect("a benchmark has fewer than 2^32 rounds");
    values.iter().sum::<Duration>().checked_div(count).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &[u64], expected: [u64; 3]) {
        let values: Vec<_> = values.iter().map(|value| Duration::from_millis(*value)).collect();
        let figures = [median(&values), percentile(&values, 90), mean(&values)];
        assert_eq!(figures, expected.map(Duration::from_millis));
    }

    #[test]
    fn figures_of_small_series() {
        check(&[], [0, 0, 0]);
        check(&[7], [7, 7, 7]);
        check(&[9, 1, 2], [2, 9, 4]);
        check(&[10, 9, 8, 7, 6, 5, 4, 3, 2, 6], [6, 9, 6]);
    }
}
