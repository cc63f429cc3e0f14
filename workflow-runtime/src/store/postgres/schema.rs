//! The version of the tables: creates and migrates them, and refuses those of other applications and newer builds.

use tokio_postgres::error::SqlState;

use super::db::{Db, Session, args};
use super::fault::{Fault, Result};
use super::tables::META;
use crate::environment::{Environment, System};
use crate::error::{Code, Error};
use crate::store::migrations::{Fit, Version, pre_release};

/// The application that has created the schema.
const APPLICATION: &str = "workflow-runtime";

/// How long a migration waits for locks that other processes hold.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '20s'";

/// Waits for the transactions that have checked the version of the tables, and makes later ones wait: see
/// [`check_floor`].
const EXCLUDE: &str = "LOCK TABLE @meta IN ACCESS EXCLUSIVE MODE";

/// Takes all runs from all workers, so that no worker writes to tables that it does not know. The current executions of
/// the runs must end before other workers execute these: the workers notice before their leases end. A worker that
/// registers meanwhile has its row locked here, or waits for the new floor: see [`check_floor`].
const FENCE_WORKERS: [&str; 3] = [
    "SELECT 1 FROM @workers ORDER BY owner FOR UPDATE",
    "UPDATE @workers SET round = 9223372036854775807",
    "UPDATE @runs AS runs SET owner = 0, wake_at = greatest(
        (extract(epoch FROM workers.expires_at) * 1000)::bigint,
        CASE WHEN EXISTS (SELECT 1 FROM @inbox AS inbox WHERE inbox.run = runs.key AND NOT unread) THEN 0 ELSE wake_at END
    ) FROM @workers AS workers WHERE runs.owner = workers.owner AND wake_at IS NOT NULL",
];

/// The most deadlocks of a migration with workers that continue meanwhile.
const DEADLOCKS_MAX: usize = 10;

/// Creates or migrates the tables, or checks that they are ours and not newer than this library. Reads before it
/// writes, so that the tables of another application do not change.
pub(super) async fn prepare(session: &Session<'_>, may_migrate: bool) -> Result<()> {
    let migrations = session.db.options.migrations;
    let there = version(session).await?;
    match migrations.fit(there) {
        Fit::Usable => return Ok(()),
        Fit::Newer => return Err(Fault::Error(migrations.newer(&session.db.place, there))),
        Fit::Additive | Fit::Breaking if !may_migrate => {
            return Err(Fault::Error(migrations.older(&session.db.place, there)));
        }
        Fit::Additive | Fit::Breaking => {}
    }
    let mut deadlocks = 0;
    loop {
        session.begin().await?;
        match migrate(session).await {
            Ok(()) => return session.commit().await,
            Err(fault) => {
                session.rollback().await;
                deadlocks += 1;
                if !fault.is_transient() || deadlocks > DEADLOCKS_MAX {
                    return Err(fault);
                }
            }
        }
    }
}

/// One process migrates at a time, in one transaction, so that a crash leaves no partial migration.
async fn migrate(session: &Session<'_>) -> Result<()> {
    let migrations = session.db.options.migrations;
    session.batch(LOCK_TIMEOUT).await?;
    let schema = session.db.options.schema.clone();
    session.query("SELECT pg_advisory_xact_lock(hashtext($1))", args![TEXT: format!("workflow {schema}")]).await?;
    let there = version(session).await?;
    let fit = migrations.fit(there);
    match fit {
        // Another process has migrated the tables meanwhile.
        Fit::Usable => return Ok(()),
        Fit::Newer => return Err(Fault::Error(migrations.newer(&session.db.place, there))),
        Fit::Additive | Fit::Breaking => {}
    }
    if there == Version::NONE {
        let namespace = session.query("SELECT 1 FROM pg_namespace WHERE nspname = $1", args![TEXT: schema]).await?;
        if namespace.is_empty() {
            session.batch(&format!("CREATE SCHEMA {}", session.db.schema)).await?;
        }
        session.batch(&session.db.with_schema(META)).await?;
        let mut store = [0; 16];
        System.fill(&mut store);
        let sql = "INSERT INTO @meta VALUES (true, $1, 0, 0, $2)";
        session.query(sql, args![TEXT: APPLICATION, BYTEA: store.as_slice()]).await?;
    }
    if fit == Fit::Breaking && there != Version::NONE {
        session.query(EXCLUDE, args![]).await?;
    }
    let Version { version, readable_from } = migrations.newest();
    // Before anything else: see `check_floor`.
    let sql = "UPDATE @meta SET version = $1, readable_from = greatest(readable_from, $2)";
    session.query(sql, args![INT4: version, INT4: readable_from]).await?;
    if fit == Fit::Breaking && there != Version::NONE {
        for sql in FENCE_WORKERS {
            session.query(sql, args![]).await?;
        }
    }
    for step in migrations.missing(there.version) {
        session.batch(&session.db.with_schema(step)).await?;
    }
    Ok(())
}

