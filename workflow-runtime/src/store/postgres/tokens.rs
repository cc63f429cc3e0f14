//! Tokens: the runs that take the payloads sent to them, and the payloads that are held until a run takes them.
//!
//! Every decision about a token is made under the lock of its row. A missing row is inserted; if another transaction has
//! inserted it first, the decision is made again with that row.

use std::sync::Arc;

use super::db::{Session, Text, args};
use super::deliveries;
use super::fault::{Fault, Result};
use super::read::time;
use super::read::{body, get, number, numbers, small, text, texts};
use super::work::Work;
use crate::store::tokens::{self, Decision, Found, Opening};
use crate::store::{
    About, Asked, Close, Continuation, Deliver, DeliverAnswer, Keep, Message, NEVER, Open, RunKey, TokenLabel,
    TokenRow, TokenState,
};

const FOUND: &str = "
SELECT run, (SELECT status IN @ended FROM @runs AS runs WHERE runs.key = tokens.run),
    op, state, once, asked
FROM @tokens AS tokens WHERE token = $1";

const LOCK: &str = "SELECT 1 FROM @tokens WHERE token = $1 FOR UPDATE";

const INSERT: &str = "
INSERT INTO @tokens (token, run, op, type_name, metadata, once, asked, step, state)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'open')
ON CONFLICT DO NOTHING RETURNING token";

const REPLACE: &str = "
UPDATE @tokens SET run = $2, op = $3, type_name = $4, metadata = $5, once = $6, asked = $7, step = $8, state = 'open'
WHERE token = $1 RETURNING token";

const TIE: &str = "UPDATE @runs SET tied = true WHERE key = $1 AND NOT tied";

const HOLD: &str = "
INSERT INTO @held (token, key, arrived_at, format, checksum, body, until) VALUES ($1, $2, $3, $4, $5, $6, $7)";

const TOKEN: &str = "
SELECT (SELECT id FROM @runs WHERE key = tokens.run), op, type_name, metadata, once, state, asked, step
FROM @tokens AS tokens WHERE token = $1";

/// The open tokens of a run and of its unfinished descendants. If a few runs have very many children, the planner expects as many of
/// each run, and would read all of them. `OFFSET 0` keeps each join a look-up, and for `BETWEEN` with an unknown value the
/// planner expects a 200th of the rows (`DEFAULT_RANGE_INEQ_SEL` in PostgreSQL's `selfuncs.h`), and uses the index.
const OPEN_TOKENS: &str = "
WITH RECURSIVE tree (key, id) AS (
    SELECT key, id FROM @runs AS runs WHERE key = $1
    UNION SELECT child.key, child.id FROM tree CROSS JOIN LATERAL (
        SELECT key, id FROM @runs AS runs
        WHERE runs.parent BETWEEN tree.id AND tree.id AND runs.status NOT IN @ended OFFSET 0
    ) AS child
)
SELECT tree.id, op, type_name, metadata, once, state, asked, step, token
FROM tree CROSS JOIN LATERAL (
    SELECT * FROM @tokens AS tokens WHERE tokens.run = tree.key AND tokens.state = 'open' OFFSET 0
) AS tokens ORDER BY token";

fn state(row: &tokio_postgres::Row, column: usize) -> Result<TokenState> {
    let word: &str = get(row, column)?;
    TokenState::parse(word).ok_or_else(|| Fault::Damaged(format!("a token has the state {word:?}")))
}

/// Locks a token. Returns whether it exists.
async fn lock(session: &Session<'_>, token: &str) -> Result<bool> {
    Ok(session.query_opt(LOCK, args![TEXT: Text(token)]).await?.is_some())
}

/// Reads a token's row. The caller must lock the row before, by another statement: a statement that has waited for the lock
/// sees everything but the locked row as it was before.
async fn found(session: &Session<'_>, token: &str) -> Result<Option<Found>> {
    let row = session.query_opt(FOUND, args![TEXT: Text(token)]).await?;
    let found = |row: &tokio_postgres::Row| {
        Ok(Found {
            run: get(row, 0)?,
            ended: get(row, 1)?,
            op: numbers(row, 2)?,
            state: state(row, 3)?,
            once: get(row, 4)?,
            asked: texts(row, 5)?,
        })
    };
    row.as_ref().map(found).transpose()
}

