//! Which store a command uses.

use std::path::{Path, PathBuf};

use super::report::{Outcome, Stop};
use crate::error::{Code, Error};
use crate::store::SqliteStore;

const VARIABLE: &str = "WORKFLOW_URL";
const FILE: &str = ".workflow/workflow.db";

/// The URL of the store: the one that is named, else of the environment, else of the nearest file.
pub(super) fn url(named: Option<&str>) -> Outcome<String> {
    if let Some(named) = named {
        return Ok(completed(named));
    }
    if let Some(url) = std::env::var(VARIABLE).ok().filter(|url| !url.is_empty()) {
        return Ok(completed(&url));
    }
    let here = std::env::current_dir().unwrap_or_default();
    match nearest(&here) {
        Some(file) => Ok(format!("sqlite:{}", file.display())),
        None => {
            let text = format!("there is no {FILE} in {} or a directory above it", here.display());
            Err(Stop::usage(
                Error::coded(Code::InvalidUrl, text).help(format!("name the store with --store, or set {VARIABLE}")),
            ))
        }
    }
}

fn nearest(directory: &Path) -> Option<PathBuf> {
    directory.ancestors().map(|directory| directory.join(FILE)).find(|file| file.is_file())
}

/// A path is the URL of a SQLite file.
pub(super) fn completed(named: &str) -> String {
    let scheme = named.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
    match scheme.as_deref() {
        Some("sqlite" | "postgres" | "postgresql" | "memory") => named.to_owned(),
        _ if named.contains("://") => named.to_owned(),
        _ => format!("sqlite:{named}"),
    }
}

/// Opens the store if it is a SQLite file; `None` if it is a database.
pub(super) fn sqlite(url: &str) -> Outcome<Option<SqliteStore>> {
    let Some(path) = url.strip_prefix("sqlite:") else { return Ok(None) };
    let path = path.strip_prefix("//").unwrap_or(path);
    Ok(Some(SqliteStore::open_existing(path)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_store_upwards_is_found_and_a_path_is_a_url() {
        let root = tempfile::TempDir::new().unwrap();
        let below = root.path().join("a/b");
        std::fs::create_dir_all(&below).unwrap();
        std::fs::create_dir(root.path().join(".workflow")).unwrap();
        std::fs::write(root.path().join(FILE), "").unwrap();
        assert_eq!(nearest(&below), Some(root.path().join(FILE)));
        assert_eq!(completed("/x/y.db"), "sqlite:/x/y.db");
        assert_eq!(completed("postgres://a@b/c"), "postgres://a@b/c");
    }
}
