//! Inbox messages, and how they are put into inboxes.

use super::claims;
use super::db::{Session, Text, args};
use super::fault::Result;
use super::notes::Notes;
use super::read::{self, get};
use super::schema;
use super::work::{Ours, Work};
use crate::store::{About, Message, RunKey, SendMessageAnswer};

/// Puts messages into the inboxes of different runs, given by ids or by keys, and makes the runs due. Sequences are drawn
/// after the locks are taken, which the order ensures: so the sequences of a run ascend.
macro_rules! receive {
    ($by:literal, $type:literal, $known:literal) => {
        concat!(
            "
WITH input AS MATERIALIZED (
    SELECT * FROM unnest((SELECT $1), $2, $3, $4, $5, $6, $7, $12)
        AS t (", $by, ", dedupe, arrived_at, format, checksum, body, about, known_from)
), locked AS MATERIALIZED (
    SELECT key, id, owner, generation, (status IN @ended OR status = 'stuck') AS ended FROM @runs
    WHERE ", $by, " = ANY ((SELECT $1)::", $type, "[])", $known, " ORDER BY key FOR NO KEY UPDATE
), fresh AS MATERIALIZED (
    INSERT INTO @dedupe (run, key, at)
    SELECT key, dedupe, known_from FROM input JOIN locked USING (", $by, ") WHERE dedupe IS NOT NULL
    ON CONFLICT DO NOTHING
    RETURNING run
), put AS MATERIALIZED (
    INSERT INTO @inbox (run, holder, arrived_at, format, checksum, body, generation, about)
    SELECT key, CASE WHEN ended OR owner = -1 THEN 0 ELSE owner END, arrived_at, format, checksum, body, generation, about
    FROM input JOIN locked USING (", $by, ")
    WHERE dedupe IS NULL OR key IN (SELECT run FROM fresh) ORDER BY key
    RETURNING run
), raised AS (
    UPDATE @runs AS runs SET inbox_seq = runs.inbox_seq + 1, wake_at = CASE WHEN runs.wake_at IS NOT NULL THEN 0 END
    FROM locked WHERE runs.key = locked.key AND locked.key IN (SELECT run FROM put)
), concerned AS MATERIALIZED (
    SELECT owner FROM locked WHERE NOT ended AND key IN (SELECT run FROM put) AND owner <> ALL ($10)
), notified AS (
    SELECT pg_notify($8, CASE WHEN count(*) > 300 THEN $9 || ' *'
        ELSE $9 || string_agg(DISTINCT CASE WHEN owner IN (0, -1) THEN ' d' ELSE ' h' || owner END, '') END)::text AS notified
    FROM concerned WHERE $11 HAVING count(*) > 0
)
SELECT ", $by, ", key, owner, ended, key IN (SELECT run FROM put), (SELECT notified FROM notified) FROM locked"
        )
    };
}

/// Also a transaction by itself.
const POST: &str = receive!("id", "text", " AND (SELECT readable_from FROM @meta) <= $13");
const RECEIVE: &str = receive!("key", "bigint", "");

const PUT: &str = "
WITH fresh AS (
    INSERT INTO @dedupe (run, key, at) SELECT $1, $2, $7 WHERE $2 IS NOT NULL ON CONFLICT DO NOTHING RETURNING run
)
INSERT INTO @inbox (run, holder, arrived_at, format, checksum, body, generation)
SELECT key, 0, $3, $4, $5, $6, generation FROM @runs WHERE key = $1 AND ($2 IS NULL OR EXISTS (SELECT 1 FROM fresh))";

/// The columns of messages.
struct Columns<'l> {
    dedupes: Vec<Option<Text<'l>>>,
    known: Vec<Option<i64>>,
    arrivals: Vec<i64>,
    formats: Vec<i32>,
    checksums: Vec<i32>,
    bodies: Vec<&'l [u8]>,
}

/// The dedupe key of a message.
fn key(message: &Message) -> Option<Text<'_>> {
    message.dedupe.as_ref().map(|dedupe| Text(&dedupe.key))
}

fn known_from(message: &Message) -> Option<i64> {
    message.dedupe.as_ref().map(|dedupe| dedupe.known_from(message).cast_signed())
}

