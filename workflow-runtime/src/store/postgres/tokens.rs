//! Tokens: who takes the payloads that are sent to them, and what is held until somebody does.
//!
//! A token's row is locked before anything is decided by it. One that is not there yet is inserted; if somebody was
//! faster, what that one has made of it is looked at again.

use std::sync::Arc;

use super::commit::Work;
use super::db::{Session, Text, args};
use super::fault::{Fault, Result};
use super::letters::is_known;
use super::read::{body, get, number, numbers, small, text, texts};
use super::time;
use crate::store::{About, Close, DeliverAnswer, Letter, NEVER, Open, RunKey, TokenLabel, TokenRow, TokenState};

const OWNER: &str = "SELECT run, op, state, once FROM @tokens WHERE token = $1 FOR UPDATE";

const INSERT: &str = "
INSERT INTO @tokens (token, run, op, type_name, metadata, once, state) VALUES ($1, $2, $3, $4, $5, $6, 'open')
ON CONFLICT DO NOTHING RETURNING token";

const REPLACE: &str = "
UPDATE @tokens SET run = $2, op = $3, type_name = $4, metadata = $5, once = $6, state = 'open' WHERE token = $1";

const TIE: &str = "UPDATE @runs SET tied = true WHERE key = $1 AND NOT tied";

const HOLD: &str = "
INSERT INTO @held (token, dedupe, arrived_at, format, checksum, body, until)
SELECT $1, $2, $3, $4, $5, $6, $7
WHERE $2 IS NULL OR NOT EXISTS (SELECT 1 FROM @held WHERE token = $1 AND dedupe = $2)";

const TOKEN: &str = "
SELECT (SELECT id FROM @runs WHERE key = tokens.run), op, type_name, metadata, once, state FROM @tokens AS tokens
WHERE token = $1";

const OPEN_TOKENS: &str = "
SELECT (SELECT id FROM @runs WHERE key = tokens.run), op, type_name, metadata, once, state, token FROM @tokens AS tokens
WHERE state = 'open' AND run IN (SELECT $1
    UNION ALL SELECT key FROM @runs WHERE parent = (SELECT id FROM @runs WHERE key = $1)) ORDER BY token";

/// What settles where a letter goes.
struct Owner {
    run: Option<RunKey>,
    op: Option<u64>,
    state: TokenState,
    once: bool,
}

fn state(row: &tokio_postgres::Row, column: usize) -> Result<TokenState> {
    let word: &str = get(row, column)?;
    TokenState::parse(word).ok_or_else(|| Fault::Damaged(format!("a token has the state {word:?}")))
}

async fn owner(session: &Session<'_>, token: &str) -> Result<Option<Owner>> {
    let row = session.query_opt(OWNER, args![TEXT: Text(token)]).await?;
    let owner = |row: &tokio_postgres::Row| {
        Ok(Owner { run: get(row, 0)?, op: numbers(row, 1)?, state: state(row, 2)?, once: get(row, 3)? })
    };
    row.as_ref().map(owner).transpose()
}

