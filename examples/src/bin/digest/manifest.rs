//! The manifest: the lines that `sha256sum` writes and `sha256sum -c` reads.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::tree::Name;

/// A name as `sha256sum` writes it, and whether it had to be changed: then the line begins with a backslash.
pub fn escaped(name: &[u8]) -> (bool, Vec<u8>) {
    let mut text = Vec::with_capacity(name.len());
    for byte in name {
        match byte {
            b'\\' => text.extend(b"\\\\"),
            b'\n' => text.extend(b"\\n"),
            b'\r' => text.extend(b"\\r"),
            byte => text.push(*byte),
        }
    }
    (text.len() != name.len(), text)
}

/// Adds the line of a file.
pub fn push_line(text: &mut Vec<u8>, sha256: &str, name: &Name) {
    let (changed, name) = escaped(name.as_bytes());
    if changed {
        text.push(b'\\');
    }
    text.extend_from_slice(sha256.as_bytes());
    text.extend_from_slice(b"  ");
    text.extend(name);
    text.push(b'\n');
}

/// Where the manifest is written before it gets its name.
pub fn temporary(out: &Path) -> PathBuf {
    crate::with_suffix(out, ".new")
}

/// Replaces the file atomically: a reader, also after a power loss, finds the old one or the new one.
pub fn replace(out: &Path, text: &[u8]) -> io::Result<()> {
    let temporary = temporary(out);
    let mut file = File::create(&temporary)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&temporary, out)?;
    if cfg!(unix)
        && let Some(directory) = out.parent()
    {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str) -> String {
        let mut text = Vec::new();
        push_line(&mut text, "00ff", &Name::of(name).unwrap());
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_line_equals_the_output_of_sha256sum() {
        assert_eq!(line("a b"), "00ff  a b\n");
        assert_eq!(line("a\nb"), "\\00ff  a\\nb\n");
        assert_eq!(line("a\\b\r"), "\\00ff  a\\\\b\\r\n");
    }

    #[test]
    fn hex_has_two_digits_a_byte() {
        assert_eq!(hex(&[0, 15, 255]), "000fff");
    }
}
