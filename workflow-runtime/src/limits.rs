//! Every limit of the engine, with its unit in its name. Exceeding one is an error with its own code, not a slow failure.

use std::time::Duration;

/// Bytes of one encoded payload: the arguments of a run, the arguments or the result of a step.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 64 << 20;
/// Bytes of a run id or of the name given to a step call.
pub(crate) const NAME_BYTES_MAX: usize = 512;
/// Bytes of the key and the value of an attribute.
pub(crate) const ATTRIBUTE_BYTES_MAX: usize = 512;
/// Attributes of one run.
pub(crate) const ATTRIBUTES_MAX: usize = 64;
/// The number of end notices for which an engine calls callbacks at the same time.
pub(crate) const NOTICES_CONCURRENT: usize = 16;
/// How long an end notice stays claimed by one engine, in milliseconds.
pub(crate) const NOTICE_CLAIM_MS: u64 = 60_000;
/// How long the callbacks for one end notice may take together: the rest of the claim is for the store.
pub(crate) const CALLBACKS_TIMEOUT: Duration = Duration::from_secs(45);
/// The delays before failed callbacks for an end notice are called again: the first, which doubles each time, and
/// the longest.
pub(crate) const NOTICE_RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));
/// How often an engine with callbacks looks for end notices that another engine has left.
pub(crate) const NOTICES_INTERVAL: Duration = Duration::from_secs(2);
/// The age at which an unclaimed end notice is dropped, in milliseconds.
pub(crate) const NOTICE_KEPT_MS: u64 = 7 * 24 * 3_600_000;
/// How long a page of runs is searched for a text in their ids, in milliseconds, and how many runs are read at once.
pub(crate) const SEARCH_MS: u64 = 60;
pub(crate) const SEARCH_RUNS: usize = 200;
/// The page, the command line and the hourly counts count the runs of a status up to this number.
pub(crate) const COUNTED_RUNS_MAX: usize = 10_000;
/// Runs of a page: the default and the maximum.
pub(crate) const PAGE_RUNS: usize = 100;
pub(crate) const PAGE_RUNS_MAX: usize = 1_000;
/// How often an engine with functions for stranded runs looks for these.
pub(crate) const STRANDED_INTERVAL: Duration = Duration::from_secs(60);
/// How often a caller that waits for a run looks whether the run is stranded, at least.
pub(crate) const STRANDED_LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// How often an engine looks for expired data, approximately.
pub(crate) const CLEANING_INTERVAL: Duration = Duration::from_secs(60);
/// How long the counts of an hour are kept, in hours.
pub(crate) const COUNTS_KEPT_HOURS: u64 = 8 * 24;
/// Runs that one transaction of the cleaning handles.
pub(crate) const CLEANING_RUNS: usize = 100;
/// The pause between two such transactions, in which other writes use the store.
pub(crate) const CLEANING_PAUSE: Duration = Duration::from_millis(20);
/// How long a resend after a write in doubt is recognised, for payloads without a key and inbox messages.
pub(crate) const RESEND_KEYS_KEPT: Duration = Duration::from_secs(3_600);
/// How long a delivery with a key is known after the run's end, unless the builder sets it.
pub(crate) const DELIVERIES_KEPT: Duration = Duration::from_secs(7 * 24 * 3_600);
/// How often a waiter of a run that may be deleted before it begins checks whether the run exists.
pub(crate) const UNSTARTED_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Operations of one run that may be outstanding (steps not finished, timers not due) at the same time.
pub(crate) const OUTSTANDING_MAX: usize = 100_000;
/// Branches of one run (its `spawn`s) that may be alive at the same time.
pub(crate) const BRANCHES_MAX: usize = 10_000;
/// Runs that one retry resumes in one write: the run and the failed ones below it.
pub(crate) const RETRY_RUNS_MAX: usize = 1_000;
/// How often a retry reads the children of a run again while other callers retry or delete them.
pub(crate) const RETRY_LOOKS_MAX: usize = 16;
/// Runs whose journals are read to find a cycle of runs that wait for each other.
pub(crate) const CYCLE_RUNS_MAX: u32 = 64;
/// The depth of children of children: runs of which each waits for the next one.
pub(crate) const DEPTH_MAX: u32 = 10_000;
/// Recorded commands that are read ahead, and commands of the code that are kept, to explain how code differs from a journal.
pub(crate) const EXPLAINED_RECORDED_MAX: usize = 256;
pub(crate) const EXPLAINED_FOUND_MAX: usize = 16;
/// Polls of a run's branches after one event; more indicate that two branches wake one another forever.
pub(crate) const POLLS_PER_EVENT_MAX: usize = 1_000_000;
/// Events delivered in one turn; the rest waits for the next turn, so that one commit stays small.
pub(crate) const EVENTS_PER_TURN_MAX: usize = 1_024;
/// Bytes of results delivered in one turn, after which the rest waits for the next turn.
pub(crate) const TURN_RESULTS_BYTES: usize = PAYLOAD_BYTES_MAX;
/// Bytes of one journal row. SQLite allows up to 1 GB.
pub(crate) const ROW_BYTES_MAX: usize = 512 << 20;
/// Writes in one group commit.
pub(crate) const WRITES_PER_GROUP_MAX: usize = 4_096;
/// Payload bytes after which a group accepts no further write; a larger write is a group of its own.
pub(crate) const GROUP_BYTES_MAX: usize = 16 << 20;
/// Payload bytes of starts, deliveries, chunks, forks and retries that may be queued for the store before they are
/// committed. Further ones wait. A larger write waits until it is alone. Turns, releases, cancels and claims
/// do not wait, since they shorten the queue.
pub(crate) const QUEUE_BYTES_MAX: usize = 64 << 20;
/// Groups that a non-blocking store receives at once, and the minimum number of writes of a concurrent group. On
/// PostgreSQL with 1,000 runs and two cores three groups, or a minimum of 64 or 128, were some hundredths slower: the groups
/// become small, and each costs a statement and a commit.
pub(crate) const GROUPS_AT_ONCE: usize = 2;
pub(crate) const GROUP_BESIDE_MIN: usize = 256;
/// Consecutive refusals after which the rest of a group is not halved any more. From the largest group to a single
/// write it takes twelve.
pub(crate) const REFUSALS_IN_A_ROW_MAX: u32 = 16;
/// Journal rows that a replay reads at once: the maximum, and the first page.
pub(crate) const JOURNAL_PAGE_ROWS: usize = 1_024;
pub(crate) const JOURNAL_FIRST_PAGE_ROWS: usize = 32;
/// Bytes of journal rows that a replay aims to read at once, estimated from the previous rows.
pub(crate) const JOURNAL_PAGE_BYTES: usize = 4 << 20;
/// Bytes of one encoded chunk of a stream.
pub(crate) const CHUNK_BYTES_MAX: usize = 1 << 20;
/// Chunks of one stream.
pub(crate) const STREAM_CHUNKS_MAX: u64 = 10_000_000;
/// Chunks of a stream read at once, and the bytes after which a store returns no further one.
pub(crate) const CHUNK_PAGE_ROWS: usize = 256;
pub(crate) const CHUNK_PAGE_BYTES: usize = 4 << 20;
/// Bytes of the body of a request to a webhook, unless the routes set it.
#[cfg(feature = "http")]
pub(crate) const WEBHOOK_BODY_BYTES: usize = 1 << 20;
/// How long the body of a request to a webhook may take to arrive, unless the routes set it.
#[cfg(feature = "http")]
pub(crate) const WEBHOOK_BODY_WAIT: Duration = Duration::from_secs(30);
/// How long a request waits for an answer from a step, unless the routes set it.
#[cfg(feature = "http")]
pub(crate) const WEBHOOK_ANSWER_WAIT: Duration = Duration::from_secs(30);
/// How often an idle stream of events sends a keep-alive.
#[cfg(any(feature = "http", feature = "web"))]
pub(crate) const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// Runs whose journals a check reads at once. It replays them at the same time, while it reads those of the next ones.
pub(crate) const CHECKS_CONCURRENT: usize = 64;
/// Incompatible runs whose errors a check keeps.
pub(crate) const INCOMPATIBLE_KEPT: usize = 1_000;
/// Runs claimed in one transaction.
pub(crate) const CLAIM_RUNS: usize = 256;
/// How long before its deadline a run is claimed, so that it is in memory by then.
pub(crate) const CLAIM_AHEAD: Duration = Duration::from_millis(50);
/// Runs that are loaded and replayed at the same time, excluding long replays.
pub(crate) const REPLAYS_CONCURRENT: usize = 16;
/// The time after which a replay is long, and the number of long replays that yield their slot to others.
pub(crate) const REPLAY_IS_LONG_AFTER: Duration = Duration::from_millis(100);
pub(crate) const REPLAYS_LONG: usize = 256;
/// Attempts of async steps that run at the same time in one engine, unless the builder sets it.
pub(crate) const STEPS_CONCURRENT: usize = 1_024;
/// Attempts of blocking steps that run at the same time in one engine, unless the builder sets it.
pub(crate) const BLOCKING_STEPS_CONCURRENT: usize = 64;
/// Recoveries of a run without a commit between them, after which it is stuck, unless the builder sets it.
pub(crate) const RECOVERIES_MAX: u32 = 5;
/// How long a waiting run stays in memory, unless the builder sets it.
pub(crate) const EVICT_AFTER: Duration = Duration::from_secs(60);
/// Events of a run after which continuing as new is suggested, unless the builder sets it.
pub(crate) const LONG_AFTER: u64 = 10_000;
/// Attempts of a step after the first, unless the step sets it.
pub(crate) const RETRIES: u32 = 3;
/// The shortest and the longest upper bound of the delay before a retry, unless the step sets it.
pub(crate) const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));
/// How long a graceful shutdown waits for running attempts.
pub(crate) const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);
/// How long a graceful shutdown waits for attempts that it has stopped.
pub(crate) const ABORT_GRACE: Duration = Duration::from_secs(1);
/// How long the store may take to answer before an engine counts as unhealthy.
pub(crate) const HEALTH_WAIT: Duration = Duration::from_secs(5);
/// How long a writer waits for a lock on the database file that another program holds.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The size to which a write-ahead log is truncated after a long transaction or a slow reader has enlarged it.
pub(crate) const WAL_BYTES_KEPT: i64 = 16 << 20;
/// How often the commit counter of a file is raised: see `store::sqlite::identity`.
pub(crate) const COUNT_INTERVAL: Duration = Duration::from_millis(100);
/// How many free pages a file may keep without shrinking, in addition to a quarter of all pages.
pub(crate) const FREE_PAGES_KEPT: i64 = 1024;
/// How many free pages one cleaning returns to the file system.
pub(crate) const FREE_PAGES_PER_CLEANING: i64 = 256;
/// The most bytes of the text of an error in a run's row, and of its class.
pub(crate) const ROW_ERROR_BYTES: usize = 256;
/// How often an embedded store checks whether another process has written.
pub(crate) const WATCH_INTERVAL: Duration = Duration::from_millis(20);
/// How often an engine that does not own the store requests ownership.
pub(crate) const OWNERSHIP_INTERVAL: Duration = Duration::from_millis(100);
/// The longest interval between these requests while the store does not respond.
pub(crate) const OWNERSHIP_RETRY_INTERVAL_MAX: Duration = Duration::from_secs(2);
/// How long an engine that has yielded the right to execute leaves it to others. Longer than
/// [`OWNERSHIP_RETRY_INTERVAL_MAX`].
pub(crate) const YIELD_REST: Duration = Duration::from_secs(5);
/// How long a caller waits until another process executes: longer than an engine takes to end its attempts and its turns.
pub(crate) const YIELD_WAIT: Duration = Duration::from_secs(40);
/// The shortest interval between two looks for a process that has a workflow that this build lacks.
pub(crate) const LACKING_INTERVAL: Duration = Duration::from_secs(1);
/// The delays before a write in doubt is sent again; after the last one the doubt is reported.
pub(crate) const RESEND_DELAYS: [Duration; 3] =
    [Duration::from_millis(10), Duration::from_millis(100), Duration::from_secs(1)];
