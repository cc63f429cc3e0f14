//! Streams: `Turn::chunks`, `Turn::settles` and `Write::Chunk`.

use workflow_runtime::store::{
    Answer, AppendChunk, AppendChunkAnswer, ChunkPage, Execution, Fence, NewChunk, NewRun, RunKey, Settle, Status,
    Turn, TurnAnswer, Write,
};

use crate::fixture::*;

/// An attempt of operation 3 under the first epoch.
fn attempt(attempt: u32) -> Execution {
    Execution { generation: 0, op: 3, step: "shop::tell".into(), attempt, epoch: 1 }
}

fn new_chunk(stream: &str, id: u128, value: &str) -> NewChunk {
    NewChunk { stream: stream.into(), id, value: Some(value.into()) }
}

fn end(stream: &str) -> NewChunk {
    NewChunk { stream: stream.into(), id: 0, value: None }
}

fn by(run: RunKey, execution: Execution, chunk: NewChunk) -> AppendChunk {
    AppendChunk { run, owner: ADA, execution, into: None, chunk, most: 5 }
}

async fn page(fx: &Fixture, run: RunKey, stream: &str) -> ChunkPage {
    fx.store.chunks(run, stream, 0, 100).await.unwrap()
}

/// The values; discarded ones are in brackets.
async fn values(fx: &Fixture, run: RunKey, stream: &str) -> String {
    let value = |row: &workflow_runtime::store::ChunkRow| match row.discarded {
        true => format!("[{}]", row.value),
        false => row.value.to_string(),
    };
    page(fx, run, stream).await.rows.iter().map(value).collect::<Vec<_>>().join(" ")
}

async fn settle(fx: &Fixture, run: RunKey, attempt: u32, succeeded: bool) {
    let settles = vec![Settle { op: 3, attempt, succeeded }];
    assert_eq!(fx.turn(Turn { settles, ..turn(run) }).await, TurnAnswer::Committed);
}

pub async fn chunks_are_numbered_in_their_order(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let chunks = vec![new_chunk("s", 1, "0"), new_chunk("t", 1, "\"other\"")];
    let key = fx.create(NewRun { chunks, ..new_run("r", taken_by(ADA)) }).await;
    let chunks = vec![new_chunk("s", 3, "2"), new_chunk("s", 4, "3")];
    let writes = [
        by(key, attempt(1), new_chunk("s", 2, "1")).into(),
        Turn { row: Some(row(1, 2)), chunks, ..turn(key) }.into(),
        by(key, attempt(1), new_chunk("s", 5, "4")).into(),
    ];
    let chunk = Answer::AppendChunk(AppendChunkAnswer::Committed);
    let expected = [chunk.clone(), Answer::Turn(TurnAnswer::Committed), chunk];
    assert_eq!(fx.group::<Write>(&writes).await, expected);
    let page = page(&fx, key, "s").await;
    assert_eq!((page.length, page.ended), (5, false));
    for (row, index) in page.rows.iter().zip(0..) {
        assert_eq!((row.index, &*row.value, row.discarded), (index, &*index.to_string(), false));
        assert_eq!(row.writer, [1, 4].contains(&index).then(|| attempt(1)));
    }
    assert_eq!(*fx.store.streams(key).await.unwrap(), ["s".into(), "t".into()]);
}

pub async fn chunks_are_read_from_an_index(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let chunks = (0..10).map(|number| new_chunk("s", number, &number.to_string())).collect();
    let key = fx.create(NewRun { chunks, ..new_run("r", taken_by(ADA)) }).await;
    for (from, limit, first, count) in [(0, 3, 0, 3), (4, 100, 4, 6), (9, 1, 9, 1), (10, 5, 0, 0), (u64::MAX, 5, 0, 0)]
    {
        let page = fx.store.chunks(key, "s", from, limit).await.unwrap();
        let found: Vec<u64> = page.rows.iter().map(|row| row.index).collect();
        assert_eq!((found, page.length), ((first..first + count).collect(), 10));
    }
    assert_eq!(page(&fx, key, "nobody's").await, ChunkPage::default());
}

pub async fn a_page_of_large_chunks_is_short(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let large = format!("\"{}\"", "x".repeat(3 << 20));
    let chunks = (0..3).map(|number| new_chunk("s", number, &large)).collect();
    let key = fx.create(NewRun { chunks, ..new_run("r", taken_by(ADA)) }).await;
    for from in 0..3 {
        assert_eq!(fx.store.chunks(key, "s", from, 100).await.unwrap().rows.len(), 1);
    }
}

