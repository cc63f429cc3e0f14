//! What a PostgreSQL store says when it cannot be opened, and what it leaves as it is.

use std::net::TcpListener;

use futures::future::join_all;
use workflow_harness::postgres::{Cluster, url};
use workflow_runtime::Code;
use workflow_runtime::store::{Outcome, PostgresStore, Store, Turn, Write};

use crate::fixture::*;

/// The error, with all that it says.
async fn refused(url: &str) -> (Code, String) {
    let opening = tokio::time::timeout(std::time::Duration::from_secs(30), PostgresStore::open(url));
    let error = opening.await.expect("it does not hang").expect_err("this cannot be opened");
    (error.code(), format!("{error:?}"))
}

#[track_caller]
fn says((code, text): (Code, String), expected: Code, words: &[&str]) {
    assert_eq!(code, expected, "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in:\n{text}");
    }
    assert!(text.contains("help: "), "{text}");
}

case! {
    #[postgres]
    async fn processes_that_open_a_new_schema_at_once_make_it_once() {
        let url = url();
        let stores = join_all((0..6).map(|_| PostgresStore::open(&url))).await;
        for store in stores {
            assert_eq!(store.unwrap().run("nobody").await.unwrap(), None);
        }
    }
}

case! {
    #[postgres]
    async fn a_schema_of_a_newer_version_is_left_alone() {
        let fx = Fixture::postgres();
        fx.database().await.batch_execute("UPDATE meta SET version = 99").await.unwrap();
        says(refused(&fx.url.clone().unwrap()).await, Code::NewerStore, &["version 99", "update this program"]);
    }
}

case! {
    #[postgres]
    async fn a_schema_of_something_else_is_left_alone() {
        for tables in ["CREATE TABLE orders (id int)", "CREATE TABLE meta (only_row int, version int)"] {
            let fx = Fixture::postgres();
            let (schema, database) = (fx.schema(), fx.database().await);
            let make = format!("DROP SCHEMA {schema} CASCADE; CREATE SCHEMA {schema}; {tables}");
            database.batch_execute(&make).await.unwrap();
            says(refused(&fx.url.clone().unwrap()).await, Code::Store, &["something else", "tables: ", "`schema`"]);
            let left = database.query("SELECT 1 FROM pg_tables WHERE schemaname = $1", &[&schema]).await.unwrap();
            assert_eq!(left.len(), 1);
        }
    }
}

case! {
    #[postgres]
    async fn a_schema_that_is_there_and_empty_is_used() {
        let fx = Fixture::postgres();
        let schema = fx.schema();
        let make = format!("DROP SCHEMA {schema} CASCADE; CREATE SCHEMA {schema}");
        fx.database().await.batch_execute(&make).await.unwrap();
        assert_eq!(fx.another().run("nobody").await.unwrap(), None);
    }
}

case! {
    #[postgres]
    async fn a_database_that_is_not_there_is_an_error_that_says_so() {
        let url = url();
        let (base, _) = url.split_once('?').unwrap();
        let (server, _) = base.rsplit_once('/').unwrap();
        says(refused(&format!("{server}/no_such_database")).await, Code::Store, &["no_such_database", "create the database"]);
    }
}

case! {
    async fn a_server_that_cannot_be_reached_is_an_error_that_says_so() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        says(refused(&format!("postgres://u@127.0.0.1:{port}/d")).await, Code::Store, &["127.0.0.1", "is up"]);
    }
}

case! {
    async fn a_server_that_never_answers_is_not_waited_for() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = silent.local_addr().unwrap().port();
        let url = format!("postgres://u@127.0.0.1:{port}/d?connect_timeout=1");
        says(refused(&url).await, Code::Store, &["127.0.0.1", "in time"]);
    }
}

case! {
    async fn a_url_that_is_none_is_an_error_that_names_what_is_wrong() {
        let (code, text) = refused("postgres://u@h/d?lease=soon").await;
        assert_eq!(code, Code::InvalidUrl);
        assert!(text.contains("`lease`"), "{text}");
        let error = workflow_runtime::Engine::builder().url("mysql://u@h/d").open().await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidUrl);
    }
}

case! {
    #[cluster]
    async fn who_may_not_is_told_what_is_missing() {
        let cluster = Cluster::start();
        let (client, connection) = tokio_postgres::connect(&cluster.address.url(), tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client
            .batch_execute(
                "CREATE ROLE stranger LOGIN PASSWORD 'right';
                 CREATE ROLE guest LOGIN;
                 CREATE ROLE reader LOGIN SUPERUSER;
                 ALTER ROLE reader SET default_transaction_read_only = on",
            )
            .await
            .unwrap();
        let access = cluster.directory.join("data/pg_hba.conf");
        let all = std::fs::read_to_string(&access).unwrap();
        std::fs::write(&access, format!("host all stranger 127.0.0.1/32 scram-sha-256\n{all}")).unwrap();
        client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        let as_user = |user: &str| format!("postgres://{user}@127.0.0.1:{}/postgres", cluster.address.port);
        // The server reads its file again when it comes to it.
        while tokio_postgres::connect(&as_user("stranger:wrong"), tokio_postgres::NoTls).await.is_ok() {
            tokio::task::yield_now().await;
        }
        says(refused(&as_user("stranger:wrong")).await, Code::Store, &["password", "check the user and the password"]);
        says(refused(&as_user("guest")).await, Code::Store, &["permission denied", "the right to create a schema"]);
        says(refused(&as_user("reader")).await, Code::Store, &["read-only", "primary"]);
        let engine = workflow_runtime::Engine::open(&as_user("workflow")).await.unwrap();
        engine.shutdown().await.unwrap();
    }
}

case! {
    #[cluster]
    async fn a_store_outlives_a_restart_of_the_database() {
        let cluster = Cluster::start();
        let store = PostgresStore::open(&cluster.address.url()).await.unwrap();
        let right = store.acquire(ADA).await.unwrap().unwrap();
        let Outcome::Created(key) = commit(&store, Write::Create(new_run("r", taken_by(ADA)))).await else {
            panic!("not created")
        };
        for index in 1..4 {
            cluster.restart();
            let next = Write::Turn(Turn { row: Some(row(index, u128::from(index) + 1)), ..turn(key) });
            while store.commit(std::slice::from_ref(&next)).await.is_err() {
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(store.journal(key, 0, 0, 10).await.unwrap().len(), 4);
        let client = PostgresStore::open(&cluster.address.url()).await.unwrap();
        commit(&client, Write::Post { run: "r".into(), letter: letter("x"), unstick: false }).await;
        while store.news(ADA).await.unwrap() != [key] {
            store.changed(&workflow_runtime::engine::System).await;
        }
        drop(right);
    }
}
