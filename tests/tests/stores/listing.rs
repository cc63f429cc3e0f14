//! `Store::list` and `Store::counts`.

use workflow_runtime::store::{
    Child, Counts, DeleteAnswer, Effects, Filter, NewRun, Position, RowChange, RowError, Status, Turn, TurnAnswer,
    Write,
};

use crate::fixture::*;

fn every() -> Filter {
    Filter::default()
}

/// Creates a run with this time of creation and these attributes.
async fn created(fx: &Fixture, id: &str, workflow: &str, created_at: u64, attributes: &[(&str, &str)]) -> i64 {
    let attributes = attributes.iter().map(|(key, value)| ((*key).into(), Some((*value).into()))).collect();
    let effects = Some(Box::new(Effects { attributes, ..Effects::default() }));
    fx.create(NewRun { workflow: workflow.into(), created_at, effects, ..new_run(id, taken_by(ADA)) }).await
}

async fn ends(fx: &Fixture, run: i64, status: Status) {
    let done = Turn { row: Some(row(1, 2)), change: Some(change(status, None)), ..turn(run) };
    assert!(matches!(fx.turn(done).await, TurnAnswer::Committed | TurnAnswer::CommittedAndNotified));
}

async fn list(fx: &Fixture, filter: Filter) -> String {
    page(fx, &filter, None, 100).await.0
}

/// The ids of a page, and the position of the last one.
async fn page(fx: &Fixture, filter: &Filter, after: Option<Position>, limit: usize) -> (String, Option<Position>) {
    let rows = fx.store.list(filter, after, limit).await.unwrap();
    for row in &rows {
        assert_eq!(fx.run(&row.id).await, *row);
    }
    let ids: Vec<&str> = rows.iter().map(|row| &*row.id).collect();
    (ids.join(" "), rows.last().map(|row| filter.position(row)))
}

pub async fn runs_are_listed_latest_first_and_page_by_page(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    // The times of creation are not in the order of the inserts, as with machines whose clocks differ.
    for (id, at) in [("b", 20), ("a", 10), ("d", 40), ("c", 30), ("e", 50)] {
        created(&fx, id, ORDERS, at, &[]).await;
    }
    assert_eq!(list(&fx, every()).await, "e d c b a");
    let (ids, place) = page(&fx, &every(), None, 2).await;
    assert_eq!(ids, "e d");
    let (ids, place) = page(&fx, &every(), place, 2).await;
    assert_eq!(ids, "c b");
    let (ids, place) = page(&fx, &every(), place, 2).await;
    assert_eq!(ids, "a");
    assert_eq!(page(&fx, &every(), place, 2).await.0, "");
    assert_eq!(page(&fx, &every(), None, 0).await.0, "");
}

