//! Engines that are opened while their connections break.

use std::time::Duration;

use futures::{StreamExt, stream};
use workflow_harness::postgres::url;
use workflow_runtime::{Client, Code, Engine};

use crate::proxy::{COMMIT, Cut, How, Kind, Passed, Proxy, READY, Reach};

/// More answers than there are on the way to an open engine.
const ANSWERS: u32 = 48;

fn cut(at: Kind, nth: u32, time: Duration, reach: Reach) -> Cut {
    Cut { at, nth, passed: Passed::Nothing, how: How::Closed, time, reach }
}

/// Opens an engine by way of a proxy that breaks the connection there, or all of them: whether it came to that.
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
    async fn an_engine_opens_whichever_answer_is_lost_with_its_connection() {
        let answers = (1..=ANSWERS).map(|nth| cut(READY, nth, Duration::ZERO, Reach::One));
        let commits = (1..=2).map(|nth| cut(COMMIT, nth, Duration::ZERO, Reach::One));
        let lost: Vec<bool> = stream::iter(answers.chain(commits)).map(opens).buffer_unordered(8).collect().await;
        // The first connect, the schema, the registration of the worker.
        assert!(lost.iter().filter(|lost| **lost).count() > 8, "{lost:?}");
    }
}

case! {
    #[postgres]
    async fn an_engine_waits_for_a_database_that_goes_away_while_it_is_opened() {
        let away = |nth| cut(READY, nth, Duration::from_millis(1_200), Reach::All);
        let lost: Vec<bool> = stream::iter((1..=ANSWERS).step_by(4).map(away)).map(opens).buffer_unordered(6).collect().await;
        assert!(lost[0], "{lost:?}");
    }
}

case! {
    #[postgres]
    async fn a_client_waits_for_a_database_that_goes_away_while_it_connects() {
        let direct = url();
        let proxy = Proxy::start(&direct).await;
        proxy.arm(cut(READY, 2, Duration::from_millis(1_200), Reach::All));
        let client = Client::connect(&proxy.url(&direct)).await.unwrap();
        assert!(client.runs().count().await.unwrap().is_empty());
    }
}

case! {
    #[postgres]
    async fn a_database_that_does_not_come_back_while_an_engine_is_opened_is_an_error() {
        let direct = url();
        // The tables are there already: what is interrupted is the look at them, or what comes behind it.
        Engine::open(&direct).await.unwrap().shutdown().await.unwrap();
        let proxy = Proxy::start(&direct).await;
        proxy.arm(cut(READY, 4, Duration::from_secs(60), Reach::All));
        let url = format!("{}&connect_timeout=1", proxy.url(&direct));
        let opening = Engine::open(&url).await;
        assert_eq!(opening.unwrap_err().code(), Code::Store);
    }
}
