//! Times as text: RFC 3339 with milliseconds, in UTC. The form of all times in JSON.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

/// Times before 1970 become 1970, as in a store; times that the calendar does not have become its last one.
fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::try_from(time.max(UNIX_EPOCH)).unwrap_or(Timestamp::MAX)
}

/// A time as `2026-11-29T12:04:07.250Z`.
pub(crate) fn format(time: SystemTime) -> String {
    timestamp(time).strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// A time in a sentence: `2026-11-29 12:04:07 UTC`.
pub(crate) fn shown(time: SystemTime) -> String {
    timestamp(time).strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// Reads a time from 1970 on, in any zone and with any fraction of a second.
pub(crate) fn parse(text: &str) -> Option<SystemTime> {
    let time: Timestamp = text.parse().ok()?;
    UNIX_EPOCH.checked_add(Duration::try_from(time.as_duration()).ok()?)
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