pub async fn a_chunk_that_is_sent_again_is_stored_once(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    let writes = [by(key, attempt(1), new_chunk("s", 7, "1")), by(key, attempt(1), end("s"))];
    let turn = Turn { row: Some(row(1, 2)), chunks: vec![new_chunk("u", 1, "2")], ..turn(key) };
    for _ in 0..2 {
        assert_eq!(fx.group(&writes).await, [AppendChunkAnswer::Committed, AppendChunkAnswer::Committed]);
        assert_eq!(fx.commit(turn.clone()).await, TurnAnswer::Committed);
    }
    assert_eq!((values(&fx, key, "s").await, values(&fx, key, "u").await), ("1".into(), "2".into()));
    settle(&fx, key, 1, true).await;
    let ended =
        Turn { row: Some(row(2, 3)), change: Some(change(Status::Completed, None)), ..crate::fixture::turn(key) };
    fx.turn(ended).await;
    assert_eq!(fx.commit(writes[0].clone()).await, AppendChunkAnswer::Committed, "also after the run has ended");
}

pub async fn a_stale_owner_writes_nothing(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    let stale = [
        AppendChunk { run: key, owner: BOB, execution: attempt(1), into: None, chunk: new_chunk("s", 1, "1"), most: 5 },
        by(key, Execution { epoch: 0, ..attempt(1) }, new_chunk("s", 1, "1")),
        by(key, Execution { generation: 1, ..attempt(1) }, new_chunk("s", 1, "1")),
        by(key + 1, attempt(1), new_chunk("s", 1, "1")),
        by(key, Execution { epoch: 0, ..attempt(1) }, end("s")),
    ];
    for write in stale {
        assert_eq!(fx.commit(write).await, AppendChunkAnswer::Fenced);
    }
    let turn = Turn {
        row: Some(row(1, 2)),
        fence: Fence { owner: ADA, epoch: 0 },
        chunks: vec![new_chunk("s", 1, "1")],
        settles: vec![Settle { op: 3, attempt: 1, succeeded: false }],
        ..turn(key)
    };
    assert_eq!(fx.turn(turn).await, TurnAnswer::Fenced);
    assert_eq!(page(&fx, key, "s").await, ChunkPage::default());
    assert!(fx.store.streams(key).await.unwrap().is_empty());
}

pub async fn a_closed_stream_accepts_no_chunks(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = fx.create(NewRun { chunks: vec![new_chunk("s", 1, "1"), end("s")], ..new_run("r", taken_by(ADA)) }).await;
    assert!(page(&fx, key, "s").await.ended);
    assert_eq!(fx.commit(by(key, attempt(1), new_chunk("s", 2, "2"))).await, AppendChunkAnswer::Closed);
    assert_eq!(fx.commit(by(key, attempt(1), end("s"))).await, AppendChunkAnswer::Closed);
    assert_eq!(fx.commit(by(key, attempt(1), end("t"))).await, AppendChunkAnswer::Committed, "a stream can be empty");
    let turn = Turn { row: Some(row(1, 2)), chunks: vec![new_chunk("s", 3, "3"), new_chunk("t", 4, "4")], ..turn(key) };
    assert_eq!(fx.turn(turn).await, TurnAnswer::Committed);
    assert_eq!((values(&fx, key, "s").await, page(&fx, key, "t").await.length), ("1".into(), 0));
    assert!(page(&fx, key, "t").await.ended);
}

pub async fn a_full_stream_can_still_be_closed(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    for id in 1..=5 {
        assert_eq!(fx.commit(by(key, attempt(1), new_chunk("s", id, "1"))).await, AppendChunkAnswer::Committed);
    }
    assert_eq!(fx.commit(by(key, attempt(1), new_chunk("s", 6, "1"))).await, AppendChunkAnswer::Full);
    assert_eq!(fx.commit(by(key, attempt(1), end("s"))).await, AppendChunkAnswer::Committed);
    assert_eq!(page(&fx, key, "s").await.length, 5);
}

pub async fn the_end_of_a_run_ends_its_streams(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    fx.commit(by(key, attempt(1), new_chunk("s", 1, "1"))).await;
    let chunks = vec![new_chunk("s", 2, "2")];
    fx.turn(Turn { row: Some(row(1, 2)), change: Some(change(Status::Completed, None)), chunks, ..turn(key) }).await;
    assert_eq!(fx.commit(by(key, attempt(1), new_chunk("s", 3, "3"))).await, AppendChunkAnswer::Finished);
    assert_eq!(values(&fx, key, "s").await, "[1] 2", "chunks of an attempt that was never settled are discarded");
    assert!(page(&fx, key, "s").await.ended && page(&fx, key, "never").await.ended);
}

