//! Texts for display: shortened, without control characters, in hex.

use std::borrow::Cow;

/// The beginning of a text, for an error message.
pub(crate) fn excerpt(text: &str) -> String {
    const CHARACTERS: usize = 200;
    match text.char_indices().nth(CHARACTERS) {
        Some((end, _)) => format!("{}… ({} bytes)", printable(&text[..end]), text.len()),
        None => printable(text).into_owned(),
    }
}

/// A text without control characters, which could imitate lines of a log or change the state of a terminal: they are written
/// as escapes.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let escape = |letter: char| match letter.is_control() {
        true => letter.escape_default().to_string(),
        false => letter.to_string(),
    };
    Cow::Owned(text.chars().map(escape).collect())
}

/// Bytes in lowercase hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
