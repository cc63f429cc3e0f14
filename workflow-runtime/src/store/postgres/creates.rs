//! New runs, any number in one statement.

use std::collections::HashMap;
use std::sync::Arc;

use super::columns::Errors;
use super::db::{Session, Text, args};
use super::fault::Result;
use super::place::Place;
use super::read::{self, get, text, time};
use super::turns;
use super::work::{Ours, Work};
use super::{removal, schema};
use crate::store::{CreateAnswer, Fence, First, JournalRow, Message, NewRun, Replace, RowChange, RunKey, Status};

/// The most journal rows that are sent in one statement.
const ROWS_AT_ONCE: usize = 1_000;

/// The columns of a new run that its creator sets.
macro_rules! given {
    () => {
        "id, workflow, fingerprint, args_digest, token, created_at, depth, required_deployment"
    };
}

/// The columns of a new run that its first turn sets.
macro_rules! changed {
    () => {
        "status, wake_at, started_at, completed_at, stuck, failing_since, error_class, error_text"
    };
}

/// The beginning of a statement that inserts new runs.
macro_rules! insert_runs {
    () => {
        concat!(
            "INSERT INTO @runs (generation, recoveries, owner, epoch, inbox_seq, ",
            given!(),
            ", ",
            changed!(),
            ") "
        )
    };
}

