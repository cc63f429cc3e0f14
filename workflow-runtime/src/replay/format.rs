//! The formats of stored rows: the turns of a journal and the events of an inbox.
//!
//! A row is JSON with the number of its format and a checksum beside it. Its format is the lowest that can represent its
//! contents, so a build reads every row of a newer build that uses nothing new. An unreadable row is one of two kinds:
//!
//! - A row of a higher format was written by a newer build. It is intact; its run waits for such a build.
//! - A row of a known format that does not decode is damaged.
//!
//! So every variant of [`Event`], [`Command`] and [`End`] has the number of the format that
//! introduced it, which its `format` returns. A new variant gets a new number, and so does a row with a new field that
//! changes the meaning of the row: a build that does not know the field would ignore it.

use std::cell::Cell;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::journal::{Command, Delivery, End, Event, TurnRecord};
use crate::error::{Code, Error};
use crate::limits::BUFFER_BYTES_MAX;
use crate::text::excerpt;

/// The highest format that this build knows.
const NEWEST: u32 = 3;

/// A row as it is stored.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub format: u32,
    /// CRC-32 of the body, in every format.
    pub checksum: u32,
    pub body: Arc<[u8]>,
}

impl TurnRecord {
    /// The highest format that this build reads.
    pub const NEWEST_FORMAT: u32 = NEWEST;

    /// The lowest format that can represent it.
    pub fn format(&self) -> u32 {
        self.deliveries.iter().map(delivery).max().unwrap_or(1)
    }

    pub fn encode(&self) -> Result<Encoded, Error> {
        encode(self, self.format())
    }

    pub fn decode(format: u32, checksum: u32, body: &[u8]) -> Result<Self, Error> {
        decode(format, checksum, body)
    }
}

impl Event {
    pub fn encode(&self) -> Result<Encoded, Error> {
        encode(self, self.format())
    }

    pub fn decode(format: u32, checksum: u32, body: &[u8]) -> Result<Self, Error> {
        decode(format, checksum, body)
    }
}

fn delivery(delivery: &Delivery) -> u32 {
    let ends = delivery.unwinds.iter().chain(&delivery.end).map(End::format);
    ends.chain(delivery.commands.iter().map(Command::format)).fold(delivery.event.format(), u32::max)
}

fn encode<T: Serialize>(value: &T, format: u32) -> Result<Encoded, Error> {
    let mut buffer = BUFFER.try_with(Cell::take).unwrap_or_default();
    buffer.clear();
    serde_json::to_writer(&mut buffer, value)
        .map_err(|error| Error::coded(Code::Payload, "a journal row did not encode").because(error))?;
    let encoded = Encoded { format, checksum: crc32fast::hash(&buffer), body: Arc::from(&*buffer) };
    if buffer.capacity() <= BUFFER_BYTES_MAX {
        let _ = BUFFER.try_with(|kept| kept.set(buffer));
    }
    Ok(encoded)
}

thread_local! {
    /// The buffer of an earlier row.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

fn decode<T: for<'de> Deserialize<'de>>(format: u32, checksum: u32, body: &[u8]) -> Result<T, Error> {
    let found = crc32fast::hash(body);
    if found != checksum {
        return Err(Error::coded(Code::Damaged, "the row's checksum is wrong: it was changed after it was written")
            .expected(format!("{checksum:08x}"))
            .found(format!("{found:08x}"))
            .help("restore the row, or the database, from a backup"));
    }
    if format > NEWEST {
        return Err(Error::coded(
            Code::NewerFormat,
            "a newer build has written the row, in a format that this build cannot read",
        )
        .expected(format!("a format up to {NEWEST}"))
        .found(format!("format {format}"))
        .help("run the build that wrote it, or a newer one: that build continues the run"));
    }
    serde_json::from_slice(body).map_err(|error| {
        Error::coded(Code::Damaged, "the row does not decode")
            .because(error)
            .found(excerpt(&String::from_utf8_lossy(body)))
            .help("restore the row, or the database, from a backup")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::{Commands, Reopening};

    fn started(at: u64) -> TurnRecord {
        let event = Event::Timer { op: 1 };
        let command = Command::Timer { op: 2, until: at };
        let commands = Commands::from_buf([command]);
        Delivery { at, event, commands, unwinds: None, undoes: Vec::new(), end: None }.into()
    }

    #[test]
    fn a_row_without_newer_content_has_the_first_format() {
        assert_eq!(started(1).encode().unwrap().format, 1);
        assert_eq!(Event::WakeUp.encode().unwrap().format, 1);
    }

    #[test]
    fn a_row_with_the_marker_of_a_patch_has_the_second_format() {
        let mut turn = started(1);
        turn.deliveries[0].commands.push(Command::Patch { name: "audit".into(), deprecated: false });
        let row = turn.encode().unwrap();
        assert_eq!(row.format, 2);
        let read = TurnRecord::decode(row.format, row.checksum, &row.body).unwrap();
        assert_eq!(read.deliveries[0].commands, turn.deliveries[0].commands);
    }

    #[test]
    fn a_row_of_a_retry_that_delivers_payloads_again_has_the_third_format() {
        let forwards = vec![(u64::MAX - 1, "token".into())];
        for reopening in
            [Reopening { forwards, ..Reopening::default() }, Reopening { answered: vec![3], ..Reopening::default() }]
        {
            let row = Event::Reopened { seed: String::new(), reopening: reopening.clone() }.encode().unwrap();
            assert_eq!(row.format, 3);
            let read = Event::decode(row.format, row.checksum, &row.body).unwrap();
            assert!(matches!(read, Event::Reopened { reopening: read, .. } if read == reopening));
        }
        let reopened = Event::Reopened { seed: String::new(), reopening: Reopening::default() };
        assert_eq!(reopened.encode().unwrap().format, 1);
    }

    #[test]
    fn unknown_content_of_a_known_format_is_damaged_and_a_newer_format_is_not() {
        let body = br#"{"dreamt":{"op":1}}"#;
        let decoded = |format| Event::decode(format, crc32fast::hash(body), body).unwrap_err();
        assert_eq!(decoded(1).code(), Code::Damaged);
        let newer = decoded(NEWEST + 1);
        assert_eq!(newer.code(), Code::NewerFormat);
        assert!(!format!("{newer:?}").contains("backup"), "{newer:?}");
        assert_eq!(Event::decode(NEWEST + 1, 0, body).unwrap_err().code(), Code::Damaged, "its checksum is wrong");
    }
}