/// Writes a token's row with `statement`. Returns whether it did: an insert does nothing if the row exists.
async fn set(
    session: &Session<'_>,
    statement: &'static str,
    token: &str,
    run: Option<RunKey>,
    op: Option<u64>,
    label: &TokenLabel,
) -> Result<bool> {
    let (op, metadata) = (op.map(u64::cast_signed), label.metadata.as_deref().map(Text));
    let asked = label.asked.as_ref().map(|asked| Text(&asked.id));
    let step = label.asked.as_ref().and_then(|asked| asked.step.as_deref()).map(Text);
    Ok(!session
        .query(
            statement,
            args![
                TEXT: Text(token), INT8: run, INT8: op, TEXT: Text(&label.type_name), TEXT: metadata, BOOL: label.once,
                TEXT: asked, TEXT: step,
            ],
        )
        .await?
        .is_empty())
}

pub(super) async fn open(work: &mut Work<'_, '_>, run: RunKey, opens: &[Open]) -> Result<()> {
    if opens.is_empty() {
        return Ok(());
    }
    work.session.query(TIE, args![INT8: run]).await?;
    for open in opens {
        // Tries the insert first: most tokens are new.
        let there = loop {
            if set(work.session, INSERT, &open.token, Some(run), open.op, &open.label).await? {
                break None;
            }
            if lock(work.session, &open.token).await? {
                break found(work.session, &open.token).await?;
            }
        };
        match tokens::open(run, open, there.as_ref()) {
            Opening::Left => {}
            Opening::Refused(owner) => refuse(work, run, open, owner).await?,
            Opening::Opened { again } => {
                if let (true, Some(scope), Some(asked)) = (again, &open.scope, &open.label.asked) {
                    deliveries::forget(work.session, scope, &asked.id).await?;
                }
                if there.is_some() {
                    set(work.session, REPLACE, &open.token, Some(run), open.op, &open.label).await?;
                    take(work, run, open).await?;
                }
            }
        }
    }
    Ok(())
}

/// Gives a run the payloads that were held for a token before the run opened it.
async fn take(work: &mut Work<'_, '_>, run: RunKey, open: &Open) -> Result<()> {
    let (token, now) = (&*open.token, open.refusal.arrived_at);
    let sql = "SELECT 1 FROM @held WHERE token = $1 LIMIT 1";
    if work.session.query_opt(sql, args![TEXT: Text(token)]).await?.is_none() {
        return Ok(());
    }
    deliveries::delivered_to(work.session, token, run, now).await?;
    if let Some(op) = open.op {
        let given = hand_over(work, token, run, Some(&About::Operation(op)), now).await?;
        if given > 0 && open.label.once {
            taken(work.session, token).await?;
        }
        return Ok(());
    }
    // The payloads now belong to the run, and are kept for it without a time limit.
    let sql = "UPDATE @held SET until = $2, key = NULL WHERE token = $1 AND until >= $3";
    work.session.query(sql, args![TEXT: Text(token), INT8: NEVER.cast_signed(), INT8: time(now)]).await?;
    Ok(())
}

async fn refuse(work: &mut Work<'_, '_>, run: RunKey, open: &Open, theirs: RunKey) -> Result<()> {
    let row = work.session.query_opt("SELECT id FROM @runs WHERE key = $1", args![INT8: theirs]).await?;
    let about = row.map(|row| text(&row, 0)).transpose()?.map(About::Owner);
    work.receive(run, &open.refusal, about.as_ref()).await
}

async fn taken(session: &Session<'_>, token: &str) -> Result<()> {
    session.query("UPDATE @tokens SET state = 'taken' WHERE token = $1", args![TEXT: Text(token)]).await?;
    Ok(())
}

/// Moves the payloads that are held for a token into a run's inbox. Returns the number of messages.
async fn hand_over(
    work: &mut Work<'_, '_>,
    token: &str,
    run: RunKey,
    about: Option<&About>,
    now: u64,
) -> Result<usize> {
    let held = work
        .session
        .query(
            "SELECT arrived_at, format, checksum, body, until FROM @held WHERE token = $1 ORDER BY sequence",
            args![TEXT: Text(token)],
        )
        .await?;
    if held.is_empty() {
        return Ok(0);
    }
    let mut given = 0;
    work.session.query("DELETE FROM @held WHERE token = $1", args![TEXT: Text(token)]).await?;
    for row in held {
        let message = Message {
            dedupe: None,
            arrived_at: number(&row, 0)?,
            format: small(&row, 1)?,
            checksum: small(&row, 2)?,
            body: body(&row, 3)?,
        };
        if number(&row, 4)? >= now {
            work.receive(run, &message, about).await?;
            given += 1;
        }
    }
    Ok(given)
}

