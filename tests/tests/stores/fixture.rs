//! Stores under test, and helpers that build rows and writes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;
use workflow_runtime::store::{
    Budget, Claim, ClaimAnswer, CreateAnswer, Dedupe, Delete, Deliver, Fence, First, InboxRow, JournalRow, Keep,
    MemoryStore, Message, NewRun, Ownership, PostgresStore, Release, ReleaseAnswer, Request, RowChange, RowError,
    RunKey, RunRow, SendMessage, SendMessageAnswer, SqliteStore, Status, Store, Synchronous, Turn, TurnAnswer, Write,
};

/// The numbers of two engines. A database stores the first one as a negative integer.
pub const ADA: u64 = 0xADA0_0000_0000_0001;
pub const BOB: u64 = 0x0B0B_0000_0000_0002;

pub const ORDERS: &str = "shop::orders";
/// Deployments.
pub const BLUE: &str = "blue";
pub const GREEN: &str = "green";

pub const REFUNDS: &str = "shop::refunds";

pub struct Fixture {
    pub store: Arc<dyn Store>,
    open: Box<dyn Fn() -> Arc<dyn Store> + Send + Sync>,
    memory: Option<MemoryStore>,
    pub directory: Option<TempDir>,
    /// The URL of a PostgreSQL database, with its schema.
    pub url: Option<String>,
}

impl Fixture {
    pub fn memory() -> Self {
        let store = MemoryStore::new();
        let memory = Some(store.clone());
        let open = Box::new(move || Arc::new(store.clone()) as Arc<dyn Store>);
        Fixture { store: open(), open, memory, directory: None, url: None }
    }

