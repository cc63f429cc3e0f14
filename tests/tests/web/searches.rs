//! Lists whose filter no index has: a page ends when it is full or when its time is over.

use std::net::SocketAddr;
use std::sync::Arc;

use futures::future::BoxFuture;
use workflow_runtime::store::*;
use workflow_runtime::{Engine, Error, Result, step, web, workflow};

use crate::clock::ManualClock;
use crate::support::{get, serve, soon};
use crate::world::retries;

#[step]
async fn holds() -> Result<()> {
    std::future::pending().await
}

#[workflow(id = "holds")]
async fn held() -> Result<()> {
    holds().await
}

/// A store in which the time for a search is over after each read of runs.
struct Slow {
    inner: MemoryStore,
    clock: ManualClock,
}

impl Slow {
    async fn reading(&self, method: &str) {
        if method == "list" {
            self.clock.pass(1_000);
        }
    }
}

impl Store for Slow {
    fn commit<'a>(&'a self, group: &'a [Write]) -> BoxFuture<'a, std::result::Result<Vec<Answer>, Failed>> {
        self.inner.commit(group)
    }

    fn acquire(&self, owner: u64) -> BoxFuture<'_, std::result::Result<Option<Box<dyn Ownership>>, Error>> {
        self.inner.acquire(owner)
    }

    forward_reads!();
}

/// Sixty runs that are running, and 250 later ones that are failing.
async fn filled(store: &MemoryStore) -> Engine {
    let engine = Engine::builder().store(Arc::new(store.clone())).open().await.expect("an engine");
    for number in 0..60 {
        engine.start(held, ()).id(format!("held-{number}")).await.expect("it is started");
    }
    for number in 0..250 {
        engine.start(retries, "text".to_owned()).id(format!("fails-{number}")).await.expect("it is started");
    }
    soon(async {
        while engine.runs().failing().count().await.expect("a count").values().sum::<u64>() < 250 {
            workflow_harness::pause().await;
        }
    })
    .await;
    engine
}

/// A page: its number of runs, its text about the search, and the link to the next page with its word.
async fn page(to: SocketAddr, path: &str) -> (usize, Option<String>, Option<(String, String)>) {
    let body = get(to, path).await.body;
    let text = body.split("<p class=\"searched\"").nth(1).and_then(|rest| rest.split("</p>").next());
    let link = body.split("<a class=\"chip").find(|link| link.contains("rel=\"next\""));
    let link = link.map(|link| {
        let to = link.split("href=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("an address");
        let word = link.split('>').nth(1).and_then(|rest| rest.split('<').next()).expect("a word");
        (word.to_owned(), format!("/{}", to.replace("&amp;", "&")))
    });
    (body.matches("data-row=").count(), text.map(str::to_owned), link)
}

case! {
    async fn a_search_that_has_no_time_left_says_so_and_continues_by_a_link() {
        let store = MemoryStore::new();
        let _engine = filled(&store).await;
        let clock = ManualClock::right();
        let slow = Slow { inner: store.clone(), clock: clock.clone() };
        let client = Engine::builder().store(Arc::new(slow)).environment(Arc::new(clock)).connect().await.expect("a client");
        let to = serve(web::router(&client).into()).await;
        for filter in ["view=running", "contains=held", "view=running&contains=held", "view=running&workflow=holds&workflow=retries"] {
            // The first read of the search has only runs that do not match.
            let (runs, text, link) = page(to, &format!("/runs?{filter}")).await;
            let text = text.unwrap_or_else(|| panic!("{filter}: the page says nothing"));
            assert!(runs == 0 && text.contains("No run that matches was found so far"), "{filter}: {text}");
            let (word, next) = link.expect("a link");
            assert_eq!(word, "Search on", "{filter}");
            // The second one has enough for a page, and the third one the rest.
            let (runs, text, link) = page(to, &next).await;
            assert_eq!((runs, text), (50, None), "{filter}");
            let (word, next) = link.expect("a link");
            assert_eq!(word, "Older", "{filter}");
            assert_eq!(page(to, &next).await, (10, None, None), "{filter}");
        }
        // A short page that is the last one is no search.
        assert_eq!(page(to, "/runs?view=running&contains=held-59").await.2.expect("a link").0, "Search on");
        // What was found before the time was over is shown.
        let (runs, text, link) = page(to, "/runs?contains=fails-24").await;
        let text = text.expect("a text");
        assert!(runs == 10 && text.contains("These are the runs that were found so far"), "{runs} {text}");
        assert_eq!(page(to, &link.expect("a link").1).await, (1, None, None));
    }
}

case! {
    async fn a_search_continues_until_its_page_is_full() {
        let store = MemoryStore::new();
        let _engine = filled(&store).await;
        // Its clock does not move, so that a search has time.
        let client = Engine::builder().store(Arc::new(store)).environment(Arc::new(ManualClock::right()));
        let client = client.connect().await.expect("a client");
        let to = serve(web::router(&client).into()).await;
        let (runs, text, link) = page(to, "/runs?view=running").await;
        assert_eq!((runs, text), (50, None));
        assert_eq!(page(to, &link.expect("a link").1).await, (10, None, None));
        assert_eq!(page(to, "/runs?view=failing").await.0, 50);
    }
}
