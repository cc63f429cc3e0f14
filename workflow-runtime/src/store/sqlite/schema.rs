//! The tables.

use crate::store::migrations::{Migration, Migrations};

/// `PRAGMA application_id`: "WFLW". Tells our files from those of other programs.
pub(super) const APPLICATION_ID: i32 = 0x5746_4C57;

/// `PRAGMA user_version`: where the version of the tables is. It is in `meta`. Pre-release builds had the number 1, and
/// refuse a file that has another one.
pub(super) const LAYOUT: i32 = 2;

/// That of the files of pre-release builds.
pub(super) const PRE_RELEASE: i32 = 1;

/// How the tables came to be what they are.
pub(super) const MIGRATIONS: Migrations = Migrations::new(&[Migration { sql: TABLES, is_additive: false }]);

/// Unsigned 64-bit numbers are stored as the signed number of the same bits, 128-bit ones as 16 bytes.
///
/// - `meta` has who executes, what the tables are ([`Version`](crate::store::migrations::Version)), a random number of the
///   store, and a count that grows with the commits, by which a file is recognised that was put in the place of this one.
/// - `workers` has the processes that have the file open: the engine that executes.
/// - The keys of `runs` are never used twice: a write under the fence of a run that was deleted must not find another one.
///   `parent` is an id, which stays when that run is deleted. `runs_ended` has the order in which runs go that are not kept.
/// - `runs_due` holds only runs that can become due, by holder: what is live in the executing engine, and what is parked
///   for later, is never walked through by a claim. The workflow and the deployment that a run is pinned to come before the
///   time so that due runs that an engine cannot take, however many, are stepped over as a whole.
/// - A start and an end write to as few indexes as possible: those on columns that are empty in most rows leave these rows
///   out, and runs of one status are found by `runs_workflows`, a range for each workflow.
/// - `first_generation` is the first generation whose journal is kept, and `first_event` the number of its first event, where
///   those of earlier generations were removed. `continuations` counts how often the run has continued as new since that
///   generation began, if it has: `runs_continued` has the runs that keep more generations than one.
/// - `journal` is appended in the order of its positions, and a small index finds the rows of a run. Clustering it by run
///   would dirty a page of its own for each run in a group.
/// - The sequences of `inbox` are never used twice, so that a turn which is sent again cannot delete a newer letter.
/// - `remains` has deleted runs that have left rows; and runs that are there, of which the rows of the journals of generations
///   before `before` are to be removed.
/// - `notices` are free from `until` on; `holder` is the engine that has claimed one, 0 if nobody has, and `tries` counts the claims.
/// - `limits`, `tickets`, `rates`, `debounces`, `schedules`, `ticks` and `asks` have no rows yet.
/// - `tokens` keeps what was disposed of, so that it can be told from what never was; `run` is empty where payloads are
///   `held` for a run that is not there yet. `asked` is the id of the suspension that waits for it, of the step `step` if it
///   is a step's.
/// - `deliveries` knows what tokens have accepted until `until`, and for as long as `run` has not ended; from the end of
///   that it is known for `keep` milliseconds. `held` has the key of a delivery whose run is not there yet.
/// - `dedupe` has the keys of letters, each from the time `at` on; those that last are from the end of all times.
/// - `watchers` has the operations of other runs that wait for the end of a run.
/// - `streams` knows how long each is, so that an append need not count; `closer` is empty where the workflow has closed
///   it. `executions` holds those attempts only that have written to a stream, once for each run that has such streams: its
///   `target`, with which they go.
/// - `attributes` know when their run was created, which is the order in which it is found by them.
/// - `recovered_at` is the position of the last journal row when `recoveries` was last raised.
pub(super) const TABLES: &str = "
CREATE TABLE meta (
    only_row      INTEGER PRIMARY KEY CHECK (only_row = 1),
    owner         INTEGER NOT NULL,
    version       INTEGER NOT NULL,
    readable_from INTEGER NOT NULL,
    store         BLOB    NOT NULL,
    commits       INTEGER NOT NULL
) STRICT;
INSERT INTO meta VALUES (1, 0, 0, 0, randomblob(16), 0);