    pub fn sqlite() -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("runs.db");
        let open = Box::new(move || Arc::new(SqliteStore::open(&path, Synchronous::Full).unwrap()) as Arc<dyn Store>);
        Fixture { store: open(), open, memory: None, directory: Some(directory), url: None }
    }

    pub fn postgres() -> Self {
        Self::postgres_with("")
    }

    /// A PostgreSQL store with more parameters in its URL.
    pub fn postgres_with(parameters: &str) -> Self {
        let url = format!("{}{parameters}", workflow_harness::postgres::url());
        let opened = url.clone();
        let open =
            Box::new(move || Arc::new(workflow_harness::wait(PostgresStore::open(&opened)).unwrap()) as Arc<dyn Store>);
        Fixture { store: open(), open, memory: None, directory: None, url: Some(url) }
    }

    /// The name of the PostgreSQL schema.
    pub fn schema(&self) -> String {
        let parameters = self.url.as_deref().unwrap().split_once('?').unwrap().1;
        parameters.split('&').find_map(|pair| pair.strip_prefix("schema=")).unwrap().to_owned()
    }

    /// Connects to the PostgreSQL database, with the schema as the search path.
    pub async fn database(&self) -> tokio_postgres::Client {
        workflow_harness::postgres::connect(self.url.as_deref().unwrap()).await
    }

    /// The number of rows of each table that is not empty; in memory, the number of occurrences of `mark` in the debug
    /// text.
    pub async fn rows(&self, mark: &str) -> BTreeMap<String, i64> {
        let mut rows = BTreeMap::new();
        if let Some(store) = &self.memory {
            let marks = format!("{store:?}").matches(mark).count();
            rows.insert("marks".to_owned(), i64::try_from(marks).unwrap());
        } else if let Some(directory) = &self.directory {
            let connection = rusqlite::Connection::open(directory.path().join("runs.db")).unwrap();
            let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'";
            let mut tables = connection.prepare(sql).unwrap();
            for table in tables.query_map((), |row| row.get::<_, String>(0)).unwrap() {
                let table = table.unwrap();
                let count = connection.query_row(&format!("SELECT count(*) FROM {table}"), (), |row| row.get(0));
                rows.insert(table, count.unwrap());
            }
        } else {
            let database = self.database().await;
            let sql = "SELECT table_name::text FROM information_schema.tables WHERE table_schema = current_schema()";
            for table in database.query(sql, &[]).await.unwrap() {
                let table: String = table.get(0);
                let count = database.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await.unwrap().get(0);
                rows.insert(table, count);
            }
        }
        rows.retain(|_, count| *count > 0);
        rows
    }

    /// Opens the same store again, as another engine would.
    pub fn another(&self) -> Arc<dyn Store> {
        (self.open)()
    }

    pub async fn execute(&self, owner: u64) -> Box<dyn Ownership> {
        self.store.acquire(owner).await.unwrap().expect("no other engine executes")
    }

    /// Commits a group of writes: of one kind, or [`Write`]s.
    pub async fn group<R: Request + Clone>(&self, group: &[R]) -> Vec<R::Answer> {
        let writes: Vec<Write> = group.iter().cloned().map(Into::into).collect();
        let answers = self.store.commit(&writes).await.unwrap();
        answers.into_iter().map(|answer| R::answer(answer).expect("an answer of the same kind")).collect()
    }

    /// Commits two writes as one group.
    pub async fn commit_both<R: Request, S: Request>(&self, first: R, second: S) -> (R::Answer, S::Answer) {
        let mut answers = self.store.commit(&[first.into(), second.into()]).await.unwrap().into_iter();
        let (first, second) = (answers.next().and_then(R::answer), answers.next().and_then(S::answer));
        (first.expect("an answer of the same kind"), second.expect("an answer of the same kind"))
    }

    pub async fn commit<R: Request>(&self, request: R) -> R::Answer {
        commit(&*self.store, request).await
    }

    pub async fn create(&self, new: NewRun) -> RunKey {
        match self.commit(new).await {
            CreateAnswer::Created(key) => key,
            other => panic!("not created: {other:?}"),
        }
    }

    pub async fn turn(&self, turn: Turn) -> TurnAnswer {
        self.commit(turn).await
    }

    pub async fn send(&self, run: &str, message: Message) -> SendMessageAnswer {
        self.commit(SendMessage { run: run.into(), message, unstick: false }).await
    }

    pub async fn release(&self, run: RunKey, fence: Fence, inbox_seq: u64) -> ReleaseAnswer {
        self.commit(Release { run, fence, inbox_seq }).await
    }

    pub async fn claim(&self, owner: u64, now: u64) -> Vec<RunRow> {
        match self.commit(claim(owner, now)).await {
            ClaimAnswer::Claimed(runs) => runs,
            other => panic!("not claimed: {other:?}"),
        }
    }

    /// Creates a run without an owner, with this `wake_at`.
    pub async fn parked(&self, id: &str, workflow: &str, wake_at: u64) -> RunKey {
        let first = First::Turn { owner: ADA, row: row(0, 1), change: change(Status::Suspended, Some(wake_at)) };
        let key = self.create(NewRun { workflow: workflow.into(), ..new_run(id, first) }).await;
        assert_eq!(self.release(key, Fence { owner: ADA, epoch: 1 }, 0).await, ReleaseAnswer::Committed);
        key
    }

    pub async fn run(&self, id: &str) -> RunRow {
        self.store.run(id).await.unwrap().expect("the run exists")
    }

    pub async fn journal(&self, run: RunKey) -> Vec<JournalRow> {
        self.store.journal(run, 0, 0, usize::MAX).await.unwrap()
    }

    pub async fn inbox(&self, run: RunKey) -> Vec<InboxRow> {
        self.store.inbox(run).await.unwrap().1
    }

    /// The bodies of a run's inbox messages.
    pub async fn messages(&self, run: RunKey) -> Vec<String> {
        self.inbox(run).await.iter().map(|row| String::from_utf8(row.body.to_vec()).unwrap()).collect()
    }
}

pub async fn commit<R: Request>(store: &dyn Store, request: R) -> R::Answer {
    let mut answers = store.commit(&[request.into()]).await.unwrap();
    assert_eq!(answers.len(), 1);
    R::answer(answers.remove(0)).expect("an answer of the same kind")
}

