//! Leases, which decide who executes. Other workers measure a lease by the database's clock, its holder by a local clock
//! that also runs while the machine is suspended: to the others a suspended machine is late.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::db::{Session, Text, args};
use super::fault::{Fault, Result};
use super::notes::{FREE, Notes};
use super::notices;
use super::read::get;
use super::schema;
use super::shared::Shared;
use crate::boottime;
use crate::error::Error;
use crate::failpoint::hit;
use crate::host;
use crate::store::Ownership;

const REGISTER: &str = "
INSERT INTO @workers (owner, expires_at, round, host, pid)
VALUES ($1, now() + $2 * interval '1 millisecond', $3, $4, $5)
ON CONFLICT (owner) DO UPDATE SET expires_at = excluded.expires_at, round = excluded.round";

/// All that an idle worker writes. A worker that does not know the tables any more loses its lease. Also returns the number of other workers that are late, and the server's time.
const RENEW: &str = "
UPDATE @workers SET expires_at = now() + $2 * interval '1 millisecond' WHERE owner = $1 AND round < 9223372036854775807
    AND (SELECT readable_from FROM @meta) <= $3
RETURNING (SELECT count(*) FROM @workers WHERE expires_at < now() AND owner <> $1), clock_timestamp()";

/// Finds workers whose leases have expired. Skips a worker whose row a create or a claim has locked.
const LATE: &str = "SELECT owner FROM @workers WHERE expires_at < now() AND owner <> $1 FOR UPDATE SKIP LOCKED";

const LATE_WAITING: &str =
    "SELECT owner FROM @workers WHERE expires_at < now() AND owner <> $1 ORDER BY owner FOR UPDATE";

/// From then on, statements that these workers send have no effect.
const FENCE_LATE: &str = "UPDATE @workers SET round = 9223372036854775807 WHERE owner = ANY ($1)";

/// Deletes workers that no longer own a run that can become due.
const BURY: &str = "
DELETE FROM @workers AS workers WHERE owner = ANY ($1)
    AND NOT EXISTS (SELECT 1 FROM @runs AS runs WHERE runs.owner = workers.owner AND wake_at IS NOT NULL)
RETURNING owner";

const GIVE_UP: &str = "DELETE FROM @workers WHERE owner = $1 RETURNING owner";

/// Gives the runs to `$2`: the owner of the runs of dead workers, or no owner. A message that arrived after the worker last
/// looked has set `wake_at` to 0, and a later turn of the worker may have overwritten that.
macro_rules! adopt {
    ($lock:literal) => {
        concat!(
            "
WITH orphans AS MATERIALIZED (
    SELECT key FROM @runs WHERE owner = ANY ($1) AND wake_at IS NOT NULL ORDER BY key FOR NO KEY UPDATE",
            $lock,
            "
)
UPDATE @runs AS runs SET owner = $2, wake_at = CASE WHEN EXISTS (
    SELECT 1 FROM @inbox AS inbox WHERE inbox.run = runs.key AND NOT unread
) THEN 0 ELSE wake_at END
FROM orphans WHERE runs.key = orphans.key RETURNING runs.key"
        )
    };
}

const ADOPT_WAITING: &str = adopt!("");

/// Skips locked runs: the session that has locked them may not respond any more, and the other runs do not wait for it.
const ADOPT: &str = adopt!(" SKIP LOCKED");

/// The pauses before another attempt to take over what was locked.
const REAP_PAUSES: [Duration; 3] = [Duration::from_millis(20), Duration::from_millis(100), Duration::from_millis(300)];

/// A worker's lease, which is given up when it is dropped.
pub(super) struct Lease {
    shared: Arc<Shared>,
    owner: u64,
    lost: watch::Receiver<bool>,
    term: Arc<Term>,
    renewal: JoinHandle<()>,
    given_up: bool,
}

/// The time until which a lease is trusted, in milliseconds of the clock that counts suspends.
struct Term(AtomicU64);

impl Term {
    fn new(end: Duration) -> Self {
        let term = Term(AtomicU64::new(0));
        term.extend_to(end);
        term
    }

    fn extend_to(&self, end: Duration) {
        self.0.store(u64::try_from(end.as_millis()).unwrap_or(u64::MAX), Ordering::Release);
    }

    fn lasts(&self) -> bool {
        boottime::elapsed() < Duration::from_millis(self.0.load(Ordering::Acquire))
    }
}

/// When a request was sent, by the clock of timers and by the clock that counts suspends.
#[derive(Clone, Copy)]
struct Sent {
    at: Instant,
    elapsed: Duration,
}