/// How long a run waits before it sends a turn again that the store failed to commit.
pub(crate) const TURN_RETRY_INTERVAL: Duration = Duration::from_millis(500);
/// The longest time for which the engine trusts its reading of the store's clock: after it, the engine detects a set clock
/// or a suspend.
pub(crate) const CLOCK_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The same, and the shortest interval of other checks, on a paused clock that jumps from one deadline to the next.
pub(crate) const PAUSED_CHECK_INTERVAL: Duration = Duration::from_secs(30 * 24 * 3600);
/// A clock that deviates by more has been set.
pub(crate) const CLOCK_SET_MIN: Duration = Duration::from_secs(1);
/// The largest buffer for encoding that a thread keeps for the next value.
pub(crate) const BUFFER_BYTES_MAX: usize = 64 << 10;
/// How often an idle engine looks for due runs.
pub(crate) const CLAIM_INTERVAL: Duration = Duration::from_secs(30);
/// How long a drained deployment is known after it was last opened.
pub(crate) const DRAINED_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// Runs that are released from a deployment in one transaction.
pub(crate) const RELEASED_RUNS: usize = 1_000;
/// How often an engine looks for runs that it has refused and that no other build can claim any more.
pub(crate) const REFUSALS_INTERVAL: Duration = Duration::from_secs(60);
/// How long, in real time, a step without a mock may execute in a test engine, whose clock does not move meanwhile.
#[cfg(feature = "testing")]
pub(crate) const TEST_STEP_MAX: Duration = Duration::from_secs(10);
/// How many steps of each queue a test engine executes at the same time.
#[cfg(feature = "testing")]
pub(crate) const TEST_QUEUE_CONCURRENT: usize = 64;
/// How often a test engine yields to other tasks when its clock was moved: what a timer wakes takes about ten polls, one after
/// the other.
#[cfg(feature = "testing")]
pub(crate) const TEST_YIELDS: usize = 100;
/// How many snapshots an exploration continues from.
#[cfg(feature = "testing")]
pub(crate) const CRASHES_MAX: usize = 1_000;
/// The largest body of a request to the web page, unless it is set.
#[cfg(feature = "web")]
pub(crate) const WEB_BODY_BYTES: usize = 1 << 20;
/// Pages of one client address that the web page keeps up to date, unless it is set.
#[cfg(feature = "web")]
pub(crate) const WEB_STREAMS_PER_CLIENT: usize = 128;
/// How long the web page waits for the body of a request.
#[cfg(feature = "web")]
pub(crate) const WEB_BODY_WAIT: Duration = Duration::from_secs(30);
