//! The ledger: a file with one line of JSON for each payment, refund and parcel. It simulates services outside the
//! shop.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// A payment, a refund or a parcel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The idempotency key: the ledger has one entry for each key.
    pub key: String,
    pub what: What,
    pub order: String,
    pub cents: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    Charge,
    Refund,
    Ship,
}

/// An append-only file. One process at a time writes it, because on SQLite one process executes steps.
pub struct Ledger(Mutex<File>);

impl Ledger {
    pub fn open(path: &Path) -> io::Result<Ledger> {
        let mut file = OpenOptions::new().create(true).append(true).read(true).open(path)?;
        // A line without an end was cut by a crash and never acknowledged, so its step writes it again.
        let text = text(&mut file)?;
        file.set_len(text.rfind('\n').map_or(0, |end| end + 1) as u64)?;
        Ok(Ledger(Mutex::new(file)))
    }

    /// Appends an entry, unless the ledger has its key: a service treats idempotency keys in this way.
    pub fn enter(&self, entry: &Entry) -> io::Result<()> {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for line in text(&mut file)?.lines() {
            if serde_json::from_str::<Entry>(line)?.key == entry.key {
                return Ok(());
            }
        }
        let line = serde_json::to_string(entry)? + "\n";
        file.write_all(line.as_bytes())?;
        file.sync_data()
    }
}

fn text(file: &mut File) -> io::Result<String> {
    let mut text = String::new();
    file.rewind()?;
    file.read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn charge(key: &str) -> Entry {
        Entry { key: key.into(), what: What::Charge, order: "1".into(), cents: 5 }
    }

    #[test]
    fn a_key_is_entered_once_and_half_a_line_is_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger");
        let ledger = Ledger::open(&path).unwrap();
        for key in ["a", "b", "a"] {
            ledger.enter(&charge(key)).unwrap();
        }
        let whole = std::fs::read_to_string(&path).unwrap();
        assert_eq!(whole.lines().count(), 2);

        std::fs::write(&path, format!("{whole}{{\"key\":\"c")).unwrap();
        let ledger = Ledger::open(&path).unwrap();
        ledger.enter(&charge("b")).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), whole);
        ledger.enter(&charge("c")).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 3);
    }
}
