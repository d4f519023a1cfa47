//! Pure: times, durations and addresses as they stand in a line, written at a small part of the cost of formatting.

use std::fmt::Display;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

/// The year 10000: from there on a year has five digits.
const SECONDS_MAX: u64 = 253_402_300_800;
const SECONDS_PER_DAY: u64 = 24 * 60 * 60;

fn put(out: &mut Vec<u8>, value: impl Display) {
    // Writing to memory cannot fail.
    let _ = write!(out, "{value}");
}

/// A whole number.
pub(super) fn put_integer(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// So many digits, with zeros before them.
fn put_digits<const N: usize>(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        *digit += (value % 10) as u8;
        value /= 10;
    }
    out.extend_from_slice(&digits);
}

/// Milliseconds with microseconds behind the point, as short as a number can be.
pub(super) fn put_millis(out: &mut Vec<u8>, duration: Duration) {
    let micros = duration.as_micros();
    put_integer(out, micros / 1000);
    let rest = (micros % 1000) as u64;
    if rest > 0 {
        out.push(b'.');
        put_digits::<3>(out, rest);
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
}

/// RFC 3339 in UTC with milliseconds; a dash for what no calendar has.
pub(super) fn put_timestamp(out: &mut Vec<u8>, time: SystemTime) {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) if since.as_secs() < SECONDS_MAX => put_since_epoch(out, since),
        _ => match jiff::Timestamp::try_from(time) {
            Ok(time) => put(out, format_args!("{time:.3}")),
            Err(_) => out.push(b'-'),
        },
    }
}

/// The Gregorian calendar, counted in years that begin with March: the day that some years have more comes last then.
fn put_since_epoch(out: &mut Vec<u8>, since: Duration) {
    const DAYS_TO_EPOCH: u64 = 719_468;
    const DAYS_OF_ERA: u64 = 146_097;
    let (days, second) =
        (since.as_secs() / SECONDS_PER_DAY + DAYS_TO_EPOCH, since.as_secs() % SECONDS_PER_DAY);
    let (era, day_of_era) = (days / DAYS_OF_ERA, days % DAYS_OF_ERA);
    // As many days as it would be without leap days.
    let common = day_of_era + day_of_era / 36_524 - day_of_era / 1460 - day_of_era / 146_096;
    let year_of_era = common / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    put_digits::<4>(out, era * 400 + year_of_era + u64::from(month <= 2));
    out.push(b'-');
    put_digits::<2>(out, month);
    out.push(b'-');
    put_digits::<2>(out, day);
    out.push(b'T');
    put_digits::<2>(out, second / 3600);
    out.push(b':');
    put_digits::<2>(out, second / 60 % 60);
    out.push(b':');
    put_digits::<2>(out, second % 60);
    out.push(b'.');
    put_digits::<3>(out, u64::from(since.subsec_millis()));
    out.push(b'Z');
}

/// An IP address.
pub(super) fn put_ip(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            for (index, octet) in address.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                put_integer(out, octet);
            }
        }
        IpAddr::V6(address) => put(out, address),
    }
}

/// An IP address with a port.
pub(super) fn put_socket(out: &mut Vec<u8>, address: SocketAddr) {
    match address {
        SocketAddr::V4(address) => {
            put_ip(out, IpAddr::V4(*address.ip()));
            out.push(b':');
            put_integer(out, address.port());
        }
        SocketAddr::V6(address) => put(out, address),
    }
}

/// A trace id.
pub(super) fn put_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(put: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        put(&mut out);
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #[test]
        fn a_time_is_what_a_calendar_says(seconds in 0..SECONDS_MAX + 1000, nanos in 0..1_000_000_000_u32) {
            let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos);
            let wanted = jiff::Timestamp::try_from(time).map_or("-".to_owned(), |time| format!("{time:.3}"));
            prop_assert_eq!(text(|out| put_timestamp(out, time)), wanted);
        }

        #[test]
        fn a_duration_is_the_number_that_it_is(micros in 0..1_u64 << 52) {
            let duration = Duration::from_micros(micros);
            prop_assert_eq!(text(|out| put_millis(out, duration)), (micros as f64 / 1000.0).to_string());
        }

        #[test]
        fn an_address_is_what_it_is_called(ip: IpAddr, port: u16) {
            prop_assert_eq!(text(|out| put_ip(out, ip)), ip.to_string());
            let socket = SocketAddr::new(ip, port);
            prop_assert_eq!(text(|out| put_socket(out, socket)), socket.to_string());
        }

        #[test]
        fn a_trace_id_is_hexadecimal(id: [u8; 16]) {
            prop_assert_eq!(text(|out| put_hex(out, &id)), format!("{:032x}", u128::from_be_bytes(id)));
        }
    }

    #[test]
    fn the_days_at_which_calendars_are_wrong_are_right() {
        let day =
            |seconds| text(|out| put_timestamp(out, SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)));
        assert_eq!(day(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(day(951_782_400), "2000-02-29T00:00:00.000Z");
        assert_eq!(day(1_709_164_800 + 86_399), "2024-02-29T23:59:59.000Z");
        assert_eq!(day(4_107_542_400), "2100-03-01T00:00:00.000Z");
        assert_eq!(day(SECONDS_MAX - 1), "9999-12-31T23:59:59.000Z");
        let before = SystemTime::UNIX_EPOCH - Duration::from_millis(1);
        assert_eq!(text(|out| put_timestamp(out, before)), "1969-12-31T23:59:59.999Z");
    }
}