impl Sent {
    fn now() -> Self {
        Sent { at: Instant::now(), elapsed: boottime::elapsed() }
    }
}

/// How long before its end a lease is no longer trusted.
fn margin(lease: Duration) -> Duration {
    lease / 10
}

/// Registers a worker, and takes over the runs of workers that are late.
pub(super) async fn acquire(shared: &Arc<Shared>, owner: u64) -> Result<Lease, Error> {
    shared.given_up().await;
    let explain = |fault| shared.db.explain(fault, "register this worker");
    let session = shared.db.connect_for_lease().await.map_err(explain)?;
    // Read before the request is sent: the database counts from a later moment.
    let sent = Sent::now();
    let registered = async {
        session.begin().await?;
        schema::check_floor(&session).await?;
        let (owner, lease) = (owner.cast_signed(), milliseconds(shared.db.options.lease));
        let (host, pid) = (host::name(), i64::from(std::process::id()));
        let host = host.as_deref().map(Text);
        let round = shared.verified.begin();
        session.query(REGISTER, args![INT8: owner, INT8: lease, INT8: round, TEXT: host, INT8: pid]).await?;
        reap(shared, &session, owner.cast_unsigned()).await?;
        hit("a worker is about to be registered");
        session.commit().await
    };
    if let Err(fault) = registered.await {
        session.spoil();
        shared.interrupted.store(true, Ordering::Release);
        return Err(explain(fault));
    }
    drop(session);
    shared.change_owners(|owners| _ = owners.insert(owner.cast_signed()));
    let (sender, lost) = watch::channel(false);
    let lease = shared.db.options.lease;
    let term = Arc::new(Term::new(sent.elapsed + lease - margin(lease)));
    let renewal = tokio::spawn(renew(shared.clone(), owner, sent, term.clone(), sender));
    Ok(Lease { shared: shared.clone(), owner, lost, term, renewal, given_up: false })
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX >> 16)
}

/// Takes over the runs of all workers that are late. Returns whether nothing is left to take over.
async fn reap(shared: &Shared, session: &Session<'_>, owner: u64) -> Result<bool> {
    let (late, adopt) = match shared.db.options.skip_locked {
        true => (LATE, ADOPT),
        false => (LATE_WAITING, ADOPT_WAITING),
    };
    let late = session.query(late, args![INT8: owner.cast_signed()]).await?;
    let late: Vec<i64> = late.iter().map(|row| get(row, 0)).collect::<Result<_>>()?;
    if late.is_empty() {
        return Ok(true);
    }
    tracing::warn!(workers = late.len(), "workers have not renewed their leases; their runs are taken over");
    session.query(FENCE_LATE, args![INT8_ARRAY: late]).await?;
    take_over(shared, session, adopt, &late).await?;
    Ok(session.query(BURY, args![INT8_ARRAY: late]).await?.len() == late.len())
}

/// After an interruption, late workers are not presumed dead: the database has kept all of them from renewing.
async fn take_over(shared: &Shared, session: &Session<'_>, adopt: &'static str, owners: &[i64]) -> Result<()> {
    notices::free_all(session, owners).await?;
    let holder = if shared.interrupted.load(Ordering::Acquire) { 0 } else { FREE };
    let adopted = session.query(adopt, args![INT8_ARRAY: owners, INT8: holder]).await?;
    if !adopted.is_empty() {
        let notes = Notes { due: true, ..Notes::default() };
        notes.send(session, &shared.tag, &[]).await?;
    }
    Ok(())
}

/// Renews a lease until it is lost.
async fn renew(shared: Arc<Shared>, owner: u64, sent: Sent, term: Arc<Term>, lost: watch::Sender<bool>) {
    let lease = shared.db.options.lease;
    let (margin, interval) = (margin(lease), lease / 3);
    let mut deadline = sent.at + lease - margin;
    let mut next = sent.at + interval;
    let mut reaping: Option<JoinHandle<()>> = None;
    loop {
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(deadline) => break,
            () = tokio::time::sleep_until(next) => {}
        }
        let (sent, renewed) = tokio::select! {
            biased;
            () = tokio::time::sleep_until(deadline) => break,
            renewed = renew_soon(&shared, owner, interval) => renewed,
        };
        match renewed {
            Ok(Some(late)) => {
                deadline = sent.at + lease - margin;
                term.extend_to(sent.elapsed + lease - margin);
                next = sent.at + interval;
                if late == 0 {
                    shared.interrupted.store(false, Ordering::Release);
                } else if reaping.as_ref().is_none_or(JoinHandle::is_finished) {
                    // Runs beside the renewals, however long it takes.
                    reaping = Some(tokio::spawn(see_to_the_late(shared.clone(), owner)));
                }
            }
            Ok(None) => break,
            Err(fault) => {
                tracing::warn!(?fault, "the lease of this worker could not be renewed; trying again");
                shared.interrupted.store(true, Ordering::Release);
                next = Instant::now() + lease / 20;
            }
        }
    }
    tracing::error!("the lease of this worker has expired; other workers continue its runs");
    lost.send_replace(true);
}

