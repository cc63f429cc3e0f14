//! How pages are kept up to date.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpStream;
use workflow_runtime::{Client, Engine, web};

use crate::support::{get, open, serve, soon};
use crate::world::{filled, naps};

/// Opens the stream of a page, and reads its head.
async fn tab(to: SocketAddr) -> BufReader<TcpStream> {
    let mut stream = BufReader::new(open(to, "GET", "/live", &[], "").await);
    let status = line(&mut stream).await;
    assert!(status.contains("200"), "{status}");
    while !line(&mut stream).await.trim().is_empty() {}
    stream
}

async fn line(stream: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    soon(stream.read_line(&mut line)).await.expect("a line");
    line
}

async fn change(stream: &mut BufReader<TcpStream>) {
    while !line(stream).await.contains("event: change") {}
}

case! {
    #[threads]
    async fn each_open_page_hears_of_a_change_in_the_same_process() {
        let engine = filled("text").await;
        let to = serve(web::router(&engine).into()).await;
        let mut tabs = Vec::new();
        for _ in 0..100 {
            tabs.push(tab(to).await);
        }
        engine.start(naps, ()).await.expect("it is started");
        for stream in &mut tabs {
            change(stream).await;
        }
        engine.shutdown().await.unwrap();
    }
}

case! {
    #[threads]
    async fn a_hundred_open_pages_have_one_watcher() {
        let engine = filled("text").await;
        let to = serve(web::router(&engine).into()).await;
        let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
        let mut tabs = vec![tab(to).await];
        change(&mut tabs[0]).await;
        let before = tasks();
        for _ in 0..99 {
            tabs.push(tab(to).await);
        }
        // Each connection is a task of the server; a watcher each would be as many again.
        let more = tasks().saturating_sub(before);
        assert!((99..150).contains(&more), "{more} more tasks");
        engine.shutdown().await.unwrap();
    }
}

case! {
    #[threads]
    async fn the_streams_of_pages_end_when_the_engine_shuts_down() {
        let engine = filled("text").await;
        let to = serve(web::router(&engine).into()).await;
        let mut stream = tab(to).await;
        engine.shutdown().await.unwrap();
        let mut rest = String::new();
        soon(stream.read_to_string(&mut rest)).await.expect("the end of the stream");
    }
}

case! {
    #[threads]
    async fn a_client_has_no_more_live_pages_than_it_may() {
        let engine = filled("text").await;
        let to = serve(web::router(&engine).live_pages(2).into()).await;
        let tabs = (tab(to).await, tab(to).await);
        assert_eq!(get(to, "/live").await.status, 429);
        assert_eq!(get(to, "/runs").await.status, 200);
        drop(tabs);
        // The server notices that they are gone when it sends the next event.
        soon(async {
            loop {
                let mut stream = BufReader::new(open(to, "GET", "/live", &[], "").await);
                if line(&mut stream).await.contains("200") {
                    break;
                }
                workflow_harness::pause().await;
            }
        })
        .await;
        engine.shutdown().await.unwrap();
    }
}

case! {
    #[postgres]
    async fn a_hundred_open_pages_are_one_listen() {
        let url = workflow_harness::postgres::url();
        let engine = Engine::open(&url).await.expect("an engine");
        let client = Client::connect(&url).await.expect("a client");
        let database = workflow_harness::postgres::connect(&url).await;
        let count = async || -> i64 {
            let text = "SELECT count(*) FROM pg_stat_activity WHERE query ILIKE 'listen%' OR query ILIKE '%; listen%'";
            database.query_one(text, &[]).await.expect("a count").get(0)
        };
        let connections = async || -> i64 {
            database.query_one("SELECT count(*) FROM pg_stat_activity", &[]).await.expect("a count").get(0)
        };
        let to = serve(web::router(&client).into()).await;
        let mut first = tab(to).await;
        change(&mut first).await;
        let (listening, connected) = (count().await, connections().await);
        let mut tabs = Vec::new();
        for _ in 0..99 {
            tabs.push(tab(to).await);
        }
        engine.start(naps, ()).await.expect("it is started");
        for stream in &mut tabs {
            change(stream).await;
        }
        assert_eq!(count().await, listening);
        // Pools may grow by the work of the engines, and not with the pages.
        assert!(connections().await <= connected + 10, "{connected}");
        engine.shutdown().await.unwrap();
    }
}
