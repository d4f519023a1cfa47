//! Pure: how often each of several comes in a table, by weight.

/// Turns per round of each weight: weights in lowest terms. Those that would make more than
/// `places_max` places in all, or one for each, are scaled down; each keeps one place at least.
pub fn shares(weights: &[u32], places_max: u64) -> Vec<u64> {
    let divisor = weights.iter().fold(0, |d, w| greatest_common_divisor(d, u64::from(*w))).max(1);
    let reduced: Vec<u64> = weights.iter().map(|w| u64::from(*w) / divisor).collect();
    let total: u64 = reduced.iter().sum();
    if total <= places_max.max(weights.len() as u64) {
        return reduced;
    }
    reduced.iter().map(|w| ((w * places_max + total / 2) / total).max(1)).collect()
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::shares;

    #[test]
    fn shares_are_the_weights_in_lowest_terms_and_scaled_where_they_are_too_many() {
        assert_eq!(shares(&[1, 1, 1], 64), [1, 1, 1]);
        assert_eq!(shares(&[10, 30], 64), [1, 3]);
        assert_eq!(shares(&[1, 999], 100), [1, 100]);
        assert_eq!(shares(&[5; 200], 64), [1; 200]);
        assert!(shares(&[], 64).is_empty());
    }
}
