//! The schema.

use crate::store::migrations::{Migration, Migrations};

/// `PRAGMA application_id`: "WFLW". Distinguishes files of this library from those of other programs.
pub(super) const APPLICATION_ID: i32 = 0x5746_4C57;

/// `PRAGMA user_version`: identifies where the version of the tables is stored, which is `meta`. Pre-release builds used the
/// number 1, and refuse a file with another number.
pub(super) const LAYOUT: i32 = 2;

/// The `user_version` of pre-release builds.
pub(super) const PRE_RELEASE: i32 = 1;

/// The schema steps.
pub(super) const MIGRATIONS: Migrations = Migrations::new(&[
    Migration { sql: TABLES, is_additive: false },
    Migration { sql: SERVES, is_additive: true },
    Migration { sql: REFUSALS, is_additive: true },
    Migration { sql: COUNTS, is_additive: true },
]);

/// `serves` has the workflows and queues that a worker executes: workers of one deployment may serve different queues.
const SERVES: &str = "ALTER TABLE workers ADD COLUMN serves TEXT;";

/// - `runs_due`: the refusers of a run precede its time, too, so that a claim skips refused runs as one range. No column of
///   the index is `NULL` in a claim: a claim names each combination that it takes.
/// - `runs_pinned` has the unfinished runs that a deployment keeps from being forgotten.
/// - `runs_refused` has the runs that builds have refused. The next build may continue those that are stuck already.
const REFUSALS: &str = "
DROP INDEX runs_due;
CREATE INDEX runs_due ON runs (owner, workflow, coalesce(required_deployment, ''), coalesce(refused_by, ''), wake_at)
    WHERE wake_at IS NOT NULL;
CREATE INDEX runs_refused ON runs (refused_by, workflow, wake_at) WHERE refused_by IS NOT NULL;
DROP INDEX runs_pinned;
CREATE INDEX runs_pinned ON runs (required_deployment) WHERE required_deployment IS NOT NULL AND completed_at IS NULL;
ALTER TABLE catalogues ADD COLUMN promoted INTEGER NOT NULL DEFAULT 0;
UPDATE runs SET refused_by = 'a former version' WHERE status = 'stuck';
";

/// `counts` has how many runs were running, failing, waiting and stuck at a time of an hour, counted from 1970. An engine that
/// executes writes the rows of each hour once, and removes those of earlier days.
pub(super) const COUNTS: &str = "
CREATE TABLE counts (
    hour   INTEGER NOT NULL,
    figure TEXT    NOT NULL,
    runs   INTEGER NOT NULL,
    PRIMARY KEY (hour, figure)
) STRICT, WITHOUT ROWID;
";

/// Unsigned 64-bit numbers are stored as signed numbers with the same bits, 128-bit numbers as 16 bytes.
///
/// - `meta` has the executing engine, the [`Version`](crate::store::migrations::Version) of the tables, a random number of
///   the store, and a count that grows with the commits; the last two detect a file that replaced this one.
/// - `workers` has the engines that have the file open: the one that executes, and those that are ready to. `draining`: the one
///   that executes was asked to yield.
/// - The keys of `runs` are never reused: a write under the fence of a deleted run must not match another run.
///   `parent` is an id, which remains when the parent is deleted. `runs_ended` has the order in which runs expire.
/// - `runs_due` contains only runs that can become due, by owner: a claim never scans the live runs of the executing engine
///   or the parked runs. The workflow and the deployment that a run is pinned to precede the time in the index, so that
///   a claim skips due runs that the engine cannot execute, however many, as one range.
/// - A start and an end write to as few indexes as possible: partial indexes on columns that are `NULL` in most rows omit
///   these rows, and `runs_workflows` finds the runs of a status, with a range for each workflow.
/// - `first_generation` is the first generation whose journal is kept, and `first_event` the number of its first event, if
///   earlier generations were removed. `continuations` counts the continuations as new since that generation began; it is
///   `NULL` if there are none: `runs_continued` has the runs that keep more than one generation.
/// - `journal` is appended in the order of its positions, and a small index finds the rows of a run. Clustering it by run
///   would dirty a separate page for each run in a group.
/// - The sequences of `inbox` are never reused, so that a turn that is sent again cannot delete a newer message.
/// - `remains` has deleted runs with remaining rows, and existing runs whose journal rows of generations before `before` are
///   to be removed.
/// - `notices` can be claimed from `until` on; `holder` is the engine that has claimed one, or 0; `tries` counts claims.
/// - `limits`, `tickets`, `rates`, `debounces`, `schedules`, `ticks` and `asks` have no rows yet.
/// - `tokens` keeps closed tokens, to distinguish them from unknown tokens; `run` is `NULL` if payloads are `held` for a
///   run that does not exist yet. `asked` is the id of the suspension that waits for it, `step` the id of the step that
///   is suspended, if any.
/// - `deliveries` has the payloads that tokens have accepted. A record is kept until `until`, and while `run` has not ended;
///   after that end it is kept for `keep` milliseconds. `held` has the key of a delivery whose run does not exist yet.
/// - `dedupe` has the keys of messages, each with its time `at`; keys that last have the greatest possible time.
/// - `watchers` has the operations that wait for the end of another run.
/// - `streams` has the length of each stream, so that an append need not count; `closer` is `NULL` if the workflow has
///   closed it. `executions` contains only attempts that have written to a stream, once for each run with such streams: the
///   `target`, with which the rows are removed.
/// - `attributes` have the creation time of their run, which orders the runs that a query for attributes finds.
/// - `recovered_at` is the position of the last journal row when `recoveries` was last incremented.
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
CREATE INDEX inbox_messages ON inbox (run);

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
CREATE INDEX held_messages ON held (token);
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
