//! Every limit of the engine, with its unit in its name. Passing one is an error with a code of its own, never a slow death.

use std::time::Duration;

/// Bytes of one encoded payload: the arguments of a run, the arguments or the result of a step.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 64 << 20;
/// Bytes of a run id or of the name given to a step call.
pub(crate) const NAME_BYTES_MAX: usize = 512;
/// Bytes of the key and the value of an attribute.
pub(crate) const ATTRIBUTE_BYTES_MAX: usize = 512;
/// Attributes of one run.
pub(crate) const ATTRIBUTES_MAX: usize = 64;
/// For how many ends of runs an engine calls callbacks at the same time.
pub(crate) const NOTICES_CONCURRENT: usize = 16;
/// How long nobody else can claim a notice of an end, in milliseconds.
pub(crate) const NOTICE_CLAIM_MS: u64 = 60_000;
/// How long the callbacks for one end may take together: what is left of the claim is for the store.
pub(crate) const CALLBACKS_TIMEOUT: Duration = Duration::from_secs(45);
/// The delays before the callbacks for an end are called again that have failed: the first, which is doubled each time, and
/// the longest.
pub(crate) const NOTICE_RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));
/// How often an engine that has callbacks looks for notices that another one has left.
pub(crate) const NOTICES_INTERVAL: Duration = Duration::from_secs(2);
/// After how long a notice is dropped that nobody claims, in milliseconds.
pub(crate) const NOTICE_KEPT_MS: u64 = 7 * 24 * 3_600_000;
/// Runs of a page, unless it is asked for otherwise and at the most.
pub(crate) const PAGE_RUNS: usize = 100;
pub(crate) const PAGE_RUNS_MAX: usize = 1_000;
/// How often an engine looks for what is not kept any longer, about.
pub(crate) const CLEANING_INTERVAL: Duration = Duration::from_secs(60);
/// Runs that go in one transaction, and how much of what they leave.
pub(crate) const CLEANING_RUNS: usize = 100;
/// How long the others have the store for themselves between two such transactions.
pub(crate) const CLEANING_PAUSE: Duration = Duration::from_millis(20);
/// How long what is sent again after a doubt is recognised, be it a payload without a key or a letter.
pub(crate) const RESEND_KEYS_KEPT: Duration = Duration::from_secs(3_600);
/// How long a delivery with a key is known after the run's end, unless the builder says otherwise.
pub(crate) const DELIVERIES_KEPT: Duration = Duration::from_secs(7 * 24 * 3_600);
/// How often who waits for something of a run that may be deleted before it begins looks whether it is there.
pub(crate) const UNSTARTED_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Operations of one run that may be outstanding (steps not finished, timers not due) at the same time.
pub(crate) const OUTSTANDING_MAX: usize = 100_000;
/// Branches of one run (its `spawn`s) that may be alive at the same time.
pub(crate) const BRANCHES_MAX: usize = 10_000;
/// Runs that a retry lets go on in one write: the run and what has failed below it.
pub(crate) const RETRY_RUNS_MAX: usize = 1_000;
/// How often a retry looks at the children of a run that others retry or delete meanwhile.
pub(crate) const RETRY_LOOKS_MAX: usize = 16;
/// Children of children: runs of which each waits for the next one.
pub(crate) const DEPTH_MAX: u32 = 10_000;
/// Polls of a run's branches after one event; more means that two branches wake one another forever.
pub(crate) const POLLS_PER_EVENT_MAX: usize = 1_000_000;
/// Events delivered in one turn; the rest waits for the next one, so that one commit stays small.
pub(crate) const EVENTS_PER_TURN_MAX: usize = 1_024;
/// Bytes of results delivered in one turn, after which the rest waits for the next one.
pub(crate) const TURN_RESULTS_BYTES: usize = PAYLOAD_BYTES_MAX;
/// Bytes of one journal row. SQLite takes up to 1 GB.
pub(crate) const ROW_BYTES_MAX: usize = 512 << 20;
/// Writes in one group commit.
pub(crate) const WRITES_PER_GROUP_MAX: usize = 4_096;
/// Payload bytes after which a group takes no further write; a write that is larger is a group of its own.
pub(crate) const GROUP_BYTES_MAX: usize = 16 << 20;
/// Payload bytes that starts, deliveries, chunks, forks and retries may have queued in front of the store, as far as they are
/// not committed. More of them wait. A write that is larger waits until it is alone. Turns, releases, cancels and claims
/// do not wait: they are what makes the queue shorter.
pub(crate) const QUEUE_BYTES_MAX: usize = 64 << 20;
/// Groups that a store which does not block is given at once, and how many writes one beside another has at the least. On
/// PostgreSQL with 1,000 runs and two cores three groups, or a minimum of 64 or 128, were some hundredths slower: the groups
/// become small, and each costs a statement and a commit.
pub(crate) const GROUPS_AT_ONCE: usize = 2;
pub(crate) const GROUP_BESIDE_MIN: usize = 256;
/// Refusals in a row after which what is left of a group is not halved any more. To come from the largest group to a single
/// write takes twelve.
pub(crate) const REFUSALS_IN_A_ROW_MAX: u32 = 16;
/// Journal rows read at once by a replay, at the most and for a start.
pub(crate) const JOURNAL_PAGE_ROWS: usize = 1_024;
pub(crate) const JOURNAL_FIRST_PAGE_ROWS: usize = 32;
/// Bytes of journal rows that a replay means to read at once, judged by the rows before.
pub(crate) const JOURNAL_PAGE_BYTES: usize = 4 << 20;
/// Bytes of one encoded chunk of a stream.
pub(crate) const CHUNK_BYTES_MAX: usize = 1 << 20;
/// Chunks of one stream.
pub(crate) const STREAM_CHUNKS_MAX: u64 = 10_000_000;
/// Chunks of a stream read at once, and the bytes after which a store gives no further one.
pub(crate) const CHUNK_PAGE_ROWS: usize = 256;
pub(crate) const CHUNK_PAGE_BYTES: usize = 4 << 20;
/// Bytes of the body of a request to a webhook, unless the routes are set otherwise.
#[cfg(feature = "http")]
pub(crate) const WEBHOOK_BODY_BYTES: usize = 1 << 20;
/// How long the body of a request to a webhook may take to arrive, unless the routes are set otherwise.
#[cfg(feature = "http")]
pub(crate) const WEBHOOK_BODY_WAIT: Duration = Duration::from_secs(30);
/// How long a request waits for an answer that a step gives, unless the routes are set otherwise.
#[cfg(feature = "http")]
pub(crate) const WEBHOOK_ANSWER_WAIT: Duration = Duration::from_secs(30);
/// How often a stream of events that has nothing to tell says that it is there.
#[cfg(feature = "http")]
pub(crate) const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// Runs claimed in one transaction.
pub(crate) const CLAIM_RUNS: usize = 256;
/// How long before its time a run is claimed, so that it is in memory again by then.
pub(crate) const CLAIM_AHEAD: Duration = Duration::from_millis(50);
/// Runs that are being loaded and replayed at the same time, but for those that take long.
pub(crate) const REPLAYS_CONCURRENT: usize = 16;
/// After what time a replay is one that takes long, and how many of those leave their place to others.
pub(crate) const REPLAY_IS_LONG_AFTER: Duration = Duration::from_millis(100);
pub(crate) const REPLAYS_LONG: usize = 256;
/// Attempts of async steps that run at the same time in one engine, unless the builder says otherwise.
pub(crate) const STEPS_CONCURRENT: usize = 1_024;
/// Attempts of blocking steps that run at the same time in one engine, unless the builder says otherwise.
pub(crate) const BLOCKING_STEPS_CONCURRENT: usize = 64;
/// Recoveries of a run without a commit between them, after which it is stuck, unless the builder says otherwise.
pub(crate) const RECOVERIES_MAX: u32 = 5;
/// How long a run waits in memory, unless the builder says otherwise.
pub(crate) const EVICT_AFTER: Duration = Duration::from_secs(60);
/// Events of a run after which it is told that its journal is long, unless the builder says otherwise.
pub(crate) const LONG_AFTER: u64 = 10_000;
/// Attempts of a step after the first, unless the step says otherwise.
pub(crate) const RETRIES: u32 = 3;
/// The shortest and the longest upper bound of the delay before a retry, unless the step says otherwise.
pub(crate) const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));
/// How long a graceful shutdown waits for attempts that are running.
pub(crate) const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);
/// How long a graceful shutdown waits for attempts that it has stopped.
pub(crate) const ABORT_GRACE: Duration = Duration::from_secs(1);
/// How long a writer waits for a lock on the database file that another program holds.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How large a write-ahead log stays that a long transaction or a slow reader has made larger.
pub(crate) const WAL_BYTES_KEPT: i64 = 16 << 20;
/// How often the count of a file's commits is raised: see `store::sqlite::identity`.
pub(crate) const COUNT_INTERVAL: Duration = Duration::from_millis(100);
/// How many free pages a file may have that does not get smaller, beside a quarter of all.
pub(crate) const FREE_PAGES_KEPT: i64 = 1024;
/// How many free pages are given back to the file system with one cleaning.
pub(crate) const FREE_PAGES_PER_CLEANING: i64 = 256;
/// How often an embedded store looks whether another process has written.
pub(crate) const WATCH_INTERVAL: Duration = Duration::from_millis(20);
/// How often an engine that does not execute asks for the right to.
pub(crate) const OWNERSHIP_INTERVAL: Duration = Duration::from_millis(100);
/// And how seldom at the most, while the store does not answer.
pub(crate) const OWNERSHIP_RETRY_INTERVAL_MAX: Duration = Duration::from_secs(2);
/// The delays before a write that is in doubt is sent again; after the last the doubt is reported.
pub(crate) const RESEND_DELAYS: [Duration; 3] =
    [Duration::from_millis(10), Duration::from_millis(100), Duration::from_secs(1)];
/// How long a run waits before it sends a turn again that the store could not take.
pub(crate) const TURN_RETRY_INTERVAL: Duration = Duration::from_millis(500);
/// The longest time for which the engine trusts its measurement of the clock that the store goes by: after it a clock that was
/// set, or a suspend, is noticed.
pub(crate) const CLOCK_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// As that, and as the shortest interval of other checks, on a clock that is paused and jumps from one to the next.
pub(crate) const PAUSED_CHECK_INTERVAL: Duration = Duration::from_secs(24 * 3600);
/// A clock that deviates by more was set.
pub(crate) const CLOCK_SET_MIN: Duration = Duration::from_secs(1);
/// How often an engine that has nothing to do looks for due runs.
pub(crate) const CLAIM_INTERVAL: Duration = Duration::from_secs(30);