pub(super) async fn close(session: &Session<'_>, run: RunKey, closes: &[Close]) -> Result<()> {
    let tokens: Vec<Text<'_>> = closes.iter().map(|close| Text(&close.token)).collect();
    let ops: Vec<i64> = closes.iter().map(|close| close.op.cast_signed()).collect();
    if !closes.is_empty() {
        session
            .query(
                "UPDATE @tokens AS tokens SET state = 'disposed' FROM unnest($2, $3) AS closed (token, op)
                 WHERE tokens.token = closed.token AND tokens.run = $1 AND tokens.op = closed.op AND state = 'open'",
                args![INT8: run, TEXT_ARRAY: tokens, INT8_ARRAY: ops],
            )
            .await?;
    }
    Ok(())
}

const HAND_ON: &str = "
WITH taken AS (
    DELETE FROM @inbox WHERE run = $2 AND about = ANY ($3) AND (NOT unread OR about <> $5)
        AND generation = (SELECT generation FROM @runs WHERE key = $2)
    RETURNING sequence, arrived_at, format, checksum, body
)
INSERT INTO @held (token, arrived_at, format, checksum, body, until)
SELECT $1, arrived_at, format, checksum, body, $4 FROM taken ORDER BY sequence";

const FORWARD: &str = "
UPDATE @inbox AS inbox SET about = t.onto, generation = inbox.generation + 1, unread = false
FROM unnest($2, $3) AS t (about, onto)
WHERE run = $1 AND inbox.about = t.about AND generation = (SELECT generation FROM @runs WHERE key = $1)";

/// Closes the suspensions of a run, and detaches the operations from its other open tokens. Holds the payloads that these
/// operations have not taken.
pub(super) async fn hand_on(session: &Session<'_>, run: RunKey, continuation: &Continuation) -> Result<()> {
    let sql = "SELECT token, op, once FROM @tokens WHERE run = $1 AND state = 'open' AND op IS NOT NULL ORDER BY token FOR UPDATE";
    for row in session.query(sql, args![INT8: run]).await? {
        let (token, op) = (text(&row, 0)?, number(&row, 1)?);
        if get(&row, 2)? {
            let sql = "UPDATE @tokens SET state = 'disposed' WHERE token = $1";
            session.query(sql, args![TEXT: Text(&token)]).await?;
            continue;
        }
        for (_, message) in continuation.payloads.iter().filter(|(sent_to, _)| *sent_to == token) {
            hold(session, &token, message, NEVER, 0, None).await?;
        }
        let (ops, own) = (continuation.ops(&token, op).into_iter(), About::Operation(op).to_text());
        let abouts: Vec<String> = ops.map(|op| About::Operation(op).to_text()).collect();
        let abouts: Vec<Text<'_>> = abouts.iter().map(|about| Text(about)).collect();
        session
            .query(
                HAND_ON,
                args![TEXT: Text(&token), INT8: run, TEXT_ARRAY: abouts, INT8: NEVER.cast_signed(), TEXT: Text(&own)],
            )
            .await?;
        session.query("UPDATE @tokens SET op = NULL WHERE token = $1", args![TEXT: Text(&token)]).await?;
    }
    if !continuation.forwards.is_empty() {
        let text = |op: u64| About::Operation(op).to_text();
        let (from, to): (Vec<String>, Vec<String>) =
            continuation.forwards.iter().map(|forward| (text(forward.op), text(forward.to))).unzip();
        let from: Vec<Text<'_>> = from.iter().map(|about| Text(about)).collect();
        let to: Vec<Text<'_>> = to.iter().map(|about| Text(about)).collect();
        session.query(FORWARD, args![INT8: run, TEXT_ARRAY: from, TEXT_ARRAY: to]).await?;
    }
    Ok(())
}

/// Deliveries that the run has received stay known for their `keep` time from now on.
const END: &str = "
WITH known AS (
    UPDATE @deliveries SET until = greatest(at, $2) + keep WHERE run = $1
)
UPDATE @tokens SET state = 'finished' WHERE run = $1 AND state = 'open' RETURNING token";

/// Ends the tokens of a run that has ended. Moves the payloads that are held for them into its inbox, unread.
pub(super) async fn end(work: &mut Work<'_, '_>, run: RunKey, at: u64) -> Result<()> {
    for row in work.session.query(END, args![INT8: run, INT8: time(at)]).await? {
        let token = text(&row, 0)?;
        hand_over(work, &token, run, Some(&About::Token(token.clone())), 0).await?;
    }
    Ok(())
}

