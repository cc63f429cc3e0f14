//! Times for people. The script ticks ages, and writes the others in the zone of the browser.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::tz::Offset;
use maud::{Markup, html};

use crate::model::rfc3339;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A duration in two units at most. The blanks inside it do not break.
pub(super) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let two = |first: u64, unit: &str, rest: u64, rest_unit: &str| match rest {
        0 => format!("{first}\u{a0}{unit}"),
        rest if rest_unit.is_empty() => format!("{first}\u{a0}{unit}\u{a0}{rest:02}"),
        rest => format!("{first}\u{a0}{unit}\u{a0}{rest}\u{a0}{rest_unit}"),
    };
    match seconds {
        0 => format!("{}\u{a0}ms", duration.as_millis()),
        1..MINUTE => format!("{seconds}\u{a0}s"),
        MINUTE..HOUR => format!("{}\u{a0}min", seconds / MINUTE),
        HOUR..DAY => two(seconds / HOUR, "h", seconds % HOUR / MINUTE, ""),
        _ => two(seconds / DAY, "d", seconds % DAY / HOUR, "h"),
    }
}

/// How long ago a time was; the script keeps it up to date.
pub(super) fn age(time: SystemTime, now: SystemTime) -> Markup {
    let text = span(now.duration_since(time).unwrap_or_default());
    html! { time datetime=(rfc3339::format(time)) title=(rfc3339::shown(time)) data-age="" { (text) } }
}

/// How long it is until a time; the script keeps it up to date.
pub(super) fn ahead(time: SystemTime, now: SystemTime) -> Markup {
    let text = span(time.duration_since(now).unwrap_or_default());
    html! { time datetime=(rfc3339::format(time)) title=(rfc3339::shown(time)) data-ahead="" { (text) } }
}

/// A time of day, with the day as far as it is needed.
pub(super) fn at(time: SystemTime, now: SystemTime) -> Markup {
    html! { time datetime=(rfc3339::format(time)) title=(rfc3339::shown(time)) data-at="" { (clock(time, now)) } }
}

/// A time that is near as a duration, one that is far as a date: `in 44 min`, `Friday 18:00`.
pub(super) fn until(time: SystemTime, now: SystemTime) -> Markup {
    match time.duration_since(now) {
        Ok(rest) if rest >= Duration::from_secs(DAY) => at(time, now),
        _ => html! { (at(time, now)) ", in " (ahead(time, now)) },
    }
}

fn clock(time: SystemTime, now: SystemTime) -> String {
    let civil = |time: SystemTime| Offset::UTC.to_datetime(Timestamp::try_from(time).unwrap_or(Timestamp::MAX));
    let (time, now) = (civil(time), civil(now));
    let days = time.date().duration_since(now.date()).as_hours() / 24;
    let format = match days {
        0 => "%H:%M",
        -1 => "yesterday %H:%M",
        1 => "tomorrow %H:%M",
        -6..=6 => "%A %H:%M",
        _ if time.year() == now.year() => "%-d %B %H:%M",
        _ => "%-d %B %Y",
    };
    time.strftime(format).to_string().replace(' ', "\u{a0}")
}

/// The midnight before a time, in UTC.
pub(super) fn midnight(now: SystemTime) -> SystemTime {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now - Duration::from_secs(since.as_secs() % DAY) - Duration::from_nanos(since.subsec_nanos().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_second(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn durations_have_two_units_at_most() {
        let shown = [0, 9, 200, 3_600, 7_620, 100_800, 1_036_800].map(|seconds| span(Duration::from_secs(seconds)));
        let plain = shown.map(|text| text.replace('\u{a0}', " "));
        assert_eq!(plain, ["0 ms", "9 s", "3 min", "1 h", "2 h 07", "1 d 4 h", "12 d"]);
    }

    #[test]
    fn a_time_has_its_day_if_that_is_another_one() {
        let now = at_second(1_796_040_247); // 2026-11-30 12:04:07, a Monday
        let shown = [0, 3_600, 86_400, 4 * 86_400, 20 * 86_400, 400 * 86_400]
            .map(|ahead| clock(now + Duration::from_secs(ahead), now).replace('\u{a0}', " "));
        assert_eq!(shown, ["12:04", "13:04", "tomorrow 12:04", "Friday 12:04", "20 December 12:04", "4 January 2028"]);
        assert_eq!(clock(now - Duration::from_secs(86_400), now), "yesterday\u{a0}12:04");
        assert_eq!(midnight(now), at_second(1_796_040_247 - 43_447));
    }
}