CREATE TABLE workers (
    owner      INTEGER PRIMARY KEY,
    kind       TEXT    NOT NULL,
    deployment TEXT,
    host       TEXT,
    pid        INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    draining   INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE catalogues (
    deployment   TEXT    NOT NULL PRIMARY KEY,
    digest       BLOB    NOT NULL,
    body         BLOB,
    published_at INTEGER NOT NULL,
    activated_at INTEGER,
    draining     INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE runs (
    key          INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT    NOT NULL UNIQUE,
    workflow     TEXT    NOT NULL,
    fingerprint  TEXT    NOT NULL,
    args_digest  BLOB    NOT NULL,
    parent       TEXT,
    token        BLOB    NOT NULL,
    generation   INTEGER NOT NULL,
    status       TEXT    NOT NULL,
    owner        INTEGER NOT NULL,
    epoch        INTEGER NOT NULL,
    wake_at      INTEGER,
    inbox_seq    INTEGER NOT NULL,
    recoveries   INTEGER NOT NULL,
    recovered_at INTEGER,
    created_at   INTEGER NOT NULL,
    started_at   INTEGER,
    completed_at INTEGER,
    stuck        TEXT,
    deployment          TEXT,
    required_deployment TEXT,
    refused_by          TEXT,
    depth               INTEGER NOT NULL DEFAULT 0,
    priority            INTEGER NOT NULL DEFAULT 0,
    failing_since       INTEGER,
    error_class         TEXT,
    error_text          TEXT,
    first_event         INTEGER,
    first_generation    INTEGER,
    continuations       INTEGER
) STRICT;
CREATE INDEX runs_due ON runs (owner, workflow, required_deployment, wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX runs_workflows ON runs (workflow, status, created_at);
CREATE INDEX runs_stuck ON runs (status) WHERE status = 'stuck';
CREATE INDEX runs_failing ON runs (failing_since) WHERE failing_since IS NOT NULL;
CREATE INDEX runs_pinned ON runs (required_deployment) WHERE required_deployment IS NOT NULL AND wake_at IS NOT NULL;
CREATE INDEX runs_children ON runs (parent, created_at) WHERE parent IS NOT NULL;
CREATE INDEX runs_continued ON runs (continuations) WHERE continuations IS NOT NULL;
CREATE INDEX runs_ended ON runs (status, completed_at) WHERE completed_at IS NOT NULL;

CREATE TABLE journal (
    position   INTEGER PRIMARY KEY,
    run        INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    idx        INTEGER NOT NULL,
    turn       BLOB    NOT NULL,
    format     INTEGER NOT NULL,
    checksum   INTEGER NOT NULL,
    body       BLOB    NOT NULL
) STRICT;
CREATE UNIQUE INDEX journal_rows ON journal (run, generation, idx);

CREATE TABLE inbox (
    sequence   INTEGER PRIMARY KEY AUTOINCREMENT,
    run        INTEGER NOT NULL,
    arrived_at INTEGER NOT NULL,
    format     INTEGER NOT NULL,
    checksum   INTEGER NOT NULL,
    body       BLOB    NOT NULL,
    unread     INTEGER NOT NULL DEFAULT 0,
    generation INTEGER NOT NULL,
    about      TEXT
) STRICT;
CREATE INDEX inbox_letters ON inbox (run);

CREATE TABLE tokens (
    token     TEXT    NOT NULL PRIMARY KEY,
    run       INTEGER,
    op        INTEGER,
    type_name TEXT    NOT NULL,
    metadata  TEXT,
    once      INTEGER NOT NULL,
    asked     TEXT,
    step      TEXT,
    state     TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX tokens_runs ON tokens (run, state);

CREATE TABLE held (
    sequence   INTEGER PRIMARY KEY,
    token      TEXT    NOT NULL,
    key        TEXT,
    arrived_at INTEGER NOT NULL,
    format     INTEGER NOT NULL,
    checksum   INTEGER NOT NULL,
    body       BLOB    NOT NULL,
    until      INTEGER NOT NULL
) STRICT;
CREATE INDEX held_letters ON held (token);
CREATE INDEX held_until ON held (until);

CREATE TABLE watchers (
    run        INTEGER NOT NULL,
    watcher    INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    op         INTEGER NOT NULL,
    PRIMARY KEY (run, watcher, generation, op)
) STRICT, WITHOUT ROWID;
CREATE INDEX watchers_watching ON watchers (watcher);

CREATE TABLE notices (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    run      INTEGER NOT NULL,
    status   TEXT    NOT NULL,
    holder   INTEGER NOT NULL,
    until    INTEGER NOT NULL,
    tries    INTEGER NOT NULL
) STRICT;
CREATE INDEX notices_statuses ON notices (status, until, sequence);
CREATE INDEX notices_held ON notices (holder) WHERE holder <> 0;
CREATE INDEX notices_runs ON notices (run);

CREATE TABLE states (
    run   INTEGER PRIMARY KEY,
    state TEXT    NOT NULL
) STRICT;

CREATE TABLE attributes (
    run        INTEGER NOT NULL,
    key        TEXT    NOT NULL,
    value      TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (run, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX attributes_found ON attributes (key, value, created_at, run);

CREATE TABLE dedupe (
    run INTEGER NOT NULL,
    key TEXT    NOT NULL,
    at  INTEGER NOT NULL,
    PRIMARY KEY (run, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX dedupe_at ON dedupe (at);

CREATE TABLE deliveries (
    token  TEXT    NOT NULL,
    key    TEXT    NOT NULL,
    digest BLOB    NOT NULL,
    at     INTEGER NOT NULL,
    until  INTEGER NOT NULL,
    keep   INTEGER NOT NULL,
    run    INTEGER,
    PRIMARY KEY (token, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX deliveries_until ON deliveries (until);
CREATE INDEX deliveries_runs ON deliveries (run) WHERE run IS NOT NULL;

CREATE TABLE streams (
    key    INTEGER PRIMARY KEY,
    run    INTEGER NOT NULL,
    name   TEXT    NOT NULL,
    length INTEGER NOT NULL,
    closed INTEGER NOT NULL DEFAULT 0,
    closer INTEGER
) STRICT;
CREATE UNIQUE INDEX streams_names ON streams (run, name);

CREATE TABLE executions (
    key        INTEGER PRIMARY KEY,
    run        INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    op         INTEGER NOT NULL,
    attempt    INTEGER NOT NULL,
    epoch      INTEGER NOT NULL,
    target     INTEGER NOT NULL,
    step       TEXT    NOT NULL,
    succeeded  INTEGER
) STRICT;
CREATE UNIQUE INDEX executions_attempts ON executions (run, generation, op, attempt, epoch, target);
CREATE INDEX executions_targets ON executions (target);

CREATE TABLE chunks (
    position INTEGER PRIMARY KEY,
    stream   INTEGER NOT NULL,
    idx      INTEGER NOT NULL,
    id       BLOB    NOT NULL,
    writer   INTEGER,
    value    TEXT    NOT NULL
) STRICT;
CREATE UNIQUE INDEX chunks_rows ON chunks (stream, idx);
CREATE UNIQUE INDEX chunks_ids ON chunks (stream, id);

CREATE TABLE remains (
    run    INTEGER PRIMARY KEY,
    before INTEGER
) STRICT;

CREATE TABLE limits (
    name       TEXT    NOT NULL PRIMARY KEY,
    declared   TEXT    NOT NULL,
    deployment TEXT,
    overridden TEXT,
    paused     INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE tickets (
    sequence   INTEGER PRIMARY KEY AUTOINCREMENT,
    limited_by TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    run        INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    op         INTEGER,
    priority   INTEGER NOT NULL DEFAULT 0,
    state      TEXT    NOT NULL,
    holder     INTEGER,
    epoch      INTEGER,
    at         INTEGER NOT NULL,
    until      INTEGER
) STRICT;
CREATE INDEX tickets_keys ON tickets (limited_by, key, state, priority, sequence);
CREATE INDEX tickets_runs ON tickets (run);

CREATE TABLE rates (
    limited_by TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    stamps     BLOB    NOT NULL,
    last       INTEGER NOT NULL,
    PRIMARY KEY (limited_by, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE debounces (
    workflow TEXT    NOT NULL,
    key      TEXT    NOT NULL,
    run      INTEGER NOT NULL,
    first_at INTEGER NOT NULL,
    due_at   INTEGER NOT NULL,
    PRIMARY KEY (workflow, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX debounces_runs ON debounces (run);

CREATE TABLE schedules (
    id         TEXT    NOT NULL PRIMARY KEY,
    workflow   TEXT    NOT NULL,
    declared   TEXT    NOT NULL,
    deployment TEXT,
    overridden TEXT,
    args       TEXT,
    next_at    INTEGER,
    paused     INTEGER NOT NULL DEFAULT 0,
    started    INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX schedules_due ON schedules (next_at) WHERE next_at IS NOT NULL;

CREATE TABLE ticks (
    schedule TEXT    NOT NULL,
    planned  INTEGER NOT NULL,
    state    TEXT    NOT NULL,
    run      TEXT,
    at       INTEGER NOT NULL,
    missed   INTEGER,
    PRIMARY KEY (schedule, planned)
) STRICT, WITHOUT ROWID;

CREATE TABLE asks (
    run    INTEGER NOT NULL,
    name   TEXT    NOT NULL,
    key    TEXT    NOT NULL,
    digest BLOB    NOT NULL,
    at     INTEGER NOT NULL,
    state  TEXT    NOT NULL,
    reply  TEXT,
    until  INTEGER,
    PRIMARY KEY (run, name, key)
) STRICT, WITHOUT ROWID;
";