pub async fn a_filter_combines_all_its_conditions(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let red = ("color", "red");
    let a = created(&fx, "a 1", ORDERS, 10, &[red, ("size", "s")]).await;
    let b = created(&fx, "b 1", ORDERS, 20, &[red, ("size", "m")]).await;
    let c = created(&fx, "c 2", REFUNDS, 30, &[red, ("size", "m")]).await;
    created(&fx, "d 2", REFUNDS, 40, &[("color", "blue")]).await;
    let child = |id: &str| Child {
        new: NewRun { created_at: 50, ..new_run(id, workflow_runtime::store::First::Message(message("begin"))) },
        op: None,
        attach: None,
        confirmation: None,
        refusal: message("refused"),
    };
    let effects = Effects { children: vec![child("e 1"), child("f 2")], ..Effects::default() };
    fx.turn(Turn { row: Some(row(1, 2)), effects: Some(Box::new(effects)), ..turn(c) }).await;
    ends(&fx, a, Status::Completed).await;
    ends(&fx, b, Status::Failed).await;

    let statuses = |statuses: &[Status]| Filter { statuses: statuses.to_vec(), ..every() };
    let workflow = |ids: &[&str]| Filter { workflows: ids.iter().map(|id| (*id).into()).collect(), ..every() };
    let attributes = |pairs: &[(&str, &str)]| Filter {
        attributes: pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
        ..every()
    };
    let parent = |id: &str| Filter { parent: Some(id.into()), ..every() };
    let (completed, failed, suspended) = (Status::Completed, Status::Failed, Status::Suspended);
    for (filter, found) in [
        (every(), "f 2 e 1 d 2 c 2 b 1 a 1"),
        (statuses(&[completed]), "a 1"),
        (statuses(&[failed, completed, failed]), "b 1 a 1"),
        (statuses(&[Status::Stuck]), ""),
        (workflow(&[REFUNDS]), "d 2 c 2"),
        (workflow(&[REFUNDS, ORDERS, REFUNDS]), "f 2 e 1 d 2 c 2 b 1 a 1"),
        (workflow(&["nobody's"]), ""),
        (Filter { statuses: vec![suspended], ..workflow(&[ORDERS]) }, ""),
        (Filter { statuses: vec![suspended], ..workflow(&[REFUNDS]) }, "d 2 c 2"),
        (attributes(&[red]), "c 2 b 1 a 1"),
        (attributes(&[red, ("size", "m")]), "c 2 b 1"),
        (attributes(&[("size", "m"), red]), "c 2 b 1"),
        (attributes(&[red, ("size", "l")]), ""),
        (Filter { statuses: vec![failed], ..attributes(&[red]) }, "b 1"),
        (Filter { workflows: vec![ORDERS.into()], ..attributes(&[red]) }, "b 1 a 1"),
        (Filter { parent: Some("c 2".into()), ..attributes(&[red]) }, ""),
        (parent("c 2"), "f 2 e 1"),
        (parent("a 1"), ""),
        (Filter { statuses: vec![Status::Pending], ..parent("c 2") }, "f 2 e 1"),
        (Filter { workflows: vec![REFUNDS.into()], ..parent("c 2") }, ""),
        (Filter { created_from: 20, created_before: Some(40), ..every() }, "c 2 b 1"),
        (Filter { created_from: 20, ..attributes(&[red]) }, "c 2 b 1"),
        (Filter { created_before: Some(20), ..attributes(&[red]) }, "a 1"),
        (Filter { created_before: Some(50), ..parent("c 2") }, ""),
        (Filter { created_from: 41, ..workflow(&[ORDERS]) }, "f 2 e 1"),
        (Filter { id_contains: Some(" 1".into()), ..every() }, "e 1 b 1 a 1"),
        (Filter { id_contains: Some(" 1".into()), ..parent("c 2") }, "e 1"),
        (Filter { id_contains: Some("1".into()), ..attributes(&[("size", "m")]) }, "b 1"),
    ] {
        assert_eq!(list(&fx, filter.clone()).await, found, "{filter:?}");
        let counted: u64 = fx.store.counts(&filter, usize::MAX).await.unwrap().values().sum();
        assert_eq!(counted, fx.store.list(&filter, None, 100).await.unwrap().len() as u64, "{filter:?}");
    }
}

pub async fn failing_runs_are_listed_by_their_first_failure(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let red = ("color", "red");
    let fails = |run: i64, index: u64, error: Option<RowError>, status: Status| {
        let change = Some(RowChange { error, ..change(status, Some(0)) });
        Turn { row: Some(row(index, index.into())), change, ..turn(run) }
    };
    let mut keys = Vec::new();
    for (id, at, since) in [("a 1", 10, 300), ("b 1", 20, 100), ("c 2", 30, 200), ("d 2", 40, 200)] {
        let workflow = if id < "c" { ORDERS } else { REFUNDS };
        let attributes = if id == "d 2" { vec![] } else { vec![red, ("id", id)] };
        let run = created(&fx, id, workflow, at, &attributes).await;
        keys.push(run);
        assert_eq!(fx.turn(fails(run, 1, Some(error(Some(since))), Status::Running)).await, TurnAnswer::Committed);
    }
    // A failed run and a run without an error are not failing.
    let failed = created(&fx, "e 1", ORDERS, 50, &[red]).await;
    fx.turn(fails(failed, 1, Some(error(None)), Status::Failed)).await;
    created(&fx, "f 1", ORDERS, 60, &[red]).await;

    let failing = Filter { failing: true, ..every() };
    let attributes =
        |pairs: &[(&str, &str)]| pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    for (filter, found) in [
        (failing.clone(), "a 1 d 2 c 2 b 1"),
        (Filter { statuses: vec![Status::Running], ..failing.clone() }, "a 1 d 2 c 2 b 1"),
        (Filter { statuses: vec![Status::Failed], ..failing.clone() }, ""),
        (Filter { workflows: vec![REFUNDS.into()], ..failing.clone() }, "d 2 c 2"),
        (Filter { attributes: attributes(&[red]), ..failing.clone() }, "a 1 c 2 b 1"),
        (Filter { attributes: attributes(&[("id", "b 1"), red]), ..failing.clone() }, "b 1"),
        (Filter { parent: Some("a 1".into()), ..failing.clone() }, ""),
        (Filter { created_from: 20, created_before: Some(40), ..failing.clone() }, "c 2 b 1"),
        (Filter { id_contains: Some("2".into()), ..failing.clone() }, "d 2 c 2"),
    ] {
        assert_eq!(list(&fx, filter.clone()).await, found, "{filter:?}");
        let counted: u64 = fx.store.counts(&filter, usize::MAX).await.unwrap().values().sum();
        assert_eq!(counted, fx.store.list(&filter, None, 100).await.unwrap().len() as u64, "{filter:?}");
    }
    let (ids, place) = page(&fx, &failing, None, 2).await;
    assert_eq!(ids, "a 1 d 2");
    // The next page does not depend on the last run of this one.
    fx.turn(fails(keys[3], 2, None, Status::Running)).await;
    let (ids, place) = page(&fx, &failing, place, 1).await;
    assert_eq!(ids, "c 2");
    assert_eq!(page(&fx, &failing, place, 2).await.0, "b 1");
    assert_eq!(list(&fx, failing).await, "a 1 c 2 b 1");
}