/// Checks that this build may still use the tables. A migration that excludes it waits for the end of this transaction,
/// or this transaction for the end of the migration: the read locks the table, see [`EXCLUDE`]. So a transaction that
/// begins with this check does not write to tables that it does not know.
///
/// A statement that is a transaction by itself has the condition `(SELECT readable_from FROM @meta) <= $n` for it, with
/// [`build`], and this check follows if it had no effect.
pub(super) async fn check_floor(session: &Session<'_>) -> Result<()> {
    let row = session.query_opt("SELECT version, readable_from FROM @meta", args![]).await?;
    let Some(row) = row else { return Err(Fault::Damaged("the table meta has no row".to_owned())) };
    let there = Version { version: row.try_get(0)?, readable_from: row.try_get(1)? };
    let migrations = session.db.options.migrations;
    match migrations.fit(there) {
        Fit::Newer => Err(Fault::Error(
            migrations.newer(&session.db.place, there).because("it was migrated while this process had it open"),
        )),
        Fit::Usable | Fit::Additive | Fit::Breaking => Ok(()),
    }
}

/// The version of the tables that this build knows.
pub(super) fn build(db: &Db) -> i32 {
    db.options.migrations.newest().version
}

/// The explanation of a fault if the reason is that a newer build has migrated the tables.
pub(super) async fn explained(db: &Db, fault: Fault) -> Fault {
    let missing = [
        &SqlState::UNDEFINED_TABLE,
        &SqlState::UNDEFINED_COLUMN,
        &SqlState::UNDEFINED_FUNCTION,
        &SqlState::DATATYPE_MISMATCH,
    ];
    if !fault.state().is_some_and(|state| missing.contains(&state)) {
        return fault;
    }
    let checked = async { check_floor(&db.connect().await?).await };
    match checked.await {
        Err(error @ Fault::Error(_)) => error,
        _ => fault,
    }
}

/// The version of the tables.
async fn version(session: &Session<'_>) -> Result<Version> {
    let schema = &session.db.options.schema;
    let rows = session
        .query(
            "SELECT c.relname::text, (SELECT count(*) FROM pg_attribute a WHERE a.attrelid = c.oid
                 AND a.attname IN ('singleton', 'application', 'version', 'readable_from')) = 4,
                 (SELECT count(*) FROM pg_attribute a WHERE a.attrelid = c.oid
                 AND a.attname IN ('only_row', 'application', 'version')) = 3
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f') ORDER BY c.relname = 'meta' DESC, 1 LIMIT 10",
            args![TEXT: schema],
        )
        .await?;
    let Some(first) = rows.first() else { return Ok(Version::NONE) };
    let is_meta = first.try_get::<_, &str>(0)? == "meta";
    let place = &session.db.place;
    if is_meta && first.try_get(1)? {
        let sql = "SELECT version, readable_from FROM @meta WHERE application = $1";
        if let Some(meta) = session.query_opt(sql, args![TEXT: APPLICATION]).await? {
            return Ok(Version { version: meta.try_get(0)?, readable_from: meta.try_get(1)? });
        }
    }
    if is_meta && first.try_get(2)? {
        let sql = "SELECT version FROM @meta WHERE application = $1";
        if let Some(meta) = session.query_opt(sql, args![TEXT: APPLICATION]).await? {
            let found = format!("tables of the pre-release version {}", meta.try_get::<_, i32>(0)?);
            return Err(Fault::Error(pre_release(place, found)));
        }
    }
    let tables: Vec<&str> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    Err(Fault::Error(
        Error::coded(Code::Store, format!("the schema belongs to something else in the database {place}"))
            .expected("no such schema, an empty one, or one that this library has made")
            .found(format!("tables: {}", tables.join(", ")))
            .help("name another schema with the parameter `schema` of the URL; nothing in this one was changed"),
    ))
}
