//! Pure: a length of time as programs tell it.

/// `1.25ms` and the like, seconds.
pub(super) fn seconds(text: &str) -> Option<f64> {
    let unit = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let factor = match &text[unit..] {
        "s" => 1.0,
        "ms" => 1e-3,
        "us" | "µs" => 1e-6,
        "ns" => 1e-9,
        _ => return None,
    };
    Some(text[..unit].parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn a_length_of_time_has_a_unit() {
        let told = |text| seconds(text).map(|seconds| (seconds * 1e9).round());
        assert_eq!(told("1.25s"), Some(1_250_000_000.0));
        assert_eq!(told("15.92ms"), Some(15_920_000.0));
        assert_eq!((told("512us"), told("512µs"), told("7ns")), (Some(512e3), Some(512e3), Some(7.0)));
        assert_eq!((told("12"), told("ms"), told("1m")), (None, None, None));
    }
}