/// Makes it this run's, unless it is there: whether it was not.
async fn set(
    session: &Session<'_>,
    statement: &'static str,
    token: &str,
    run: Option<RunKey>,
    op: Option<u64>,
    label: &TokenLabel,
) -> Result<bool> {
    let (op, metadata) = (op.map(u64::cast_signed), label.metadata.as_deref().map(Text));
    Ok(!session
        .query(
            statement,
            args![
                TEXT: Text(token), INT8: run, INT8: op, TEXT: Text(&label.type_name), TEXT: metadata, BOOL: label.once,
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
        let there = loop {
            match owner(work.session, &open.token).await? {
                Some(there) => break Some(there),
                None if set(work.session, INSERT, &open.token, Some(run), open.op, &open.label).await? => break None,
                None => {}
            }
        };
        if let Some(there) = there {
            let taken = there.run.filter(|owner| *owner != run || there.op.is_some());
            if let Some(theirs) = taken.filter(|_| there.state == TokenState::Open) {
                if open.op.is_some() {
                    refuse(work, run, open, theirs).await?;
                }
                continue;
            }
            set(work.session, REPLACE, &open.token, Some(run), open.op, &open.label).await?;
        }
        let now = open.refusal.arrived_at;
        match open.op {
            Some(op) => {
                let given = hand_over(work, &open.token, run, Some(&About::Operation(op)), now).await?;
                if given > 0 && open.label.once {
                    dispose(work.session, &open.token).await?;
                }
            }
            // They have come to their run, and wait for it as long as it takes.
            None => {
                let sql = "UPDATE @held SET until = $2 WHERE token = $1 AND until >= $3";
                let (token, never) = (Text(&open.token), NEVER.cast_signed());
                work.session.query(sql, args![TEXT: token, INT8: never, INT8: time(now)]).await?;
            }
        }
    }
    Ok(())
}

async fn refuse(work: &mut Work<'_, '_>, run: RunKey, open: &Open, theirs: RunKey) -> Result<()> {
    let row = work.session.query_opt("SELECT id FROM @runs WHERE key = $1", args![INT8: theirs]).await?;
    let about = row.map(|row| text(&row, 0)).transpose()?.map(About::Owner);
    work.receive(run, &open.refusal, about.as_ref()).await
}

async fn dispose(session: &Session<'_>, token: &str) -> Result<()> {
    session.query("UPDATE @tokens SET state = 'disposed' WHERE token = $1", args![TEXT: Text(token)]).await?;
    Ok(())
}

/// Puts what is held for a token into a run's inbox: how many letters.
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
            "SELECT dedupe, arrived_at, format, checksum, body, until FROM @held WHERE token = $1 ORDER BY sequence",
            args![TEXT: Text(token)],
        )
        .await?;
    if held.is_empty() {
        return Ok(0);
    }
    let mut given = 0;
    work.session.query("DELETE FROM @held WHERE token = $1", args![TEXT: Text(token)]).await?;
    for row in held {
        let letter = Letter {
            dedupe: texts(&row, 0)?.map(|key| key.to_string()),
            arrived_at: number(&row, 1)?,
            format: small(&row, 2)?,
            checksum: small(&row, 3)?,
            body: body(&row, 4)?,
        };
        if number(&row, 5)? >= now {
            work.receive(run, &letter, about).await?;
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

/// Their keys are known to the run already.
const HAND_ON: &str = "
WITH taken AS (
    DELETE FROM @inbox WHERE run = $2 AND about = $3 AND NOT unread
        AND generation = (SELECT generation FROM @runs WHERE key = $2)
    RETURNING sequence, arrived_at, format, checksum, body
)
INSERT INTO @held (token, arrived_at, format, checksum, body, until)
SELECT $1, arrived_at, format, checksum, body, $4 FROM taken ORDER BY sequence";

/// Takes the operations from a run's open tokens; what came for these and was not taken is held.
pub(super) async fn hand_on(session: &Session<'_>, run: RunKey, payloads: &[(Arc<str>, Letter)]) -> Result<()> {
    let sql =
        "SELECT token, op FROM @tokens WHERE run = $1 AND state = 'open' AND op IS NOT NULL ORDER BY token FOR UPDATE";
    for row in session.query(sql, args![INT8: run]).await? {
        let (token, op) = (text(&row, 0)?, number(&row, 1)?);
        for (_, letter) in payloads.iter().filter(|(sent_to, _)| *sent_to == token) {
            hold(session, &token, letter, NEVER, 0).await?;
        }
        let about = About::Operation(op).to_text();
        session
            .query(HAND_ON, args![TEXT: Text(&token), INT8: run, TEXT: Text(&about), INT8: NEVER.cast_signed()])
            .await?;
        session.query("UPDATE @tokens SET op = NULL WHERE token = $1", args![TEXT: Text(&token)]).await?;
    }
    Ok(())
}

/// Ends the tokens of a run that has ended. What was held for it is its own, unread.
pub(super) async fn end(work: &mut Work<'_, '_>, run: RunKey) -> Result<()> {
    let open = work
        .session
        .query(
            "UPDATE @tokens SET state = 'finished' WHERE run = $1 AND state = 'open' RETURNING token",
            args![INT8: run],
        )
        .await?;
    for row in open {
        hand_over(work, &text(&row, 0)?, run, None, 0).await?;
    }
    Ok(())
}

pub(super) async fn deliver(
    work: &mut Work<'_, '_>,
    token: &str,
    letter: &Letter,
    hold_until: Option<u64>,
    now: u64,
) -> Result<DeliverAnswer> {
    let there = loop {
        let there = owner(work.session, token).await?;
        match &there {
            Some(Owner { state: TokenState::Open, run: Some(run), op, once }) => {
                match op {
                    Some(op) => work.receive(*run, letter, Some(&About::Operation(*op))).await?,
                    None if is_known(work.session, *run, letter).await? => return Ok(DeliverAnswer::Committed),
                    None => hold(work.session, token, letter, NEVER, now).await?,
                }
                if *once {
                    dispose(work.session, token).await?;
                }
                return Ok(DeliverAnswer::Committed);
            }
            Some(Owner { state: TokenState::Disposed, run: Some(run), once: true, .. }) => {
                let known = is_known(work.session, *run, letter).await? || is_held(work.session, token, letter).await?;
                return Ok(if known { DeliverAnswer::Committed } else { DeliverAnswer::Disposed });
            }
            Some(Owner { state: TokenState::Disposed, .. }) if hold_until.is_none() => {
                return Ok(DeliverAnswer::Disposed);
            }
            Some(Owner { state: TokenState::Finished, .. }) if hold_until.is_none() => {
                return Ok(DeliverAnswer::Finished);
            }
            None if hold_until.is_some() => {
                if set(work.session, INSERT, token, None, None, &TokenLabel::default()).await? {
                    break None;
                }
            }
            _ => break there,
        }
    };
    let Some(until) = hold_until else { return Ok(DeliverAnswer::Unknown) };
    if there.is_some_and(|there| there.state != TokenState::Open) {
        set(work.session, REPLACE, token, None, None, &TokenLabel::default()).await?;
    }
    hold(work.session, token, letter, until, now).await?;
    Ok(DeliverAnswer::Committed)
}

async fn is_held(session: &Session<'_>, token: &str, letter: &Letter) -> Result<bool> {
    let Some(key) = letter.dedupe.as_deref() else { return Ok(false) };
    let sql = "SELECT 1 FROM @held WHERE token = $1 AND dedupe = $2";
    Ok(session.query_opt(sql, args![TEXT: Text(token), TEXT: Text(key)]).await?.is_some())
}

/// Removes payloads that were held until now, and the tokens that nobody has any more: how many rows, about. Who has locked
/// a token may be about to hold something for it.
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

/// Keeps a letter, unless one with its key is kept already.
async fn hold(session: &Session<'_>, token: &str, letter: &Letter, until: u64, now: u64) -> Result<()> {
    session
        .query("DELETE FROM @held WHERE token = $1 AND until < $2", args![TEXT: Text(token), INT8: time(now)])
        .await?;
    let dedupe = letter.dedupe.as_deref().map(Text);
    session.query(HOLD, args![
        TEXT: Text(token), TEXT: dedupe, INT8: letter.arrived_at.cast_signed(), INT4: letter.format.cast_signed(),
        INT4: letter.checksum.cast_signed(), BYTEA: &*letter.body, INT8: time(until),
    ]).await?;
    Ok(())
}

pub(super) async fn token(db: &super::db::Db, token: &str) -> Result<Option<TokenRow>, crate::error::Error> {
    let rows = db.rows("read a token", TOKEN, args![TEXT: Text(token)], view).await;
    Ok(rows?.pop())
}

fn view(row: &tokio_postgres::Row) -> Result<TokenRow> {
    let label = TokenLabel { type_name: text(row, 2)?, metadata: texts(row, 3)?, once: get(row, 4)? };
    Ok(TokenRow { run: texts(row, 0)?, op: numbers(row, 1)?, label, state: state(row, 5)? })
}

pub(super) async fn open_tokens(
    db: &super::db::Db,
    run: RunKey,
) -> Result<Vec<(Arc<str>, TokenRow)>, crate::error::Error> {
    db.rows("read the tokens of a run", OPEN_TOKENS, args![INT8: run], |row| Ok((text(row, 6)?, view(row)?))).await
}
