//! Listing runs: `listWorkflowRuns` of the reference, with its `fromDate`, `toDate`, `page`, `status` and
//! `workflowName`, and further filters.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::TryStreamExt;
use workflow_runtime::store::{First, Message, NewRun, Write};
use workflow_runtime::{
    Code, Cursor, Engine, Error, Result, Run, RunInfo, Runs, Status, hook, set_attribute, step, workflow,
};

use crate::support::{Lab, ManualClock, recorded, soon};

const START: u64 = 1_700_000_000_000;
const HOUR: u64 = 3_600_000;

#[workflow]
async fn ends(how: u32) -> Result<()> {
    match how {
        0 => Ok(()),
        1 => Err(Error::fatal("on purpose")),
        _ => hook::<()>().await,
    }
}

#[workflow]
async fn refunds(reason: String) -> Result<()> {
    set_attribute("reason", &reason)
}

#[workflow(id = "listing::new", was = "listing::old")]
async fn renamed() -> Result<()> {
    Ok(())
}

#[workflow]
async fn has_children() -> Result<()> {
    for _ in 0..2 {
        ends(0).await?;
    }
    ends(1).await
}

#[workflow(id = "listing::fails_at_length")]
async fn fails_at_length(text: String) -> Result<()> {
    Err(Error::fatal(text))
}

#[step(id = "listing.flaky", retries = 9, backoff = "1ms..1ms")]
async fn flaky(#[resource] lab: &Lab, name: String, fails: usize) -> Result<()> {
    let attempt = lab.note(&name);
    lab.pass_gate(&format!("{name} {attempt}")).await;
    match attempt <= fails {
        true => Err(Error::new(format!("no route to 10.0.0.{attempt}"))),
        false => Ok(()),
    }
}

#[workflow(id = "listing::flaky")]
async fn calls_flaky(name: String, fails: usize) -> Result<()> {
    flaky(name, fails).await?;
    hook::<()>().await
}

#[workflow(id = "listing::calls_child")]
async fn calls_child(name: String, fails: usize) -> Result<()> {
    calls_flaky(name, fails).await
}

/// Waits until the run is failing (`expected`), or is not.
async fn is_failing(engine: &Engine, id: &str, expected: bool) -> RunInfo {
    let run: Run<()> = engine.get_run(id);
    soon(async {
        loop {
            let info = run.info().await.unwrap();
            if info.failing_since.is_some() == expected {
                return info;
            }
            workflow_harness::pause().await;
        }
    })
    .await
}

fn time(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(milliseconds)
}

/// The ids of all listed runs.
async fn ids(runs: Runs) -> Vec<String> {
    runs.stream().map_ok(|run| run.id).try_collect().await.unwrap()
}

async fn started(engine: &Engine, how: u32, id: &str) {
    let run = engine.start(ends, how).id(id).await.unwrap();
    if how < 2 {
        let _ = soon(run).await;
    }
}

