//! Texts and values of runs as pages show them.

use std::borrow::Cow;

use maud::{Markup, html};
use serde_json::Value;

use crate::limits::COUNTED_RUNS_MAX;
use crate::steering::text::{bytes, is_hidden, safe};

/// The largest part of a value that a page shows.
pub(super) const VALUE_BYTES_SHOWN: usize = 64 << 10;
/// The characters of an id that a list shows at most.
const ID_CHARACTERS: usize = 22;

/// An id without its middle: ids differ at their ends.
pub(super) fn cut_id(id: &str) -> Cow<'_, str> {
    let shown = safe(id);
    let length = shown.chars().count();
    if length <= ID_CHARACTERS {
        return shown;
    }
    let ends = (ID_CHARACTERS - 1) / 2;
    let first: String = shown.chars().take(ends - 3).collect();
    let last: String = shown.chars().skip(length - ends - 3).collect();
    Cow::Owned(format!("{first}…{last}"))
}

/// The JSON of a value. Numbers are written by the server, digit for digit; control characters as escapes.
pub(super) fn json(value: &Value) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match (is_hidden(letter) && letter != '\n', letter as u32) {
            (false, _) => shown.push(letter),
            // All of them are in the basic plane, so that the escape is one of JSON.
            (true, code) => shown.push_str(&format!("\\u{code:04x}")),
        }
    }
    shown
}

/// A value in a block, cut at 64 KB, with a link to the whole value where there is one. `None` is a hidden one.
pub(super) fn value(value: Option<&Value>, whole: Option<&str>) -> Markup {
    let Some(value) = value else {
        return html! { p.dim { "Payloads are hidden here" } };
    };
    let text = json(value);
    let end = text.floor_char_boundary(VALUE_BYTES_SHOWN);
    html! {
        pre tabindex="0" { (text[..end]) }
        @if end < text.len() {
            p.dim.sm {
                "The first " (bytes(end as u64)) " of " (bytes(text.len() as u64)) ". "
                @if let Some(whole) = whole { a href=(whole) download="value.json" { "Download the whole value" } }
            }
        }
    }
}

/// A count that may have ended after [`COUNTED_RUNS_MAX`].
pub(super) fn counted(count: u64) -> String {
    match count > COUNTED_RUNS_MAX as u64 {
        true => format!("{}+", number(COUNTED_RUNS_MAX as u64)),
        false => number(count),
    }
}

/// A number with separators of thousands.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 run`, `2 runs`.
pub(super) fn runs(count: u64) -> String {
    if count == 1 { "1 run".to_owned() } else { format!("{} runs", number(count)) }
}

/// A word of a command line, quoted where a shell needs it.
pub(super) fn word(text: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:=@,+%".contains(letter);
    if !text.is_empty() && text.chars().all(is_plain) && !text.starts_with('-') {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_ids_keep_their_ends() {
        assert_eq!(cut_id("order-1"), "order-1");
        let cut = cut_id("tenant-eu-west-1/customers/00000000-6f2c/monthly-report/2026-11");
        assert!(cut.starts_with("tenant-") && cut.ends_with("port/2026-11"), "{cut}");
        assert!(cut.chars().count() <= ID_CHARACTERS);
    }

    #[test]
    fn numbers_keep_all_digits() {
        assert_eq!(json(&serde_json::json!({ "n": u64::MAX })), format!("{{\n  \"n\": {}\n}}", u64::MAX));
        let hostile = serde_json::json!("a\u{1b}\u{9b}\u{202e}b");
        let shown = json(&hostile);
        assert!(!shown.contains(is_hidden) && serde_json::from_str::<Value>(&shown).unwrap() == hostile, "{shown}");
        assert_eq!([0, 999, 1_000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(word("order-1"), "order-1");
        assert_eq!(word("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(word("-x"), "'-x'");
    }
}