pub async fn runs_that_match_a_filter_are_counted_by_status(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    assert_eq!(fx.store.counts(&every(), usize::MAX).await.unwrap(), Counts::new());
    for (number, status) in [Status::Completed, Status::Failed, Status::Completed].into_iter().enumerate() {
        let run = created(&fx, &number.to_string(), ORDERS, 10 + number as u64, &[("color", "red")]).await;
        ends(&fx, run, status).await;
    }
    created(&fx, "going", REFUNDS, 20, &[("color", "red")]).await;
    let counts = |filter: Filter| {
        let store = fx.store.clone();
        async move { store.counts(&filter, usize::MAX).await.unwrap().into_iter().collect::<Vec<_>>() }
    };
    let (suspended, completed, failed) = (Status::Suspended, Status::Completed, Status::Failed);
    let all = [(suspended, 1), (completed, 2), (failed, 1)];
    assert_eq!(counts(every()).await, all);
    // No further than asked for; a store may count all the same.
    let few = fx.store.counts(&every(), 1).await.unwrap();
    assert_eq!(few.keys().collect::<Vec<_>>(), [&suspended, &completed, &failed]);
    assert!((1..=2).contains(&few[&completed]), "{few:?}");
    assert_eq!(counts(Filter { attributes: vec![("color".into(), "red".into())], ..every() }).await, all);
    assert_eq!(counts(Filter { workflows: vec![ORDERS.into()], ..every() }).await, all[1..]);
    assert_eq!(counts(Filter { statuses: vec![failed], ..every() }).await, [(failed, 1)]);
    assert_eq!(counts(Filter { created_from: 12, ..every() }).await, [(suspended, 1), (completed, 1)]);
}

pub async fn a_page_continues_after_the_last_one_when_runs_are_created_and_deleted(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let mut keys = Vec::new();
    for number in 0..6 {
        keys.push(created(&fx, &number.to_string(), ORDERS, 10 + number, &[("color", "red")]).await);
    }
    for run in &keys[2..] {
        ends(&fx, *run, Status::Completed).await;
    }
    let red = Filter { attributes: vec![("color".into(), "red".into())], ..every() };
    let (ids, place) = page(&fx, &every(), None, 2).await;
    assert_eq!(ids, "5 4");
    created(&fx, "new", ORDERS, 99, &[("color", "red")]).await;
    // Delete the last run of the page and a run of the next page.
    for run in [keys[4], keys[2]] {
        assert_eq!(fx.commit(delete(run)).await, DeleteAnswer::Committed);
    }
    assert_eq!(page(&fx, &every(), place, 2).await.0, "3 1");
    assert_eq!(page(&fx, &red, place, 2).await.0, "3 1");
    assert_eq!(list(&fx, every()).await, "new 5 3 1 0");
}

