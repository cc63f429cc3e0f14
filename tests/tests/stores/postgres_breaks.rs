//! Engines and clients whose connections break while they open.

use std::time::Duration;

use futures::{StreamExt, stream};
use workflow_harness::postgres::url;
use workflow_runtime::{Client, Code, Engine};

use crate::proxy::{COMMIT, Cut, How, Kind, Passed, Proxy, READY, Reach};

/// More answers than opening an engine takes.
const ANSWERS: u32 = 48;

fn cut(at: Kind, nth: u32, time: Duration, reach: Reach) -> Cut {
    Cut { at, nth, passed: Passed::Nothing, how: How::Closed, time, reach }
}

/// Opens an engine through a proxy that makes this cut: whether the cut was made.
async fn opens(cut: Cut) -> bool {
    let direct = url();
    let proxy = Proxy::start(&direct).await;
    proxy.arm(cut.clone());
    let engine = Engine::open(&proxy.url(&direct)).await.unwrap_or_else(|error| panic!("{cut:?}: {error:?}"));
    let has_cut = proxy.cuts() > 0;
    engine.shutdown().await.unwrap_or_else(|error| panic!("{cut:?}: {error:?}"));
    has_cut
}

case! {
    #[postgres]
    async fn an_engine_opens_when_any_answer_is_lost_with_its_connection() {
        let answers = (1..=ANSWERS).map(|nth| cut(READY, nth, Duration::ZERO, Reach::One));
        let commits = (1..=2).map(|nth| cut(COMMIT, nth, Duration::ZERO, Reach::One));
        let lost: Vec<bool> = stream::iter(answers.chain(commits)).map(opens).buffer_unordered(8).collect().await;
        // At least the first connect, the schema and the registration of the worker must have been cut.
        assert!(lost.iter().filter(|lost| **lost).count() > 8, "{lost:?}");
    }
}

case! {
    #[postgres]
    async fn an_engine_that_opens_waits_for_a_database_that_goes_down() {
        let away = |nth| cut(READY, nth, Duration::from_millis(1_200), Reach::All);
        let lost: Vec<bool> = stream::iter((1..=ANSWERS).step_by(4).map(away)).map(opens).buffer_unordered(6).collect().await;
        assert!(lost[0], "{lost:?}");
    }
}

case! {
    #[postgres]
    async fn a_client_that_connects_waits_for_a_database_that_goes_down() {
        let direct = url();
        let proxy = Proxy::start(&direct).await;
        proxy.arm(cut(READY, 2, Duration::from_millis(1_200), Reach::All));
        let client = Client::connect(&proxy.url(&direct)).await.unwrap();
        assert!(client.runs().count().await.unwrap().is_empty());
    }
}

case! {
    #[postgres]
    async fn opening_an_engine_fails_if_the_database_stays_down() {
        let direct = url();
        // The tables exist already, so the cut interrupts the check of the tables or a later phase.
        Engine::open(&direct).await.unwrap().shutdown().await.unwrap();
        let proxy = Proxy::start(&direct).await;
        proxy.arm(cut(READY, 4, Duration::from_secs(60), Reach::All));
        let url = format!("{}&connect_timeout=1", proxy.url(&direct));
        let opening = Engine::open(&url).await;
        assert_eq!(opening.unwrap_err().code(), Code::Store);
    }
}