/// Creates runs with their first turns. Locks the worker's row, so that no other worker presumes it dead meanwhile; one that
/// does so afterwards finds these runs.
const CREATE: &str = concat!(
    "
WITH alive AS MATERIALIZED (
    SELECT owner FROM @workers WHERE owner = $1 AND expires_at > now() AND round < 9223372036854775807 FOR KEY SHARE
), input AS MATERIALIZED (
    SELECT * FROM unnest((SELECT $2), $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)
        AS t (",
    given!(),
    ", ",
    changed!(),
    ", turn, format, checksum, body)
), created AS (
    ",
    insert_runs!(),
    "SELECT 0, 0, alive.owner, 1, 0, ",
    given!(),
    ", ",
    changed!(),
    " FROM input, alive ORDER BY id
    ON CONFLICT (id) DO NOTHING
    RETURNING key, id
), appended AS (
    INSERT INTO @journal (run, generation, idx, turn, format, checksum, body)
    SELECT key, 0, 0, turn, format, checksum, body FROM created JOIN input USING (id)
)
SELECT id, key, @server() FROM created"
);

/// As `CREATE`, for one run: without arrays, which the database would take apart.
const CREATE_ONE: &str = concat!(
    "
WITH created AS (
    ",
    insert_runs!(),
    "SELECT 0, 0, owner, 1, 0, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17
    FROM @workers WHERE owner = $1 AND expires_at > now() AND round < 9223372036854775807 FOR KEY SHARE
    ON CONFLICT (id) DO NOTHING
    RETURNING key, id
), appended AS (
    INSERT INTO @journal (run, generation, idx, turn, format, checksum, body) SELECT key, 0, 0, $18, $19, $20, $21 FROM created
)
SELECT id, key, @server() FROM created"
);

/// Creates runs for any worker to claim.
const START: &str = concat!(
    "
WITH input AS MATERIALIZED (
    SELECT * FROM unnest((SELECT $1), $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
        AS t (",
    given!(),
    ", dedupe, arrived_at, format, checksum, body)
), created AS (
    ",
    insert_runs!(),
    "SELECT 0, 0, 0, 0, 1, ",
    given!(),
    ", 'pending', 0, NULL, NULL, NULL, NULL, NULL, NULL
    FROM input WHERE (SELECT readable_from FROM @meta) <= $17 ORDER BY id
    ON CONFLICT (id) DO NOTHING
    RETURNING key, id
), messages AS (
    INSERT INTO @inbox (run, holder, arrived_at, format, checksum, body, generation)
    SELECT key, 0, arrived_at, format, checksum, body, 0 FROM created JOIN input USING (id)
), keyed AS (
    INSERT INTO @dedupe (run, key, at)
    SELECT key, dedupe, arrived_at FROM created JOIN input USING (id) WHERE dedupe IS NOT NULL
), notified AS (
    SELECT pg_notify($14, $15 || ' d')::text AS notified FROM created WHERE $16 HAVING count(*) > 0
)
SELECT id, key, (SELECT notified FROM notified) FROM created"
);

/// Creates a run that nobody holds, and that has no message: one that cannot be claimed yet, or one with a journal.
const CREATE_UNHELD: &str = concat!(
    insert_runs!(),
    "VALUES (0, 0, 0, 0, 0, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, NULL, NULL, NULL, NULL, NULL)
ON CONFLICT (id) DO NOTHING
RETURNING key"
);

const ROWS: &str = "
INSERT INTO @journal (run, generation, idx, turn, format, checksum, body)
SELECT $1, $2, idx, turn, format, checksum, body
FROM unnest($3, $4, $5, $6, $7) AS t (idx, turn, format, checksum, body)";

const CAN_BE_REPLACED: &str = "
SELECT awaited OR followed FROM @runs WHERE key = $1 AND id = $2 AND status IN ('failed', 'cancelled') FOR UPDATE";

/// Checks and locks the worker as [`CREATE`] does, with the same answer.
const ALIVE: &str = "
SELECT 1 FROM @workers WHERE owner = $1 AND expires_at > now() AND round < 9223372036854775807 FOR KEY SHARE";

const BEGIN: &str = "
UPDATE @runs SET fingerprint = $2, args_digest = $3, token = $4, required_deployment = $5, wake_at = 0
WHERE id = $1 AND status = 'pending' AND wake_at IS NULL
RETURNING key";

const NOT_CREATED: &str = "SELECT key, token FROM @runs WHERE id = $1";

/// Whether a new run consists only of its row and its first turn or message.
pub(super) fn is_plain(new: &NewRun) -> bool {
    new.effects.is_none() && new.chunks.is_empty()
}

/// The outcome of the creation of a run.
pub(super) struct Made {
    pub answer: CreateAnswer,
    /// Whether it did not exist before.
    pub new: bool,
}

/// The columns that `CREATE` and `START` share.
struct Columns<'n> {
    ids: Vec<Text<'n>>,
    workflows: Vec<Text<'n>>,
    fingerprints: Vec<Text<'n>>,
    digests: Vec<&'n [u8]>,
    tokens: Vec<[u8; 16]>,
    times: Vec<i64>,
    depths: Vec<i32>,
    required: Vec<Option<Text<'n>>>,
}

impl<'n> Columns<'n> {
    fn of(runs: &[&'n NewRun]) -> Self {
        Columns {
            ids: runs.iter().map(|new| Text(&new.id)).collect(),
            workflows: runs.iter().map(|new| Text(&new.workflow)).collect(),
            fingerprints: runs.iter().map(|new| Text(&new.fingerprint)).collect(),
            digests: runs.iter().map(|new| new.args_digest.as_slice()).collect(),
            tokens: runs.iter().map(|new| new.token.to_be_bytes()).collect(),
            times: runs.iter().map(|new| new.created_at.cast_signed()).collect(),
            depths: runs.iter().map(|new| new.depth.cast_signed()).collect(),
            required: runs.iter().map(|new| new.required_deployment.as_deref().map(Text)).collect(),
        }
    }

    fn tokens(&self) -> Vec<&[u8]> {
        self.tokens.iter().map(<[u8; 16]>::as_slice).collect()
    }
}

/// Creates runs with different ids and their first turns, all of one owner; `alone` means outside a transaction.
pub(super) async fn create(
    session: &Session<'_>,
    ours: &Ours,
    owner: u64,
    runs: &[&NewRun],
    alone: bool,
) -> Result<Vec<Made>> {
    let looked_up = ours.verified.changes();
    let first = |new: &'_ NewRun| match &new.first {
        First::Turn { row, change, .. } => Some((row.clone(), change.clone())),
        _ => None,
    };
    let firsts: Vec<(JournalRow, RowChange)> = runs.iter().filter_map(|new| first(new)).collect();
    let created = match (runs, &firsts[..]) {
        ([new], [(row, change)]) => create_one(session, owner, new, row, change).await?,
        _ => create_all(session, owner, runs, &firsts).await?,
    };
    let made = outcomes(session, runs, &created).await?;
    if let (Some(row), true) = (created.first(), alone) {
        let verified = made.iter().zip(&firsts).filter_map(|(made, (_, change))| match made.answer {
            CreateAnswer::Created(key) if made.new && !turns::ends(change.status) => {
                let fence = Fence { owner, epoch: 1 };
                Some((key, Place { fence, generation: 0, index: 1, concerns_others: false }))
            }
            _ => None,
        });
        ours.verified.verify(looked_up, get(row, 2)?, verified);
    }
    Ok(made)
}

async fn create_one(
    session: &Session<'_>,
    owner: u64,
    new: &NewRun,
    row: &JournalRow,
    change: &RowChange,
) -> Result<Vec<tokio_postgres::Row>> {
    let (token, number) = (new.token.to_be_bytes(), row.turn.to_be_bytes());
    let RowChange { status, wake_at, started_at, completed_at, stuck, error, refused_by: _ } = change;
    session
        .query(
            CREATE_ONE,
            args![
                INT8: owner.cast_signed(), TEXT: Text(&new.id), TEXT: Text(&new.workflow), TEXT: Text(&new.fingerprint),
                BYTEA: new.args_digest.as_slice(), BYTEA: token.as_slice(), INT8: new.created_at.cast_signed(),
                INT4: new.depth.cast_signed(), TEXT: new.required_deployment.as_deref().map(Text), TEXT: status.as_str(),
                INT8: wake_at.map(time), INT8: started_at.map(u64::cast_signed), INT8: completed_at.map(u64::cast_signed),
                TEXT: stuck.as_deref().map(Text),
                INT8: error.as_ref().and_then(|error| error.failing_since).map(u64::cast_signed),
                TEXT: error.as_ref().map(|error| Text(&error.class)), TEXT: error.as_ref().map(|error| Text(&error.text)),
                BYTEA: number.as_slice(), INT4: row.format.cast_signed(), INT4: row.checksum.cast_signed(),
                BYTEA: &*row.body,
            ],
        )
        .await
}

async fn create_all(
    session: &Session<'_>,
    owner: u64,
    runs: &[&NewRun],
    firsts: &[(JournalRow, RowChange)],
) -> Result<Vec<tokio_postgres::Row>> {
    let columns = Columns::of(runs);
    let rows = || firsts.iter().map(|(row, _)| row);
    let changes = || firsts.iter().map(|(_, change)| change);
    let statuses: Vec<&str> = changes().map(|change| change.status.as_str()).collect();
    let wakes: Vec<Option<i64>> = changes().map(|change| change.wake_at.map(time)).collect();
    let starts: Vec<Option<i64>> = changes().map(|change| change.started_at.map(u64::cast_signed)).collect();
    let ends: Vec<Option<i64>> = changes().map(|change| change.completed_at.map(u64::cast_signed)).collect();
    let stuck: Vec<Option<Text<'_>>> = changes().map(|change| change.stuck.as_deref().map(Text)).collect();
    let errors = Errors::of(changes().map(|change| change.error.as_ref()));
    let numbers: Vec<[u8; 16]> = rows().map(|row| row.turn.to_be_bytes()).collect();
    let numbers: Vec<&[u8]> = numbers.iter().map(<[u8; 16]>::as_slice).collect();
    let formats: Vec<i32> = rows().map(|row| row.format.cast_signed()).collect();
    let checksums: Vec<i32> = rows().map(|row| row.checksum.cast_signed()).collect();
    let bodies: Vec<&[u8]> = rows().map(|row| &*row.body).collect();
    session
        .query(
            CREATE,
            args![
                INT8: owner.cast_signed(), TEXT_ARRAY: columns.ids, TEXT_ARRAY: columns.workflows,
                TEXT_ARRAY: columns.fingerprints, BYTEA_ARRAY: columns.digests, BYTEA_ARRAY: columns.tokens(),
                INT8_ARRAY: columns.times, INT4_ARRAY: columns.depths, TEXT_ARRAY: columns.required, TEXT_ARRAY: statuses, INT8_ARRAY: wakes,
                INT8_ARRAY: starts, INT8_ARRAY: ends, TEXT_ARRAY: stuck, INT8_ARRAY: errors.failing_since, TEXT_ARRAY: errors.classes,
                TEXT_ARRAY: errors.texts, BYTEA_ARRAY: numbers, INT4_ARRAY: formats, INT4_ARRAY: checksums, BYTEA_ARRAY: bodies,
            ],
        )
        .await
}

/// Creates runs with different ids for any worker. With `notify`, the same statement notifies other processes.
pub(super) async fn start(session: &Session<'_>, ours: &Ours, runs: &[&NewRun], notify: bool) -> Result<Vec<Made>> {
    let mut started = try_to_start(session, ours, runs, notify).await?;
    for (new, made) in runs.iter().zip(&mut started) {
        // A run with this id existed, and has been removed since.
        while made.answer == CreateAnswer::Fenced {
            let Some(again) = try_to_start(session, ours, &[new], notify).await?.pop() else { break };
            *made = again;
        }
    }
    Ok(started)
}

async fn try_to_start(session: &Session<'_>, ours: &Ours, runs: &[&NewRun], notify: bool) -> Result<Vec<Made>> {
    let messages: Vec<&Message> = runs
        .iter()
        .filter_map(|new| match &new.first {
            First::Message(message) => Some(message),
            _ => None,
        })
        .collect();
    let columns = Columns::of(runs);
    let dedupes: Vec<Option<Text<'_>>> =
        messages.iter().map(|message| message.dedupe.as_ref().map(|dedupe| Text(&dedupe.key))).collect();
    let arrivals: Vec<i64> = messages.iter().map(|message| message.arrived_at.cast_signed()).collect();
    let formats: Vec<i32> = messages.iter().map(|message| message.format.cast_signed()).collect();
    let checksums: Vec<i32> = messages.iter().map(|message| message.checksum.cast_signed()).collect();
    let bodies: Vec<&[u8]> = messages.iter().map(|message| &*message.body).collect();
    let created = session
        .query(
            START,
            args![
                TEXT_ARRAY: columns.ids, TEXT_ARRAY: columns.workflows, TEXT_ARRAY: columns.fingerprints,
                BYTEA_ARRAY: columns.digests, BYTEA_ARRAY: columns.tokens(), INT8_ARRAY: columns.times,
                INT4_ARRAY: columns.depths, TEXT_ARRAY: columns.required, TEXT_ARRAY: dedupes, INT8_ARRAY: arrivals, INT4_ARRAY: formats, INT4_ARRAY: checksums,
                BYTEA_ARRAY: bodies, TEXT: session.db.options.schema, TEXT: &*ours.tag, BOOL: notify,
                INT4: schema::build(session.db),
            ],
        )
        .await?;
    outcomes(session, runs, &created).await
}

async fn outcomes(session: &Session<'_>, runs: &[&NewRun], created: &[tokio_postgres::Row]) -> Result<Vec<Made>> {
    let mut keys: HashMap<Arc<str>, RunKey> = HashMap::with_capacity(created.len());
    for row in created {
        keys.insert(text(row, 0)?, get(row, 1)?);
    }
    if keys.len() < runs.len() {
        schema::check_floor(session).await?;
    }
    let mut outcomes = Vec::with_capacity(runs.len());
    for new in runs {
        outcomes.push(match keys.get(&new.id) {
            Some(key) => Made { answer: CreateAnswer::Created(*key), new: true },
            None => Made { answer: not_created(session, new).await?, new: false },
        });
    }
    Ok(outcomes)
}

/// Creates a run that starts later or has a journal already, or begins a run that was created for later.
pub(super) async fn create_or_begin(work: &mut Work<'_, '_>, new: &NewRun) -> Result<Made> {
    let (session, token) = (work.session, new.token.to_be_bytes());
    let (id, fingerprint) = (Text(&new.id), Text(&new.fingerprint));
    let (digest, token) = (new.args_digest.as_slice(), token.as_slice());
    let required = new.required_deployment.as_deref().map(Text);
    let made = match &new.first {
        First::Later | First::Journal { .. } => {
            let created_at = new.created_at.cast_signed();
            let (status, wake_at, started_at) = match &new.first {
                First::Later => (Status::Pending, None, None),
                _ => (Status::Running, Some(0_i64), Some(created_at)),
            };
            session
                .query_opt(
                    CREATE_UNHELD,
                    args![
                        TEXT: id, TEXT: Text(&new.workflow), TEXT: fingerprint, BYTEA: digest, BYTEA: token,
                        INT8: created_at, INT4: new.depth.cast_signed(), TEXT: required, TEXT: status.as_str(),
                        INT8: wake_at, INT8: started_at,
                    ],
                )
                .await?
        }
        First::Begin(_) => {
            session
                .query_opt(BEGIN, args![TEXT: id, TEXT: fingerprint, BYTEA: digest, BYTEA: token, TEXT: required])
                .await?
        }
        _ => None,
    };
    let Some(made) = made else { return Ok(Made { answer: not_created(session, new).await?, new: false }) };
    let key = get(&made, 0)?;
    match &new.first {
        First::Begin(message) => work.receive(key, message, None).await?,
        First::Journal { rows, messages } => {
            append(session, key, 0, rows).await?;
            for message in messages {
                work.receive(key, message, None).await?;
            }
        }
        _ => {}
    }
    Ok(Made { answer: CreateAnswer::Created(key), new: true })
}

/// Appends the first rows of a journal of a generation.
pub(super) async fn append(session: &Session<'_>, run: RunKey, generation: u64, rows: &[JournalRow]) -> Result<()> {
    for rows in rows.chunks(ROWS_AT_ONCE) {
        let indexes: Vec<i64> = rows.iter().map(|row| row.index.cast_signed()).collect();
        let turns: Vec<[u8; 16]> = rows.iter().map(|row| row.turn.to_be_bytes()).collect();
        let turns: Vec<&[u8]> = turns.iter().map(<[u8; 16]>::as_slice).collect();
        let formats: Vec<i32> = rows.iter().map(|row| row.format.cast_signed()).collect();
        let checksums: Vec<i32> = rows.iter().map(|row| row.checksum.cast_signed()).collect();
        let bodies: Vec<&[u8]> = rows.iter().map(|row| &*row.body).collect();
        session
            .query(
                ROWS,
                args![
                    INT8: run, INT8: generation.cast_signed(), INT8_ARRAY: indexes, BYTEA_ARRAY: turns,
                    INT4_ARRAY: formats, INT4_ARRAY: checksums, BYTEA_ARRAY: bodies,
                ],
            )
            .await?;
    }
    Ok(())
}

/// Creates a run in place of a failed or cancelled one.
pub(super) async fn replace(work: &mut Work<'_, '_>, replace: &Replace) -> Result<Made> {
    let (Replace { run, most, new }, session) = (replace, work.session);
    let comes = match &new.first {
        First::Turn { owner, row, .. } => {
            row.index == 0 && session.query_opt(ALIVE, args![INT8: owner.cast_signed()]).await?.is_some()
        }
        First::Begin(_) => false,
        First::Message(_) | First::Later | First::Journal { .. } => true,
    };
    let goes = match comes {
        true => session.query_opt(CAN_BE_REPLACED, args![INT8: *run, TEXT: Text(&new.id)]).await?,
        false => None,
    };
    if let Some(goes) = goes {
        if get(&goes, 0)? {
            work.notes.awaited.insert(*run);
        }
        removal::remove(session, &[*run]).await?;
        removal::clear(session, &[*run], *most).await?;
    }
    let made = match &new.first {
        First::Turn { owner, row, .. } if row.index == 0 => {
            create(session, work.ours, *owner, &[new], false).await?.pop()
        }
        First::Message(_) => {
            let made = start(session, work.ours, &[new], false).await?.pop();
            work.notes.due |= made.as_ref().is_some_and(|made| made.new);
            made
        }
        _ => None,
    };
    match made {
        Some(made) => Ok(made),
        None => create_or_begin(work, new).await,
    }
}

async fn not_created(session: &Session<'_>, new: &NewRun) -> Result<CreateAnswer> {
    let there = session.query_opt(NOT_CREATED, args![TEXT: Text(&new.id)]).await?;
    let Some(there) = there else {
        return Ok(if matches!(new.first, First::Begin(_)) { CreateAnswer::Unknown } else { CreateAnswer::Fenced });
    };
    if read::id(&there, 1)? == new.token {
        return Ok(CreateAnswer::Created(get(&there, 0)?));
    }
    Ok(read::run_in(session, &new.id).await?.map_or(CreateAnswer::Fenced, |row| CreateAnswer::Exists(Box::new(row))))
}