pub async fn chunks_of_a_failed_attempt_are_discarded(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    fx.commit(by(key, attempt(1), new_chunk("s", 1, "1"))).await;
    fx.commit(by(key, attempt(1), end("s"))).await;
    assert!(page(&fx, key, "s").await.ended);
    settle(&fx, key, 1, false).await;
    assert_eq!(
        fx.commit(by(key, attempt(1), new_chunk("s", 9, "9"))).await,
        AppendChunkAnswer::Fenced,
        "the attempt is settled"
    );
    assert!(!page(&fx, key, "s").await.ended, "the close by the failed attempt is discarded");
    fx.commit(by(key, attempt(2), new_chunk("s", 2, "2"))).await;
    assert_eq!(values(&fx, key, "s").await, "[1] 2");
    settle(&fx, key, 2, true).await;
    assert_eq!(fx.commit(by(key, attempt(2), new_chunk("s", 9, "9"))).await, AppendChunkAnswer::Fenced);
    settle(&fx, key, 2, false).await;
    let turn = Turn { row: Some(row(1, 2)), change: Some(change(Status::Completed, None)), ..turn(key) };
    fx.turn(turn).await;
    assert_eq!(values(&fx, key, "s").await, "[1] 2", "the first settlement holds");
}

pub async fn chunks_of_an_attempt_whose_engine_died_are_discarded(fx: Fixture) {
    let right = fx.execute(ADA).await;
    let key = fx.create(NewRun { chunks: vec![new_chunk("s", 1, "0")], ..new_run("r", taken_by(ADA)) }).await;
    fx.commit(by(key, attempt(1), new_chunk("s", 2, "1"))).await;
    let succeeded = Execution { op: 4, ..attempt(1) };
    fx.commit(by(key, succeeded, new_chunk("s", 3, "2"))).await;
    fx.turn(Turn { settles: vec![Settle { op: 4, attempt: 1, succeeded: true }], ..turn(key) }).await;
    fx.commit(by(key, attempt(1), end("s"))).await;
    drop(right);
    let _right = fx.execute(BOB).await;
    let epoch = fx.claim(BOB, 10_000).await[0].fence.epoch;
    assert_eq!(values(&fx, key, "s").await, "0 [1] 2");
    let again = Execution { epoch, ..attempt(1) };
    let chunk = new_chunk("s", 4, "1");
    let write = AppendChunk { run: key, owner: BOB, execution: again, into: None, chunk, most: 5 };
    assert_eq!(fx.commit(write).await, AppendChunkAnswer::Committed, "the close by the dead attempt is discarded");
    assert_eq!(values(&fx, key, "s").await, "0 [1] 2 1");
    assert_eq!(fx.commit(by(key, attempt(1), new_chunk("s", 9, "9"))).await, AppendChunkAnswer::Fenced);
}

pub async fn an_attempt_writes_to_the_stream_of_another_run(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let caller = fx.create(new_run("caller", taken_by(ADA))).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    let to = |run: &str, id: u128, value: &str| AppendChunk {
        run: key,
        owner: ADA,
        execution: attempt(1),
        into: Some(run.into()),
        chunk: new_chunk("s", id, value),
        most: 5,
    };
    assert_eq!(fx.commit(to("caller", 1, "1")).await, AppendChunkAnswer::Committed);
    assert_eq!(fx.commit(to("caller", 1, "1")).await, AppendChunkAnswer::Committed, "sent again");
    assert_eq!(fx.commit(to("nobody", 2, "2")).await, AppendChunkAnswer::Fenced);
    assert_eq!(fx.store.chunks(key, "s", 0, 10).await.unwrap().length, 0);
    let settle = Settle { op: 3, attempt: 1, succeeded: true };
    let last = Turn { settles: vec![settle], change: Some(change(Status::Completed, None)), ..turn(key) };
    assert_eq!(fx.turn(last).await, TurnAnswer::Committed);
    let page = fx.store.chunks(caller, "s", 0, 10).await.unwrap();
    assert_eq!(
        (page.length, page.rows[0].discarded, page.ended),
        (1, false, false),
        "chunks of a succeeded attempt are not discarded"
    );
    assert_eq!(fx.commit(to("caller", 3, "3")).await, AppendChunkAnswer::Finished);
}