pub async fn special_characters_in_a_filter_are_no_patterns(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    for id in ["a%b", "axb", "a_b", "A%B", "a\0b"] {
        created(&fx, id, id, 10, &[(id, id)]).await;
        let found = Filter {
            workflows: vec![id.into()],
            attributes: vec![(id.into(), id.into())],
            id_contains: Some(id.into()),
            ..every()
        };
        assert_eq!(list(&fx, found).await, id);
    }
    assert_eq!(list(&fx, Filter { id_contains: Some("%".into()), ..every() }).await, "A%B a%b");
    assert_eq!(list(&fx, Filter { id_contains: Some("_".into()), ..every() }).await, "a_b");
    assert_eq!(list(&fx, Filter { id_contains: Some("' OR 1=1".into()), ..every() }).await, "");
}

pub async fn runs_created_in_one_millisecond_are_each_listed_once(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let runs: Vec<_> = (0..30).map(|n| Write::Create(new_run(&n.to_string(), taken_by(ADA)))).collect();
    fx.group(&runs).await;
    let (mut place, mut seen) = (None, Vec::new());
    loop {
        let (ids, last) = page(&fx, &every(), place, 7).await;
        if last.is_none() {
            break;
        }
        seen.extend(ids.split(' ').map(str::to_owned).collect::<Vec<_>>());
        place = last;
    }
    assert_eq!(seen.len(), 30);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 30);
}

/// Reads of tables from end to end, by the statistics of the server. It counts what a connection has done when that has been
/// idle for a moment.
pub async fn no_list_scans_a_table(fx: Fixture) {
    let database = fx.database().await;
    let insert = "INSERT INTO runs (id, workflow, parent, fingerprint, args_digest, token, created_at, completed_at, failing_since,
            generation, status, owner, epoch, wake_at, inbox_seq, recoveries)
        SELECT 'run ' || n, 'flow ' || n % 10, CASE WHEN n % 100 = 0 THEN 'p' END, 'f', decode(repeat('00', 32), 'hex'), decode(repeat('00', 16), 'hex'), n,
            CASE WHEN n % 20 > 0 THEN n + 1 END, CASE WHEN n % 20 = 0 AND n % 100 = 0 THEN n END, 0,
            CASE WHEN n % 20 > 0 THEN 'completed' ELSE 'running' END, 0, 0, CASE WHEN n % 20 = 0 THEN 9000000000000 END, 0, 0
        FROM generate_series(1, 20000) AS n";
    let filling = fx.database().await;
    filling.execute(insert, &[]).await.unwrap();
    let attributes = "INSERT INTO attributes (run, key, value, created_at) SELECT key, 'tenant', (key % 500)::text, created_at FROM runs";
    filling.execute(attributes, &[]).await.unwrap();
    filling.batch_execute("ANALYZE runs; ANALYZE attributes").await.unwrap();
    // What it has scanned is counted when it has ended.
    drop(filling);
    let sql = "SELECT sum(seq_tup_read)::bigint, sum(idx_scan)::bigint FROM pg_stat_user_tables
        WHERE relname IN ('runs', 'attributes') AND schemaname = current_schema()";
    let scans = async || {
        let row = database.query_one(sql, &[]).await.unwrap();
        (row.get::<_, i64>(0), row.get::<_, i64>(1))
    };
    let (mut before, mut indexed) = loop {
        let (tables, indexes) = scans().await;
        if tables > 0 {
            break (tables, indexes);
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    let attribute = || vec![("tenant".into(), "7".into())];
    let filters = [
        every(),
        Filter { statuses: vec![Status::Running], ..every() },
        Filter { workflows: vec!["flow 3".into()], ..every() },
        Filter { workflows: vec!["flow 3".into()], statuses: vec![Status::Completed], ..every() },
        Filter { parent: Some("p".into()), ..every() },
        Filter { attributes: attribute(), ..every() },
        Filter { failing: true, ..every() },
        Filter { created_from: 19_000, ..every() },
        Filter { created_before: Some(1_000), ..every() },
    ];
    let counted = async |earlier: i64| loop {
        let (now, indexed) = scans().await;
        if indexed > earlier {
            return (now, indexed);
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        // A connection reports what it has done when it does something later.
        fx.store.run("nobody").await.unwrap();
    };
    for filter in filters {
        let list = fx.store.list(&filter, None, 50).await.unwrap();
        assert!(!list.is_empty(), "{filter:?}");
        let (after, since) = counted(indexed).await;
        assert_eq!(after, before, "rows of tables that a list scans: {filter:?}");
        fx.store.counts(&filter, 100).await.unwrap();
        let (after, since) = counted(since).await;
        assert_eq!(after, before, "rows of tables that a count scans: {filter:?}");
        (before, indexed) = (after, since);
    }
}