impl<'l> Columns<'l> {
    fn of(messages: &[&'l Message]) -> Self {
        Columns {
            dedupes: messages.iter().map(|message| key(message)).collect(),
            known: messages.iter().map(|message| known_from(message)).collect(),
            arrivals: messages.iter().map(|message| message.arrived_at.cast_signed()).collect(),
            formats: messages.iter().map(|message| message.format.cast_signed()).collect(),
            checksums: messages.iter().map(|message| message.checksum.cast_signed()).collect(),
            bodies: messages.iter().map(|message| &*message.body).collect(),
        }
    }
}

/// Sends messages to different runs. Adds the processes to notify to `notes`; without `notes`, the statement notifies
/// them.
pub(super) async fn send(
    session: &Session<'_>,
    ours: &Ours,
    to_send: &[(&str, &Message)],
    notes: Option<&mut Notes>,
) -> Result<Vec<(SendMessageAnswer, Option<RunKey>)>> {
    let ids: Vec<Text<'_>> = to_send.iter().map(|(id, _)| Text(id)).collect();
    let messages: Vec<&Message> = to_send.iter().map(|(_, message)| *message).collect();
    let columns = Columns::of(&messages);
    let abouts: Vec<Option<Text<'_>>> = to_send.iter().map(|_| None).collect();
    let notify = notes.is_none();
    let rows = session
        .query(
            POST,
            args![
                TEXT_ARRAY: ids, TEXT_ARRAY: columns.dedupes, INT8_ARRAY: columns.arrivals, INT4_ARRAY: columns.formats,
                INT4_ARRAY: columns.checksums, BYTEA_ARRAY: columns.bodies, TEXT_ARRAY: abouts,
                TEXT: session.db.options.schema, TEXT: &*ours.tag, INT8_ARRAY: &*ours.owners, BOOL: notify,
                INT8_ARRAY: columns.known, INT4: schema::build(session.db),
            ],
        )
        .await?;
    if rows.len() < to_send.len() {
        schema::check_floor(session).await?;
    }
    if let Some(notes) = notes {
        note(&rows, notes)?;
    }
    let mut outcomes = Vec::with_capacity(to_send.len());
    for (id, _) in to_send {
        let mut found = None;
        for row in &rows {
            if *read::text(row, 0)? == **id {
                found = Some(get(row, 1)?);
            }
        }
        outcomes.push((found.map_or(SendMessageAnswer::Unknown, |_| SendMessageAnswer::Committed), found));
    }
    Ok(outcomes)
}

fn note(rows: &[tokio_postgres::Row], notes: &mut Notes) -> Result<()> {
    for row in rows {
        let (holder, ended, new): (i64, bool, bool) = (get(row, 2)?, get(row, 3)?, get(row, 4)?);
        if new && !ended {
            notes.message(holder);
        }
    }
    Ok(())
}

/// Puts a message into a run's inbox, unless its dedupe key is known, and makes the run due.
pub(super) async fn receive(
    session: &Session<'_>,
    ours: &Ours,
    notes: &mut Notes,
    run: RunKey,
    message: &Message,
    about: Option<&About>,
) -> Result<()> {
    let columns = Columns::of(&[message]);
    let about = about.map(About::to_text);
    let about = vec![about.as_deref().map(Text)];
    let rows = session
        .query(
            RECEIVE,
            args![
                INT8_ARRAY: vec![run], TEXT_ARRAY: columns.dedupes, INT8_ARRAY: columns.arrivals,
                INT4_ARRAY: columns.formats, INT4_ARRAY: columns.checksums, BYTEA_ARRAY: columns.bodies,
                TEXT_ARRAY: about, TEXT: session.db.options.schema, TEXT: &*ours.tag, INT8_ARRAY: &*ours.owners, BOOL: false,
                INT8_ARRAY: columns.known,
            ],
        )
        .await?;
    note(&rows, notes)
}

/// Puts a message into a run's inbox without making the run due.
pub(super) async fn put(session: &Session<'_>, run: RunKey, message: &Message) -> Result<()> {
    let dedupe = key(message);
    session
        .query(
            PUT,
            args![
                INT8: run, TEXT: dedupe, INT8: message.arrived_at.cast_signed(), INT4: message.format.cast_signed(),
                INT4: message.checksum.cast_signed(), BYTEA: &*message.body, INT8: known_from(message),
            ],
        )
        .await?;
    Ok(())
}

/// Whether the run has received a message with the same dedupe key.
pub(super) async fn is_known(session: &Session<'_>, run: RunKey, message: &Message) -> Result<bool> {
    let Some(key) = key(message) else { return Ok(false) };
    let sql = "SELECT 1 FROM @dedupe WHERE run = $1 AND key = $2";
    Ok(session.query_opt(sql, args![INT8: run, TEXT: key]).await?.is_some())
}

impl Work<'_, '_> {
    /// Puts a message into a run's inbox, unless its dedupe key is known, and makes the run due.
    pub async fn receive(&mut self, run: RunKey, message: &Message, about: Option<&About>) -> Result<()> {
        receive(self.session, self.ours, &mut self.notes, run, message, about).await
    }

    pub async fn send_message(&mut self, run: &str, message: &Message, unstick: bool) -> Result<SendMessageAnswer> {
        let sent = send(self.session, self.ours, &[(run, message)], Some(&mut self.notes)).await?;
        let Some((outcome, key)) = sent.into_iter().next() else { return Ok(SendMessageAnswer::Unknown) };
        if let Some(key) = key.filter(|_| unstick) {
            claims::unstick_one(self, key).await?;
        }
        Ok(outcome)
    }
}
