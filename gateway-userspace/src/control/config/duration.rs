//! Pure: durations as the Gateway API writes them (GEP-2257).

use std::fmt;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};

/// A GEP-2257 duration: one to four groups of up to five digits and a unit (`h`, `m`, `s`, `ms`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct GatewayDuration(pub Duration);

/// Reads `1h`, `90s`, `1m30s`, `250ms`, `0s`.
pub fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    let mut groups = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 || digits > 5 || groups == 4 {
            return None;
        }
        let (number, tail) = rest.split_at(digits);
        let number: u64 = number.parse().ok()?;
        let unit = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at(unit);
        total += match unit {
            "h" => Duration::from_secs(number * 3600),
            "m" => Duration::from_secs(number * 60),
            "s" => Duration::from_secs(number),
            "ms" => Duration::from_millis(number),
            _ => return None,
        };
        rest = tail;
        groups += 1;
    }
    (groups > 0).then_some(total)
}

impl<'de> Deserialize<'de> for GatewayDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).map(GatewayDuration).ok_or_else(|| {
            D::Error::custom(format_args!("`{text}` is not a duration; write it as 500ms, 10s or 1m30s"))
        })
    }
}

impl Serialize for GatewayDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Text(self.0))
    }
}

/// Groups from hours down, none that is zero.
struct Text(Duration);

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let groups = [
            (seconds / 3600, "h"),
            (seconds / 60 % 60, "m"),
            (seconds % 60, "s"),
            (u64::from(self.0.subsec_millis()), "ms"),
        ];
        let mut nothing = true;
        for (number, unit) in groups.into_iter().filter(|(number, _)| *number > 0) {
            nothing = false;
            write!(f, "{number}{unit}")?;
        }
        if nothing { f.write_str("0s") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::{GatewayDuration, parse};
    use std::time::Duration;

    #[test]
    fn durations_are_those_of_gep_2257() {
        assert_eq!(parse("0s"), Some(Duration::ZERO));
        assert_eq!(parse("1h30m10s500ms"), Some(Duration::from_millis(5_410_500)));
        assert_eq!(parse("10s"), Some(Duration::from_secs(10)));
        for bad in ["", "s", "10", "1.5s", "-1s", "123456s", "1us", "1h1m1s1ms1s", " 1s"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_duration_is_written_as_it_can_be_read() {
        for text in ["0s", "1h30m10s500ms", "10s", "250ms", "2h"] {
            let duration = GatewayDuration(parse(text).unwrap());
            assert_eq!(serde_json::to_string(&duration).unwrap(), format!("\"{text}\""));
        }
    }
}
