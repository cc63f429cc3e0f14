//! The tests that [`replay_corpus!`](super::replay_corpus) generates.

use std::collections::BTreeSet;
use std::path::Path;

use crate::handles::journal::Journal;

/// Fails if this build cannot continue the run whose journal is in the file.
///
/// # Panics
///
/// With the error.
#[track_caller]
pub fn replay_file(name: &str, text: &str) {
    let checked = text.parse().and_then(|journal: Journal| journal.check());
    if let Err(error) = checked {
        panic!("{name} does not replay with this build: {error:?}");
    }
}

/// Fails if the folder has other journals than those that are tests. Cargo does not notice a new file.
///
/// # Panics
///
/// With the names of the files.
#[track_caller]
pub fn corpus_is_complete(folder: &str, tested: &[&str]) {
    let entries =
        std::fs::read_dir(Path::new(folder)).unwrap_or_else(|error| panic!("{folder} cannot be read: {error}"));
    let there: BTreeSet<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".json"))
        .collect();
    let tested: BTreeSet<String> = tested.iter().map(|name| (*name).to_owned()).collect();
    let differing: Vec<&String> = there.symmetric_difference(&tested).collect();
    assert!(
        differing.is_empty(),
        "{folder}: {differing:?} were added or removed since the tests were compiled; `touch` the file that calls replay_corpus!"
    );
}
