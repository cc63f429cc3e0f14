//! Times as text: RFC 3339 with milliseconds, in UTC. The form of all times in JSON.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

const DAY_SECONDS: i64 = 24 * 3_600;

/// The year, the month from 1 and the day from 1 of a number of days since 1970, in the Gregorian calendar.
fn date(days: i64) -> (i64, i64, i64) {
    // Years that begin in March, from 0000-03-01, in eras of 400 years: the leap day is the last day of its year.
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (year, day) = (year + era * 400, day - (153 * month + 2) / 5 + 1);
    if month < 10 { (year, month + 3, day) } else { (year + 1, month - 9, day) }
}

/// The inverse of [`date`].
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
    era * 146_097 + year * 365 + year / 4 - year / 100 + (153 * month + 2) / 5 + day - 1 - 719_468
}

/// Milliseconds since 1970; earlier times become 0, as in a store.
fn milliseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The date, and the hours, minutes and seconds of the day.
fn parts(seconds: i64) -> ((i64, i64, i64), (i64, i64, i64)) {
    let (days, second) = (seconds.div_euclid(DAY_SECONDS), seconds.rem_euclid(DAY_SECONDS));
    (date(days), (second / 3_600, second / 60 % 60, second % 60))
}

/// A time as `2026-11-29T12:04:07.250Z`.
pub(crate) fn format(time: SystemTime) -> String {
    let all = milliseconds(time);
    let ((year, month, day), (hour, minute, second)) = parts(all / 1_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", all % 1_000)
}

/// A time in a sentence: `2026-11-29 12:04:07 UTC`.
pub(crate) fn shown(time: SystemTime) -> String {
    let ((year, month, day), (hour, minute, second)) = parts(milliseconds(time) / 1_000);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// Reads a time in any zone and with any fraction of a second.
pub(crate) fn parse(text: &str) -> Option<SystemTime> {
    let number = |range: std::ops::Range<usize>| {
        let digits = text.get(range)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<i64>().ok()).flatten()
    };
    let separators = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    let bytes = text.as_bytes();
    if separators.iter().any(|(at, byte)| bytes.get(*at) != Some(byte))
        || !matches!(bytes.get(10), Some(b'T' | b't' | b' '))
    {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let first = days(year, month, 1);
    let is_date = (1..=12).contains(&month) && (1..=31).contains(&day) && date(first + day - 1).1 == month;
    if !is_date || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let rest = text.get(19..)?;
    let digits = rest.strip_prefix('.').map_or(0, |rest| rest.bytes().take_while(u8::is_ascii_digit).count() + 1);
    let (fraction, zone) = rest.split_at(digits);
    let nanoseconds = match fraction.strip_prefix('.') {
        Some("") => return None,
        Some(digits) => format!("{digits:0<9}").get(..9)?.parse::<u32>().ok()?,
        None => 0,
    };
    let offset = match zone.as_bytes() {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let at = 19 + digits;
            let minutes = number(at + 1..at + 3)? * 60 + number(at + 4..at + 6)?;
            if *sign == b'+' { minutes * 60 } else { -minutes * 60 }
        }
        _ => return None,
    };
    let seconds = (first + day - 1) * DAY_SECONDS + hour * 3_600 + minute * 60 + second - offset;
    UNIX_EPOCH.checked_add(Duration::new(u64::try_from(seconds).ok()?, nanoseconds))
}

pub(crate) fn serialize<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(*time))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).ok_or_else(|| D::Error::custom(format!("`{text}` is no time: expected RFC 3339, from 1970 on")))
}

/// A time that may be missing, which is `null`.
pub(crate) mod option {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(time: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => super::serialize(time, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SystemTime>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        let time = parse(&text);
        time.map(Some).ok_or_else(|| D::Error::custom(format!("`{text}` is no time: expected RFC 3339, from 1970 on")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(milliseconds)
    }

    #[test]
    fn times_are_written_with_milliseconds_and_zone() {
        let known = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_000, "2024-02-29T23:59:59.000Z"),
            (1_796_040_247_250, "2026-11-30T12:04:07.250Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ];
        for (milliseconds, text) in known {
            assert_eq!(format(at(milliseconds)), text);
            assert_eq!(parse(text), Some(at(milliseconds)), "{text}");
        }
        assert_eq!(shown(at(1_796_040_247_250)), "2026-11-30 12:04:07 UTC");
    }

    #[test]
    fn every_day_of_some_centuries_survives() {
        for day in 0..150_000_u64 {
            let time = at(day * 86_400_000 + 1);
            assert_eq!(parse(&format(time)), Some(time));
        }
    }

    #[test]
    fn times_of_other_zones_are_read_and_others_are_refused() {
        assert_eq!(parse("1970-01-01T01:00:00+01:00"), Some(at(0)));
        assert_eq!(parse("1969-12-31T23:30:00.5-00:30"), Some(at(500)));
        let bad = [
            "",
            "1970-01-01",
            "1970-02-29T00:00:00Z",
            "1970-13-01T00:00:00Z",
            "1970-00-01T00:00:00Z",
            "1970-01-01T24:00:00Z",
            "1970-01-01T00:00:00",
            "1970-01-01T00:00:00.Z",
            "1969-12-31T00:00:00Z",
            "+970-01-01T00:00:00Z",
            "1970-01-01T00:00:00+1:000",
            "1970-01-01T00:00:0éZ",
        ];
        for text in bad {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
