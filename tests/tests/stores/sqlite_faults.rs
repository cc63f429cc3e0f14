//! A disk that fails while a group is committed.

use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use workflow_runtime::Code;
use workflow_runtime::store::{
    Answer, CreateAnswer, JournalRow, SqliteStore, Store, Synchronous, Turn, TurnAnswer, Write,
};

use crate::fixture::*;

/// The limit of file sizes in the child process: a write beyond it fails with an I/O error in the middle of a COMMIT.
const FILE_BYTES_MAX: u64 = 400 << 10;

case! {
    async fn a_commit_in_doubt_that_is_sent_again_takes_effect_once() {
        if let Some(path) = std::env::var_os("FAULTY") {
            return commit_on_a_faulty_disk(path.as_ref()).await;
        }
        let directory = TempDir::new().unwrap();
        // The signal SIGXFSZ must be ignored. Without unsafe code a program can only inherit that from its parent.
        let output = Command::new("sh")
            .args(["-c", r#"trap '' XFSZ; exec "$0" --exact --nocapture "$1""#])
            .arg(std::env::current_exe().unwrap())
            .arg("sqlite_faults::a_commit_in_doubt_that_is_sent_again_takes_effect_once")
            .env("FAULTY", directory.path().join("runs.db"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn limit_files(bytes: Option<u64>) {
    use rustix::process::{Resource, getrlimit, setrlimit};

    let mut limit = getrlimit(Resource::Fsize);
    limit.current = bytes;
    setrlimit(Resource::Fsize, limit).unwrap();
}

async fn commit_on_a_faulty_disk(path: &std::path::Path) {
    let store = SqliteStore::open_waiting(path, Synchronous::Full, Duration::from_millis(20)).unwrap();
    let _right = store.acquire(ADA).await.unwrap().unwrap();
    let CreateAnswer::Created(key) = commit(&store, new_run("r", taken_by(ADA))).await else { panic!("not created") };
    limit_files(Some(FILE_BYTES_MAX));
    let body = vec![b'x'; 20 << 10];
    let next = |index| {
        let row = JournalRow { body: body.clone().into(), ..row(index, u128::from(index) + 1) };
        [Write::Turn(Turn { row: Some(row), ..turn(key) })]
    };
    let mut index = 1;
    let failed = loop {
        match store.commit(&next(index)).await {
            Ok(answers) => assert_eq!(answers, [Answer::Turn(TurnAnswer::Committed)]),
            Err(failed) => break failed,
        }
        index += 1;
    };
    assert!(failed.in_doubt, "{:?}", failed.error);
    assert_eq!(failed.error.code(), Code::Store);
    assert!(failed.error.to_string().contains("failed to read or write it"), "{:?}", failed.error);
    limit_files(Some(0));
    for _ in 0..2 {
        let again = store.commit(&next(index)).await.unwrap_err();
        assert!(again.in_doubt, "a later failure does not settle the doubt");
    }
    limit_files(None);
    let foreign = rusqlite::Connection::open(path).unwrap();
    foreign.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(
        store.commit(&next(index)).await.unwrap_err().in_doubt,
        "nor does a failure that certainly commits nothing"
    );
    drop(foreign);
    for _ in 0..2 {
        assert_eq!(store.commit(&next(index)).await.unwrap(), [Answer::Turn(TurnAnswer::Committed)]);
    }
    drop(store);
    let store = SqliteStore::open(path, Synchronous::Full).unwrap();
    let rows = store.journal(key, 0, 0, 1_000).await.unwrap();
    assert_eq!(rows.len() as u64, index + 1);
}
