//! Copies of the library's private journal types: the work of any reader that decodes the rows.

use std::borrow::Cow;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::Result;

struct Payload(#[expect(dead_code, reason = "made, and never looked at")] Arc<RawValue>);

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        Ok(Payload(Arc::from(Box::<RawValue>::deserialize(deserializer)?)))
    }
}

#[derive(Deserialize)]
struct TurnRecord {
    deliveries: Vec<Delivery>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "made, and never looked at")]
struct Delivery {
    at: u64,
    event: Event,
    #[serde(default)]
    commands: Vec<Command>,
    #[serde(default)]
    end: Option<End>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "made, and never looked at")]
enum Event {
    Started { seed: Cow<'static, str>, args: Payload },
    Completed { op: u64, value: Payload },
    Failed { op: u64, error: Payload },
    Attempt { op: u64, attempt: u32, error: Payload, not_before: u64 },
    Timer { op: u64 },
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "made, and never looked at")]
enum Command {
    Step {
        op: u64,
        step: Cow<'static, str>,
        #[serde(default)]
        name: Option<Cow<'static, str>>,
        input: Payload,
    },
    Timer {
        op: u64,
        until: u64,
    },
    Cancel {
        op: u64,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "made, and never looked at")]
enum End {
    Completed(Payload),
    Failed(Payload),
}

/// Reads and decodes the rows of the first run in order. Returns the number of events.
pub fn read(path: &Path) -> Result<u64> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    let mut rows = connection.prepare(
        "SELECT idx, turn, format, checksum, body FROM journal WHERE run = 1 AND generation = 0 ORDER BY idx",
    )?;
    let mut rows = rows.query(())?;
    let mut events = 0;
    while let Some(row) = rows.next()? {
        let columns: (i64, [u8; 16], u32, u32) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        black_box(columns);
        let turn: TurnRecord = serde_json::from_slice(row.get_ref(4)?.as_blob()?)?;
        events += turn.deliveries.len() as u64;
        black_box(turn);
    }
    Ok(events)
}
