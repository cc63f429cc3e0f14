//! Who executes: leases, by the database's clock to others, and to their holders by one that counts suspends: to the others a
//! machine that sleeps is late.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Shared;
use super::db::{Session, Text, args};
use super::fault::{Fault, Result};
use super::notes::{FREE, Notes};
use super::notices;
use super::read::get;
use super::schema;
use crate::boottime;
use crate::error::Error;
use crate::failpoint::hit;
use crate::host;
use crate::store::Ownership;

const REGISTER: &str = "
INSERT INTO @workers (owner, expires_at, round, host, pid)
VALUES ($1, now() + $2 * interval '1 millisecond', $3, $4, $5)
ON CONFLICT (owner) DO UPDATE SET expires_at = excluded.expires_at, round = excluded.round";

/// All that an idle worker writes. How many others are late, and the time, are told by the way.
const RENEW: &str = "
UPDATE @workers SET expires_at = now() + $2 * interval '1 millisecond' WHERE owner = $1 AND round < 9223372036854775807
RETURNING (SELECT count(*) FROM @workers WHERE expires_at < now() AND owner <> $1), clock_timestamp()";

/// The workers that are late. One under whose right something is being created or claimed comes later.
const LATE: &str = "SELECT owner FROM @workers WHERE expires_at < now() AND owner <> $1 FOR UPDATE SKIP LOCKED";

const LATE_WAITING: &str =
    "SELECT owner FROM @workers WHERE expires_at < now() AND owner <> $1 ORDER BY owner FOR UPDATE";

/// Whatever they send does nothing from then on.
const CONDEMN: &str = "UPDATE @workers SET round = 9223372036854775807 WHERE owner = ANY ($1)";

/// They are gone when nothing is theirs any more.
const BURY: &str = "
DELETE FROM @workers AS workers WHERE owner = ANY ($1)
    AND NOT EXISTS (SELECT 1 FROM @runs AS runs WHERE runs.owner = workers.owner AND wake_at IS NOT NULL)
RETURNING owner";

const GIVE_UP: &str = "DELETE FROM @workers WHERE owner = $1 RETURNING owner";

/// The runs become those of a worker that died, or of nobody. Letters that came after it last looked have pulled `wake_at` forward, and
/// its own later turns may have put it back.
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

/// Without those that somebody has locked, who may have fallen silent: the others do not wait for it.
const ADOPT: &str = adopt!(" SKIP LOCKED");

/// After which it is looked again for what was locked.
const REAP_PAUSES: [Duration; 3] = [Duration::from_millis(20), Duration::from_millis(100), Duration::from_millis(300)];

/// A worker's lease, until it is dropped.
pub(super) struct Lease {
    shared: Arc<Shared>,
    owner: u64,
    lost: watch::Receiver<bool>,
    term: Arc<Term>,
    renewal: JoinHandle<()>,
    given_up: bool,
}

/// Until when a lease is trusted: in milliseconds of the clock that counts suspends.
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

/// When something was sent, by the clock that timers go by and by the one that counts suspends.
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

/// How long before its end a lease is not trusted any more.
fn margin(lease: Duration) -> Duration {
    lease / 10
}

/// Registers a worker, and takes the runs of those that are late from them.
pub(super) async fn acquire(shared: &Arc<Shared>, owner: u64) -> Result<Lease, Error> {
    shared.given_up().await;
    let explain = |fault| shared.db.explain(fault, "register this worker");
    let session = shared.db.connect_for_lease().await.map_err(explain)?;
    // Before it is sent: the database counts from later on.
    let sent = Sent::now();
    let registered = async {
        session.begin().await?;
        schema::check_floor(&session).await?;
        let (owner, lease) = (owner.cast_signed(), milliseconds(shared.db.options.lease));
        let (host, pid) = (host::name(), i64::from(std::process::id()));
        let host = host.as_deref().map(Text);
        let round = shared.standing.begin();
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

/// Whether all is taken over from all that are late.
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
    session.query(CONDEMN, args![INT8_ARRAY: late]).await?;
    take_over(shared, session, adopt, &late).await?;
    Ok(session.query(BURY, args![INT8_ARRAY: late]).await?.len() == late.len())
}

/// Who was interrupted as well does not take others for dead that are late: the database has kept them all from renewing.
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
                    // Beside the renewals, however long it takes.
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
    tracing::error!("the lease of this worker is over; what it was executing is left to others");
    lost.send_replace(true);
}

/// Renews the lease, and if that is not answered soon, once more on another connection: one that has fallen silent must not
/// cost it, and one that is merely slow must not be given up. When it was sent, and what came of it.
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

/// How many other workers are late, if the lease is still there.
async fn renew_once(shared: &Shared, owner: u64) -> Result<Option<i64>> {
    let session = shared.db.connect_for_lease().await?;
    // A renewal that is given up leaves its answer under way.
    session.spoil();
    let sent = boottime::elapsed();
    let row =
        session.query_opt(RENEW, args![INT8: owner.cast_signed(), INT8: milliseconds(shared.db.options.lease)]).await?;
    let read = |row: &_| -> Result<(i64, SystemTime)> { Ok((get(row, 0)?, get(row, 1)?)) };
    let answer = row.as_ref().map(read).transpose()?;
    session.keep();
    Ok(answer.map(|(late, server)| {
        shared.db.clock.learn(sent, server);
        late
    }))
}

/// Takes the runs of workers that are late from them. What was locked for a moment is looked for again at once, and else
/// by the next renewal.
async fn see_to_the_late(shared: Arc<Shared>, owner: u64) {
    for pause in REAP_PAUSES {
        let reaped = async {
            let session = shared.db.connect().await?;
            session.begin().await?;
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
        if !session.query(GIVE_UP, args![INT8: owner.cast_signed()]).await?.is_empty() {
            take_over(&shared, &session, ADOPT_WAITING, &[owner.cast_signed()]).await?;
        }
        session.commit().await
    };
    let given_up = tokio::time::timeout(shared.db.options.lease, given_up).await;
    shared.change_owners(|owners| _ = owners.remove(&owner.cast_signed()));
    match given_up {
        Ok(Ok(())) => shared.signals.changed(),
        late => tracing::warn!(?late, "the lease of this worker could not be given up; it ends by itself"),
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
        // Without a runtime, at the end of a process, the lease ends by itself.
        if !self.given_up
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let giving_up = runtime.spawn(give_up(self.shared.clone(), self.owner));
            self.shared.giving_up().push(giving_up);
        }
    }
}
