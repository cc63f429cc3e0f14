//! Records of deliveries, which outlive the runs that have received the payloads.
//!
//! The row of a delivery is written under the lock of the token that it was sent to: of two deliveries with one key, only
//! one is recorded.

use super::db::{Db, Session, Text, args};
use super::fault::{Fault, Result};
use super::read::time;
use super::read::{self, get, number};
use crate::error::Error;
use crate::store::tokens::Before;
use crate::store::{Deliver, DeliveryRow, Keep, NEVER, RunKey};

const RECORD: &str = "
INSERT INTO @deliveries (token, key, digest, at, until, keep, run) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (token, key) DO UPDATE SET digest = excluded.digest, at = excluded.at, until = excluded.until,
    keep = excluded.keep, run = excluded.run";

const BEFORE: &str = "
SELECT digest, at, until, EXISTS (
    SELECT 1 FROM @runs AS runs WHERE runs.key = deliveries.run AND status NOT IN @ended
) FROM @deliveries AS deliveries WHERE token = $1 AND key = $2";

const DELIVERED_TO: &str = "
UPDATE @deliveries SET run = $2, until = $3 + keep WHERE token = $1 AND key IN (
    SELECT held.key FROM @held AS held WHERE held.token = $1 AND held.key IS NOT NULL AND held.until >= $3
)";

/// Prolongs the expired records of deliveries to live runs, and deletes the others.
const CLEAN: &str = "
WITH late AS MATERIALIZED (
    SELECT token, key, EXISTS (
        SELECT 1 FROM @runs AS runs WHERE runs.key = deliveries.run AND status NOT IN @ended
    ) AS is_live FROM @deliveries AS deliveries WHERE until < $1 ORDER BY until LIMIT $2
), prolonged AS (
    UPDATE @deliveries AS deliveries SET until = $1 + keep FROM late
    WHERE deliveries.token = late.token AND deliveries.key = late.key AND is_live
), gone AS (
    DELETE FROM @deliveries AS deliveries USING late
    WHERE deliveries.token = late.token AND deliveries.key = late.key AND NOT is_live AND until < $1
)
SELECT count(*) FROM late";

const CLEAN_MESSAGES: &str = "
WITH late AS MATERIALIZED (
    SELECT run, key FROM @dedupe WHERE at < $1 ORDER BY at LIMIT $2
), gone AS (
    DELETE FROM @dedupe AS dedupe USING late WHERE dedupe.run = late.run AND dedupe.key = late.key
)
SELECT count(*) FROM late";

fn view(row: &tokio_postgres::Row) -> Result<Before> {
    let digest: &[u8] = get(row, 0)?;
    let digest = digest.try_into().map_err(|_| Fault::Damaged("the digest of a delivery is no SHA-256".to_owned()))?;
    Ok(Before { digest, at: number(row, 1)?, until: number(row, 2)?, is_live: get(row, 3)? })
}

pub(super) async fn before(session: &Session<'_>, token: &str, key: &str) -> Result<Option<Before>> {
    session.query_opt(BEFORE, args![TEXT: Text(token), TEXT: Text(key)]).await?.as_ref().map(view).transpose()
}

pub(super) async fn delivery(db: &Db, token: &str, key: &str, now: u64) -> Result<Option<DeliveryRow>, Error> {
    let found = db.rows("read a delivery", BEFORE, args![TEXT: Text(token), TEXT: Text(key)], view).await?;
    let known = found.into_iter().find(|before| before.is_known(now));
    Ok(known.map(|before| DeliveryRow { digest: before.digest, at: before.at }))
}

pub(super) async fn record(
    session: &Session<'_>,
    delivery: &Deliver,
    run: Option<RunKey>,
    held_until: Option<u64>,
) -> Result<()> {
    let at = delivery.now;
    let (keep, run, until) = match delivery.keep {
        Keep::FromDelivery(keep) => (keep, None, at.saturating_add(keep)),
        Keep::FromEnd(keep) => (keep, run, held_until.unwrap_or(at.saturating_add(keep))),
    };
    let keep = keep.min(NEVER >> 1).cast_signed();
    session
        .query(
            RECORD,
            args![
                TEXT: Text(delivery.scope()), TEXT: Text(&delivery.key), BYTEA: &delivery.digest[..], INT8: time(at),
                INT8: time(until), INT8: keep, INT8: run,
            ],
        )
        .await?;
    Ok(())
}

pub(super) async fn forget(session: &Session<'_>, token: &str, key: &str) -> Result<()> {
    let sql = "DELETE FROM @deliveries WHERE token = $1 AND key = $2";
    session.query(sql, args![TEXT: Text(token), TEXT: Text(key)]).await?;
    Ok(())
}

/// Records that a run has received the payloads held for a token.
pub(super) async fn delivered_to(session: &Session<'_>, token: &str, run: RunKey, now: u64) -> Result<()> {
    session.query(DELIVERED_TO, args![TEXT: Text(token), INT8: run, INT8: time(now)]).await?;
    Ok(())
}

/// Removes expired records of deliveries. Returns the number of rows examined.
pub(super) async fn clean(session: &Session<'_>, now: u64, most: usize) -> Result<usize> {
    count(session, CLEAN, now, most).await
}

/// Removes expired dedupe keys of inbox messages. Returns how many.
pub(super) async fn clean_messages(session: &Session<'_>, before: u64, most: usize) -> Result<usize> {
    count(session, CLEAN_MESSAGES, before, most).await
}

async fn count(session: &Session<'_>, sql: &'static str, time: u64, most: usize) -> Result<usize> {
    let late = session.query_opt(sql, args![INT8: super::read::time(time), INT8: read::rows(most)]).await?;
    let late = late.map_or(Ok(0), |row| number(&row, 0))?;
    Ok(usize::try_from(late).unwrap_or(usize::MAX))
}
