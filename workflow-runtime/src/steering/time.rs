//! Times and durations: how they are read and shown.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::model::rfc3339;

const DAY: u64 = 24 * 3_600;
const DATE_BYTES: usize = "2026-11-29".len();

/// A duration for people, in its largest unit, or its two largest if that is small.
pub(crate) fn short(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{seconds}s"),
        60..3_600 => match seconds % 60 {
            rest if rest > 0 && seconds < 600 => format!("{}m {rest:02}s", seconds / 60),
            _ => format!("{}m", seconds / 60),
        },
        3_600..DAY => match seconds / 60 % 60 {
            rest if rest > 0 && seconds < 36_000 => format!("{}h {rest:02}m", seconds / 3_600),
            _ => format!("{}h", seconds / 3_600),
        },
        _ => format!("{}d", seconds / DAY),
    }
}

/// A time relative to another one, which is now.
pub(crate) fn relative(time: SystemTime, now: SystemTime) -> String {
    match now.duration_since(time) {
        Ok(ago) if ago < Duration::from_secs(1) => "now".to_owned(),
        Ok(ago) => format!("{} ago", short(ago)),
        Err(ahead) => format!("in {}", short(ahead.duration())),
    }
}

/// Parses `90s`, `15m`, `2h 30m`, `7d` or `250ms`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no duration: expected for example 90s, 15m, 2h 30m or 7d");
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        let after = &rest[digits..];
        let letters = after.len() - after.trim_start_matches(|letter: char| letter.is_ascii_alphabetic()).len();
        let milliseconds = match &after[..letters] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => DAY * 1_000,
            _ => return Err(wrong()),
        };
        let part = number.checked_mul(milliseconds).map(Duration::from_millis);
        total = part.and_then(|part| total.checked_add(part)).ok_or_else(wrong)?;
        rest = after[letters..].trim_start();
    }
    Ok(total)
}

/// Parses a time: RFC 3339, a date, or how long ago.
pub(crate) fn time(text: &str) -> Result<SystemTime, String> {
    if let Ok(ago) = duration(text) {
        return Ok(SystemTime::now().checked_sub(ago).unwrap_or(UNIX_EPOCH));
    }
    absolute(text).ok_or_else(|| {
        format!("`{text}` is no time: expected for example 1h (ago), 2026-11-29, or 2026-11-29T08:30:00Z")
    })
}

fn absolute(text: &str) -> Option<SystemTime> {
    match text.len() {
        DATE_BYTES => rfc3339::parse(&format!("{text}T00:00:00Z")),
        _ => rfc3339::parse(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_time_is_a_date_rfc_3339_or_how_long_ago() {
        assert_eq!(time("2000-03-01"), Ok(at(951_868_800_000)));
        assert_eq!(time("2023-11-14T23:13:20+01:00"), Ok(at(1_700_000_000_000)));
        let hour_ago = time("1h").unwrap();
        let ago = SystemTime::now().duration_since(hour_ago).unwrap();
        assert!((3_600..3_660).contains(&ago.as_secs()));
        for wrong in ["2023-02-29", "yesterday", "", "1-1"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_are_read_and_shown() {
        assert_eq!(duration("2h 30m"), Ok(Duration::from_secs(9_000)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        for wrong in ["", "5", "h", "5x", "99999999999999999999d", "-5s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        let shown = [450, 12_000, 184_000, 7_260_000, 300_000_000].map(|ms| short(Duration::from_millis(ms)));
        assert_eq!(shown, ["450 ms", "12s", "3m 04s", "2h 01m", "3d"]);
        assert_eq!(relative(at(0), at(12_000)), "12s ago");
        assert_eq!(relative(at(12_000), at(0)), "in 12s");
    }
}