/// The time at which the next claimable run of [`workflows`] is due.
pub async fn next_due(store: &dyn Store) -> Option<u64> {
    let claimable = store.claimable(BLUE).await.unwrap().due;
    workflows().iter().filter_map(|workflow| claimable.get(*workflow).copied()).min()
}

pub fn workflows() -> Arc<[&'static str]> {
    Arc::new([ORDERS, REFUNDS])
}

pub fn claim(owner: u64, now: u64) -> Claim {
    Claim {
        owner,
        now,
        workflows: workflows(),
        deployment: BLUE.into(),
        refused: Arc::new([]),
        refused_bound: Arc::new([]),
        limit: 100,
        again: false,
    }
}

pub fn row(index: u64, turn: u128) -> JournalRow {
    let body = format!("turn {turn}").into_bytes();
    JournalRow { index, turn, format: 1, checksum: 0xC0FF_EE00, body: body.into() }
}

pub fn change(status: Status, wake_at: Option<u64>) -> RowChange {
    RowChange { status, wake_at, started_at: None, completed_at: None, stuck: None, error: None, refused_by: None }
}

/// The error in a run's row.
pub fn error(failing_since: Option<u64>) -> RowError {
    RowError { failing_since, class: "user: no route to #".into(), text: "no route to 10".into() }
}

pub fn message(text: &str) -> Message {
    Message { dedupe: None, arrived_at: 1_000, format: 1, checksum: 7, body: text.as_bytes().into() }
}

pub fn keyed(text: &str, key: &str) -> Message {
    Message { dedupe: Some(Dedupe { key: key.to_owned(), lasts: false }), ..message(text) }
}

/// How long the key of a delivery is kept after the end of its run.
pub const KEPT: u64 = 100_000;

/// A delivery to a token at time 1,000. If the inbox message has a key, the delivery has that key; otherwise it has a
/// unique key that is kept for an hour.
pub fn delivery(token: &str, message: Message) -> Deliver {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let own = || format!("own {}", LAST.fetch_add(1, Ordering::SeqCst));
    let (key, keep) = match message.dedupe {
        Some(Dedupe { key, .. }) => (key, Keep::FromEnd(KEPT)),
        None => (own(), Keep::FromDelivery(3_600_000)),
    };
    Deliver {
        token: token.into(),
        message: Message { dedupe: None, ..message },
        key: key.into(),
        scope: None,
        since: 0,
        digest: [7; 32],
        keep,
        asked: None,
        hold_until: None,
        now: 1_000,
    }
}

/// The first turn of a run that `owner` executes. The run then waits for its inbox.
pub fn taken_by(owner: u64) -> First {
    First::Turn { owner, row: row(0, 1), change: change(Status::Suspended, Some(10_000)) }
}

pub fn new_run(id: &str, first: First) -> NewRun {
    NewRun {
        id: id.into(),
        workflow: ORDERS.into(),
        fingerprint: "f1".into(),
        args_digest: [9; 32],
        created_at: 500,
        token: id.bytes().map(u128::from).sum(),
        required_deployment: None,
        depth: 0,
        effects: None,
        chunks: Vec::new(),
        first,
    }
}

/// An empty turn of [`ADA`] under the first epoch.
pub fn turn(run: RunKey) -> Turn {
    let fence = Fence { owner: ADA, epoch: 1 };
    Turn {
        run,
        generation: 0,
        fence,
        row: None,
        change: None,
        effects: None,
        delivered: Vec::new(),
        unread: Vec::new(),
        returned: Vec::new(),
        chunks: Vec::new(),
        settles: Vec::new(),
    }
}

/// Deletes a run with all its rows in one transaction.
pub fn delete(run: RunKey) -> Delete {
    Delete { run, most: ALL, deletion_message: message("deletion_message") }
}

/// An unlimited budget.
pub const ALL: Budget = Budget { rows: usize::MAX >> 1, bytes: usize::MAX >> 1 };