pub(super) async fn deliver(work: &mut Work<'_, '_>, delivery: &Deliver) -> Result<DeliverAnswer> {
    let Deliver { token, message, key, keep, now, .. } = delivery;
    let (there, decision) = loop {
        // Under the token's lock: another delivery with the same key is recorded already, or is decided later.
        let session = work.session;
        let locked = lock(session, token).await?;
        let (there, before) =
            tokio::join!(biased; found(session, token), deliveries::before(session, delivery.scope(), key));
        let (there, before) = (there?.filter(|_| locked), before?);
        let decision = tokens::decide(delivery, there.as_ref(), before.as_ref());
        if !locked
            && matches!(decision, Decision::Hold { .. })
            && !set(session, INSERT, token, None, None, &TokenLabel::default()).await?
        {
            continue;
        }
        break (there, decision);
    };
    match decision {
        Decision::Answer(outcome) => return Ok(outcome),
        Decision::Deliver { run, op, takes } => {
            if takes {
                taken(work.session, token).await?;
            }
            let record = deliveries::record(work.session, delivery, Some(run), None);
            let about = About::Operation(op);
            let (recorded, received) = tokio::join!(biased; record, work.receive(run, message, Some(&about)));
            recorded.and(received)?;
        }
        Decision::Keep { run, takes } => {
            deliveries::record(work.session, delivery, Some(run), None).await?;
            if takes {
                taken(work.session, token).await?;
            }
            hold(work.session, token, message, NEVER, *now, None).await?;
        }
        Decision::Hold { until } => {
            if there.is_some_and(|there| there.run.is_some()) {
                set(work.session, REPLACE, token, None, None, &TokenLabel::default()).await?;
            }
            deliveries::record(work.session, delivery, None, Some(until)).await?;
            let follows = matches!(keep, Keep::FromEnd(_)).then_some(&**key);
            hold(work.session, token, message, until, *now, follows).await?;
        }
    }
    Ok(DeliverAnswer::Committed)
}

/// Removes held payloads that have expired, and tokens without a run that hold nothing. Returns the approximate number of
/// rows. Locks these tokens first: a transaction that has locked one may be adding a payload to it.
pub(super) async fn let_go(session: &Session<'_>, now: u64, most: usize) -> Result<usize> {
    let late = session
        .query(
            "DELETE FROM @held WHERE sequence IN (SELECT sequence FROM @held WHERE until < $1 ORDER BY until LIMIT $2)
             RETURNING token",
            args![INT8: time(now), INT8: super::read::rows(most)],
        )
        .await?;
    if late.is_empty() {
        return Ok(0);
    }
    let tokens: Vec<Arc<str>> = late.iter().map(|row| text(row, 0)).collect::<Result<_>>()?;
    let tokens: Vec<Text<'_>> = tokens.iter().map(|token| Text(token)).collect();
    session
        .query(
            "SELECT 1 FROM @tokens WHERE token = ANY ($1) AND run IS NULL ORDER BY token FOR UPDATE",
            args![TEXT_ARRAY: tokens],
        )
        .await?;
    session
        .query(
            "DELETE FROM @tokens AS tokens WHERE token = ANY ($1) AND run IS NULL
             AND NOT EXISTS (SELECT 1 FROM @held AS held WHERE held.token = tokens.token)",
            args![TEXT_ARRAY: tokens],
        )
        .await?;
    Ok(late.len())
}

/// Holds a message; with the key of its delivery, if the delivery is known for as long as the run that receives it.
async fn hold(
    session: &Session<'_>,
    token: &str,
    message: &Message,
    until: u64,
    now: u64,
    key: Option<&str>,
) -> Result<()> {
    session
        .query("DELETE FROM @held WHERE token = $1 AND until < $2", args![TEXT: Text(token), INT8: time(now)])
        .await?;
    session.query(HOLD, args![
        TEXT: Text(token), TEXT: key.map(Text), INT8: message.arrived_at.cast_signed(), INT4: message.format.cast_signed(),
        INT4: message.checksum.cast_signed(), BYTEA: &*message.body, INT8: time(until),
    ]).await?;
    Ok(())
}

pub(super) async fn token(db: &super::db::Db, token: &str) -> Result<Option<TokenRow>, crate::error::Error> {
    let rows = db.rows("read a token", TOKEN, args![TEXT: Text(token)], view).await;
    Ok(rows?.pop())
}

fn view(row: &tokio_postgres::Row) -> Result<TokenRow> {
    let step = texts(row, 7)?;
    let asked = texts(row, 6)?.map(|id| Asked { id, step });
    let label = TokenLabel { type_name: text(row, 2)?, metadata: texts(row, 3)?, once: get(row, 4)?, asked };
    Ok(TokenRow { run: texts(row, 0)?, op: numbers(row, 1)?, label, state: state(row, 5)? })
}

pub(super) async fn open_tokens(
    db: &super::db::Db,
    run: RunKey,
) -> Result<Vec<(Arc<str>, TokenRow)>, crate::error::Error> {
    db.rows("read the tokens of a run", OPEN_TOKENS, args![INT8: run], |row| Ok((text(row, 8)?, view(row)?))).await
}