/// Renews the lease. If no answer arrives soon, also tries another connection: a dead connection must not cost the lease,
/// and a slow one must not be abandoned. Returns when the request was sent, and its result.
async fn renew_soon(shared: &Shared, owner: u64, soon: Duration) -> (Sent, Result<Option<i64>>) {
    let (sent, mut first) = (Sent::now(), std::pin::pin!(renew_once(shared, owner)));
    if let Ok(renewed) = tokio::time::timeout(soon, &mut first).await {
        return (sent, renewed);
    }
    tracing::warn!("the lease of this worker could not be renewed yet; trying again on another connection");
    let sent_again = Sent::now();
    let again = async {
        loop {
            match renew_once(shared, owner).await {
                Ok(renewed) => return renewed,
                Err(_) => tokio::time::sleep(soon / 5).await,
            }
        }
    };
    tokio::select! {
        biased;
        renewed = first => (sent, renewed),
        renewed = again => (sent_again, Ok(renewed)),
    }
}

/// Renews the lease. Returns how many other workers are late, or nothing if the lease is gone.
async fn renew_once(shared: &Shared, owner: u64) -> Result<Option<i64>> {
    let session = shared.db.connect_for_lease().await?;
    // Until the answer arrives: a renewal that is cancelled leaves its answer on the connection.
    session.spoil();
    let sent = boottime::elapsed();
    let lease = milliseconds(shared.db.options.lease);
    let (owner, build) = (owner.cast_signed(), schema::build(&shared.db));
    let row = session.query_opt(RENEW, args![INT8: owner, INT8: lease, INT4: build]).await?;
    let read = |row: &_| -> Result<(i64, SystemTime)> { Ok((get(row, 0)?, get(row, 1)?)) };
    let answer = row.as_ref().map(read).transpose()?;
    session.keep();
    Ok(answer.map(|(late, server)| {
        shared.db.clock.learn(sent, server);
        late
    }))
}

/// Takes over the runs of workers that are late. What was locked is tried again after short pauses, and then by the next
/// renewal.
async fn see_to_the_late(shared: Arc<Shared>, owner: u64) {
    for pause in REAP_PAUSES {
        let reaped = async {
            let session = shared.db.connect().await?;
            session.begin().await?;
            schema::check_floor(&session).await?;
            let all = reap(&shared, &session, owner).await?;
            session.commit().await?;
            Ok::<_, Fault>(all)
        };
        let reaped = reaped.await;
        shared.signals.changed();
        match reaped {
            Ok(true) => return,
            Ok(false) => tokio::time::sleep(pause).await,
            Err(fault) => return tracing::warn!(?fault, "late workers could not be seen to; trying again"),
        }
    }
}

async fn give_up(shared: Arc<Shared>, owner: u64) {
    let given_up = async {
        let session = shared.db.connect_for_lease().await?;
        session.begin().await?;
        schema::check_floor(&session).await?;
        if !session.query(GIVE_UP, args![INT8: owner.cast_signed()]).await?.is_empty() {
            take_over(&shared, &session, ADOPT_WAITING, &[owner.cast_signed()]).await?;
        }
        session.commit().await
    };
    let given_up = tokio::time::timeout(shared.db.options.lease, given_up).await;
    shared.change_owners(|owners| _ = owners.remove(&owner.cast_signed()));
    match given_up {
        Ok(Ok(())) => shared.signals.changed(),
        late => tracing::warn!(?late, "the lease of this worker could not be released; it expires"),
    }
}

impl Ownership for Lease {
    fn lost(&self) -> BoxFuture<'static, ()> {
        let mut lost = self.lost.clone();
        Box::pin(async move {
            if lost.wait_for(|lost| *lost).await.is_err() {
                std::future::pending().await
            }
        })
    }

    fn lasts(&self) -> bool {
        self.term.lasts() && !*self.lost.borrow()
    }

    fn give_up(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        self.given_up = true;
        self.renewal.abort();
        Box::pin(give_up(self.shared.clone(), self.owner))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewal.abort();
        // Without a runtime, at the end of a process, the lease expires.
        if !self.given_up
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let giving_up = runtime.spawn(give_up(self.shared.clone(), self.owner));
            self.shared.giving_up().push(giving_up);
        }
    }
}