on_each_store! {
    async fn list_workflow_runs_by_status(place: Place) {
        let engine = place.open(&Lab::new()).await;
        for (how, id) in [(0, "a"), (1, "b"), (2, "c"), (0, "d"), (2, "e")] {
            started(&engine, how, id).await;
        }
        soon(engine.get_run::<(), Error>("e").cancel("enough")).await.unwrap();
        let of = |statuses: &[Status]| statuses.iter().fold(engine.runs(), |runs, status| runs.status(*status));
        assert_eq!(ids(engine.runs()).await, ["e", "d", "c", "b", "a"]);
        assert_eq!(ids(of(&[Status::Completed])).await, ["d", "a"]);
        assert_eq!(ids(of(&[Status::Failed, Status::Cancelled])).await, ["e", "b"]);
        assert_eq!(ids(of(&[Status::Suspended])).await, ["c"]);
        assert_eq!(ids(of(&[Status::Stuck])).await, [""; 0]);
        // A listed run has the same fields as `info`.
        let page = of(&[Status::Failed]).await.unwrap();
        let (listed, info) = (&page.runs[0], engine.get_run::<(), Error>("b").info().await.unwrap());
        assert_eq!(format!("{listed:?}"), format!("{info:?}"));
        assert!(page.next.is_none());
    }

    async fn a_run_is_failing_from_the_first_failed_attempt_until_the_step_succeeds(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        for (id, fails) in [("a", 2), ("b", 9), ("c", 0)] {
            engine.start(calls_flaky, (id.into(), fails)).id(id).await.unwrap();
        }
        assert_eq!(ids(engine.runs().failing()).await, [""; 0]);
        lab.open_gate("a 1");
        let first = is_failing(&engine, "a", true).await;
        let error = first.error.unwrap();
        assert_eq!((&*error.code, &*error.text), ("user", "no route to 10.0.0.1"));
        assert_eq!(error.class, "user: no route to #.#.#.#");
        lab.open_gate("b 1");
        is_failing(&engine, "b", true).await;
        assert_eq!(ids(engine.runs().failing()).await, ["b", "a"]);
        assert_eq!(ids(engine.runs().failing().of(calls_flaky).limit(1)).await, ["b", "a"]);
        assert_eq!(engine.runs().failing().count().await.unwrap().into_values().sum::<u64>(), 2);
        // The next failure has the same class, so the row does not change.
        lab.open_gate("a 2");
        soon(lab.executed("a", 3)).await;
        let again = is_failing(&engine, "a", true).await;
        assert_eq!(again.failing_since, first.failing_since);
        lab.open_gate("a 3");
        let done = is_failing(&engine, "a", false).await;
        assert_eq!(done.error, None);
        lab.open_gate("c 1");
        recorded(&place, "c", "\"hook\"").await;
        assert_eq!(ids(engine.runs().failing()).await, ["b"]);
        // Another engine replays the run, which is still failing.
        drop(engine);
        let engine = place.open(&lab).await;
        assert_eq!(ids(engine.runs().failing()).await, ["b"]);
        (3..=10).for_each(|attempt| lab.open_gate(&format!("b {attempt}")));
        lab.open_gate("b 2");
        is_failing(&engine, "b", false).await;
    }

    async fn an_ended_run_is_not_failing_and_has_its_error(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        for attempt in 1..=10 {
            lab.open_gate(&format!("a {attempt}"));
        }
        lab.open_gate("b 1");
        let run = engine.start(calls_flaky, ("a".into(), 10)).id("a").await.unwrap();
        let error = soon(&run).await.unwrap_err();
        let info = run.info().await.unwrap();
        assert_eq!((info.failing_since, info.error.unwrap().text), (None, error.to_string()));
        let parent = engine.start(calls_child, ("b".into(), 9)).id("parent").await.unwrap();
        let child = soon(async {
            loop {
                if let Some(child) = ids(engine.runs().failing()).await.pop() {
                    break child;
                }
            }
        })
        .await;
        assert_eq!(parent.info().await.unwrap().failing_since, None, "only its child is failing");
        soon(engine.get_run::<(), Error>(&child).cancel("enough of 7")).await.unwrap();
        let info = engine.get_run::<(), Error>(&child).info().await.unwrap();
        let error = info.error.unwrap();
        assert_eq!((info.failing_since, &*error.code, &*error.text), (None, "cancelled", "enough of 7"));
        assert_eq!(error.class, "cancelled: enough of #");
        assert_eq!(ids(engine.runs().failing()).await, [""; 0]);
        // The retried run has no error until it fails again.
        lab.open_gate("a 11");
        run.retry().await.unwrap();
        let info = soon(async {
            loop {
                let info = run.info().await.unwrap();
                if !info.status.is_terminal() {
                    break info;
                }
            }
        })
        .await;
        assert_eq!((info.failing_since, info.error), (None, None));
    }

    async fn a_long_error_is_shortened_in_lists(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(fails_at_length, "é".repeat(1_000)).await.unwrap();
        soon(&run).await.unwrap_err();
        let error = run.info().await.unwrap().error.unwrap();
        assert_eq!(error.text, "é".repeat(128));
        assert_eq!((error.class.len(), error.class.starts_with("user: é")), (256, true));
    }

    async fn list_workflow_runs_by_workflow_name(place: Place) {
        let engine = place.open(&Lab::new()).await;
        started(&engine, 0, "a").await;
        let run = engine.start(refunds, "broken".to_owned()).id("b").await.unwrap();
        (&run).await.unwrap();
        engine.start(renamed, ()).id("c").await.unwrap();
        let workflow = run.info().await.unwrap().workflow;
        assert_eq!(ids(engine.runs().workflow(&workflow)).await, ["b"]);
        assert_eq!(ids(engine.runs().of(refunds)).await, ["b"]);
        assert_eq!(ids(engine.runs().of(refunds).of(ends)).await, ["b", "a"]);
        assert_eq!(ids(engine.runs().workflow("listing::new")).await, ["c"]);
        assert_eq!(ids(engine.runs().of(renamed)).await, ["c"]);
        assert_eq!(ids(engine.runs().of(renamed).status(Status::Failed)).await, [""; 0]);
        assert_eq!(ids(engine.runs().workflow("refunds")).await, [""; 0], "the filter matches whole ids");
    }

    async fn runs_of_a_workflow_that_was_renamed_are_found_by_the_function(place: Place) {
        let client = place.builder(&Lab::new()).connect().await.unwrap();
        client.start(renamed, ()).id("new").await.unwrap();
        let message = Message { dedupe: None, arrived_at: 0, format: 1, checksum: 0, body: Arc::new([]) };
        let new = NewRun {
            id: "old".into(),
            workflow: "listing::old".into(),
            fingerprint: "".into(),
            args_digest: [0; 32],
            created_at: 0,
            token: 1,
            required_deployment: None,
            depth: 0,
            effects: None,
            chunks: Vec::new(),
            first: First::Message(message),
        };
        place.store().commit(&[Write::Create(new)]).await.unwrap();
        assert_eq!(ids(client.runs().of(renamed)).await, ["new", "old"]);
        assert_eq!(ids(client.runs().workflow("listing::old")).await, ["old"]);
    }

    async fn list_workflow_runs_from_date_to_date(place: Place) {
        let clock = ManualClock::at(START);
        let engine = place.open_at(&Lab::new(), &clock).await;
        for (hour, id) in [(0, "a"), (1, "b"), (2, "c"), (3, "d")] {
            clock.set(START + hour * HOUR);
            started(&engine, 0, id).await;
        }
        let (from, to) = (time(START + HOUR), time(START + 3 * HOUR));
        assert_eq!(ids(engine.runs().created_after(from)).await, ["d", "c", "b"]);
        assert_eq!(ids(engine.runs().created_before(to)).await, ["c", "b", "a"]);
        assert_eq!(ids(engine.runs().created_after(from).created_before(to)).await, ["c", "b"]);
        assert_eq!(ids(engine.runs().created_after(from).created_before(from)).await, [""; 0]);
        assert_eq!(ids(engine.runs().created_after(UNIX_EPOCH - Duration::from_secs(1))).await.len(), 4);
        let counts = engine.runs().of(ends).created_before(from).count().await.unwrap();
        assert_eq!(counts.into_iter().collect::<Vec<_>>(), [(Status::Completed, 1)]);
    }

    async fn list_workflow_runs_page_by_page_while_runs_come_and_go(place: Place) {
        let engine = place.open(&Lab::new()).await;
        for number in 0..7 {
            started(&engine, 0, &number.to_string()).await;
        }
        let first = engine.runs().limit(3).await.unwrap();
        let seen = |page: &workflow_runtime::Page| page.runs.iter().map(|run| run.id.clone()).collect::<Vec<_>>();
        assert_eq!(seen(&first), ["6", "5", "4"]);
        started(&engine, 0, "new").await;
        for id in ["4", "2"] {
            engine.get_run::<(), Error>(id).delete().await.unwrap();
        }
        // Another process continues with the cursor as text.
        let cursor: Cursor = first.next.unwrap().to_string().parse().unwrap();
        assert_eq!(Some(cursor), first.next);
        let client = place.builder(&Lab::new()).connect().await.unwrap();
        let second = client.runs().limit(2).after(cursor).await.unwrap();
        assert_eq!(seen(&second), ["3", "1"]);
        let last = client.runs().limit(2).after(second.next.unwrap()).await.unwrap();
        assert_eq!((seen(&last), last.next), (vec!["0".to_owned()], None));
        // A full page that is also the last has no cursor.
        assert!(engine.runs().limit(6).await.unwrap().next.is_none());
        assert_eq!(engine.runs().limit(0).await.unwrap().runs.len(), 1);
    }

    async fn list_workflow_runs_by_attributes_parent_and_text_in_ids(place: Place) {
        let engine = place.open(&Lab::new()).await;
        for (id, customer, region) in [("order-1", "Ada", "north"), ("order-2", "Ada", "south"), ("order-3", "Bob", "north")] {
            let start = engine.start(ends, 0).attribute("customer", customer).attribute("region", region);
            start.id(id).await.unwrap().await.unwrap();
        }
        let parent = engine.start(has_children, ()).id("parent").await.unwrap();
        assert_eq!(soon(&parent).await.unwrap_err().message(), "on purpose");
        let ada = || engine.runs().attribute("customer", "Ada");
        assert_eq!(ids(ada()).await, ["order-2", "order-1"]);
        assert_eq!(ids(ada().attribute("region", "north")).await, ["order-1"]);
        assert_eq!(ids(ada().status(Status::Failed)).await, [""; 0]);
        let mut children = parent.children().await.unwrap();
        children.reverse();
        assert_eq!(ids(engine.runs().parent("parent")).await, children);
        assert_eq!(ids(engine.runs().parent("parent").status(Status::Failed)).await, children[..1]);
        assert_eq!(ids(engine.runs().id_contains("der-")).await, ["order-3", "order-2", "order-1"]);
        assert_eq!(ids(engine.runs().id_contains("order-2").attribute("customer", "Ada")).await, ["order-2"]);
    }

    async fn runs_are_counted_by_status(place: Place) {
        let engine = place.open(&Lab::new()).await;
        assert!(engine.runs().count().await.unwrap().is_empty());
        for (how, id) in [(0, "a"), (1, "b"), (0, "c"), (2, "d")] {
            started(&engine, how, id).await;
        }
        let counts: Vec<_> = engine.runs().count().await.unwrap().into_iter().collect();
        assert_eq!(counts, [(Status::Suspended, 1), (Status::Completed, 2), (Status::Failed, 1)]);
        let failed: Vec<_> = engine.runs().status(Status::Failed).count().await.unwrap().into_iter().collect();
        assert_eq!(failed, [(Status::Failed, 1)]);
    }

    async fn a_stream_of_runs_reads_all_pages(place: Place) {
        let engine = place.open(&Lab::new()).await;
        for number in 0..25 {
            started(&engine, 0, &number.to_string()).await;
        }
        let all: Vec<String> = (0..25).rev().map(|number| number.to_string()).collect();
        for limit in [1, 4, 5, 24, 25, 26] {
            assert_eq!(ids(engine.runs().limit(limit)).await, all);
        }
    }
}

case! {
    async fn an_invalid_cursor_is_an_error() {
        for text in ["", "-", "1", "1-", "x-1", "1-x", "-1-1", "1-99999999999999999999", "1 2"] {
            assert_eq!(text.parse::<Cursor>().unwrap_err().code(), Code::InvalidCursor, "{text}");
        }
    }
}
