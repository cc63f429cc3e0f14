//! Texts of runs as a terminal may show them.

use std::borrow::Cow;

use crate::text::printable;

/// Whether a character changes the order in which others are shown.
fn reorders(letter: char) -> bool {
    matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether a character is not shown as itself.
pub(crate) fn is_hidden(letter: char) -> bool {
    letter.is_control() || reorders(letter)
}

/// A text without characters that change the state of a terminal or the order of what it shows: they are written as escapes.
pub(crate) fn safe(text: &str) -> Cow<'_, str> {
    let text = printable(text);
    if !text.contains(reorders) {
        return text;
    }
    let escape = |letter: char| match reorders(letter) {
        true => letter.escape_unicode().to_string(),
        false => letter.to_string(),
    };
    Cow::Owned(text.chars().map(escape).collect())
}

/// The same for a text of several lines.
pub(crate) fn safe_lines(text: &str) -> Cow<'_, str> {
    if !text.contains('\n') {
        return safe(text);
    }
    Cow::Owned(text.split('\n').map(safe).collect::<Vec<_>>().join("\n"))
}

/// The first line of a text, and at most so many characters of it.
pub(crate) fn shortened(text: &str, characters: usize) -> String {
    let line = text.lines().next().unwrap_or_default();
    match line.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None if line.len() < text.trim_end().len() => format!("{line}…"),
        None => line.to_owned(),
    }
}

/// A number of bytes for people.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.into_iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => format!("{:.1} {name}", bytes as f64 / unit as f64),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_steer_a_terminal_is_escaped() {
        assert_eq!(safe("a\u{1b}[2J\u{9b}m\rb\u{202e}c"), "a\\u{1b}[2J\\u{9b}m\\rb\\u{202e}c");
        assert_eq!(safe("naïve – 名"), "naïve – 名");
    }

    #[test]
    fn a_text_is_shortened_to_its_first_line() {
        assert_eq!(shortened("abcdef", 3), "abc…");
        assert_eq!(shortened("ab\ncd", 9), "ab…");
        assert_eq!(shortened("ab\n", 9), "ab");
    }
}
