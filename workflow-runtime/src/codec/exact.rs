//! JSON with integers of more than 64 bits. A `Value` of `serde_json` holds them as floating-point numbers, which changes them.

use std::ops::Range;

use serde_json::{Number, Value};

/// An integer with fewer characters is always held.
const CHARACTERS_HELD: usize = 19;

fn is_held(integer: &str) -> bool {
    integer.len() < CHARACTERS_HELD
        || serde_json::from_str::<Number>(integer).is_ok_and(|number| number.to_string() == integer)
}

/// The places of the integers that a [`Value`] does not hold, in valid JSON.
fn too_wide(json: &str) -> impl Iterator<Item = Range<usize>> {
    let bytes = json.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        while let Some(byte) = bytes.get(at) {
            let from = at;
            at += 1;
            match byte {
                b'"' => {
                    while let Some(byte) = bytes.get(at).filter(|byte| **byte != b'"') {
                        at += if *byte == b'\\' { 2 } else { 1 };
                    }
                    at += 1;
                }
                b'-' | b'0'..=b'9' => {
                    while bytes.get(at).is_some_and(|byte| byte.is_ascii_digit() || b"+-.eE".contains(byte)) {
                        at += 1;
                    }
                    let number = &json[from..at];
                    if !number.contains(['.', 'e', 'E']) && !is_held(number) {
                        return Some(from..at);
                    }
                }
                _ => {}
            }
        }
        None
    })
}

/// Parses JSON that a person has written. A text that is no JSON, or that has an integer which would be changed, is refused.
#[cfg(any(feature = "cli", feature = "web"))]
pub(crate) fn exact(json: &str) -> Result<Value, String> {
    let value = serde_json::from_str(json).map_err(|error| format!("it is no JSON: {error}"))?;
    match too_wide(json).next() {
        None => Ok(value),
        Some(place) => Err(format!(
            "the integer {} cannot be held exactly: integers are between {} and {}",
            crate::text::excerpt(&json[place]),
            i64::MIN,
            u64::MAX
        )),
    }
}

/// Parses a stored value to be shown: integers that a [`Value`] does not hold become texts with the same digits.
pub(crate) fn shown(json: &str) -> serde_json::Result<Value> {
    let mut text = String::new();
    let mut copied = 0;
    for place in too_wide(json) {
        text.push_str(&json[copied..place.start]);
        text.push('"');
        text.push_str(&json[place.clone()]);
        text.push('"');
        copied = place.end;
    }
    if copied == 0 {
        return serde_json::from_str(json);
    }
    text.push_str(&json[copied..]);
    serde_json::from_str(&text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn integers_beyond_64_bits_are_refused_and_shown_digit_for_digit() {
        let held =
            format!("[{}, {}, -0, 1.5e300, 12345678901234567890.5, \"123456789012345678901\\\"\"]", u64::MAX, i64::MIN);
        assert_eq!(shown(&held).unwrap(), serde_json::from_str::<Value>(&held).unwrap());
        #[cfg(any(feature = "cli", feature = "web"))]
        assert_eq!(exact(&held).unwrap(), serde_json::from_str::<Value>(&held).unwrap());
        for wide in ["18446744073709551616", "-9223372036854775809", "340282366920938463463374607431768211455"] {
            let json = format!("{{\"a\\\\\": [1, {wide}], \"b\":{wide}}}");
            assert_eq!(shown(&json).unwrap(), json!({ "a\\": [1, wide], "b": wide }));
            #[cfg(any(feature = "cli", feature = "web"))]
            assert!(exact(&json).unwrap_err().contains(wide));
        }
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for wrong in ["", "{", "\"\\", "\"", "1 2", "nul", "99999999999999999999x"] {
            assert!(shown(wrong).is_err(), "{wrong}");
        }
    }
}
