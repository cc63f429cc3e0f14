//! The files below a directory. Their names may be other bytes than UTF-8.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

/// A path. It is stored as text if it is UTF-8, otherwise as bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct Name(Vec<u8>);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Stored {
    Text(String),
    Bytes(Vec<u8>),
}

impl From<Stored> for Name {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::Text(text) => Name(text.into_bytes()),
            Stored::Bytes(bytes) => Name(bytes),
        }
    }
}

impl From<Name> for Stored {
    fn from(name: Name) -> Self {
        String::from_utf8(name.0).map_or_else(|error| Stored::Bytes(error.into_bytes()), Stored::Text)
    }
}

impl Name {
    pub fn of(path: impl AsRef<OsStr>) -> io::Result<Self> {
        let path = path.as_ref();
        // Only on Unix can a path be made from arbitrary bytes again.
        if cfg!(not(unix)) && path.to_str().is_none() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} is no Unicode", path.display())));
        }
        Ok(Name(path.as_encoded_bytes().to_vec()))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    #[cfg(unix)]
    pub fn path(&self) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        OsStr::from_bytes(&self.0).into()
    }

    #[cfg(not(unix))]
    pub fn path(&self) -> PathBuf {
        String::from_utf8_lossy(&self.0).into_owned().into()
    }

    /// `self/below`, for messages and for the manifest.
    pub fn join(&self, below: &Name) -> Name {
        let mut joined = self.0.clone();
        if !joined.ends_with(b"/") {
            joined.push(b'/');
        }
        joined.extend_from_slice(&below.0);
        Name(joined)
    }
}

/// A file or directory that is not in the manifest, and why.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Problem {
    pub name: Name,
    pub text: String,
}

/// The regular files below a directory, sorted by the bytes of their names.
#[derive(Serialize, Deserialize)]
pub struct Listing {
    pub files: Vec<Name>,
    pub problems: Vec<Problem>,
}

/// Lists `root` without following symbolic links. An unreadable directory below it becomes a problem of the listing. It
/// is an error if `root` itself cannot be read.
pub fn list(root: &Path, skip: impl Fn(&Path) -> bool) -> io::Result<Listing> {
    let mut listing = Listing { files: Vec::new(), problems: Vec::new() };
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        match list_directory(root, &directory, &skip, &mut listing.files) {
            Ok(below) => directories.extend(below),
            Err(error) if directory.as_os_str().is_empty() => return Err(error),
            Err(error) => listing.problems.push(Problem { name: Name::of(&directory)?, text: error.to_string() }),
        }
    }
    listing.files.sort_unstable();
    listing.problems.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(listing)
}

/// Appends the files of one directory, and returns its directories.
fn list_directory(
    root: &Path,
    directory: &Path,
    skip: impl Fn(&Path) -> bool,
    files: &mut Vec<Name>,
) -> io::Result<Vec<PathBuf>> {
    let mut below = Vec::new();
    for entry in fs::read_dir(root.join(directory))? {
        let entry = entry?;
        let path = directory.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            below.push(path);
        } else if kind.is_file() && !skip(&entry.path()) {
            files.push(Name::of(&path)?);
        }
    }
    Ok(below)
}

/// The size and the modification time of a file, by which a change is detected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    pub bytes: u64,
    /// Nanoseconds since 1970.
    modified: i64,
}

impl Stamp {
    pub fn of(metadata: &Metadata) -> io::Result<Self> {
        let modified = match metadata.modified()?.duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanoseconds| -nanoseconds),
        };
        Ok(Stamp { bytes: metadata.len(), modified })
    }

    /// The bytes that the fingerprint of a tree hashes.
    pub fn to_bytes(self) -> [u8; 16] {
        ((u128::from(self.bytes) << 64) | u128::from(self.modified as u64)).to_be_bytes()
    }
}

/// The stamp of a file; an error if it is not a regular file any more.
pub fn stamp(path: &Path) -> io::Result<Stamp> {
    let metadata = fs::symlink_metadata(path)?;
    match metadata.is_file() {
        true => Stamp::of(&metadata),
        false => Err(io::Error::other("it is no regular file any more")),
    }
}
