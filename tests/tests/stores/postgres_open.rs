//! What a PostgreSQL store says when it cannot be opened, and what it leaves as it is.

use std::io::{Read, Write as _};
use std::net::TcpListener;

use futures::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use workflow_harness::postgres::{Cluster, url};
use workflow_runtime::Code;
use workflow_runtime::store::{CreateAnswer, Post, PostgresOptions, PostgresStore, Store, Turn, Write};

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
        fx.database().await.batch_execute("UPDATE meta SET version = 99, readable_from = 99").await.unwrap();
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
        let url = format!("postgres://u@127.0.0.1:{port}/d?connect_timeout=1");
        says(refused(&url).await, Code::Store, &["127.0.0.1", "is up"]);
        let url = "postgres://u@no-such-host.invalid/d?connect_timeout=1";
        says(refused(url).await, Code::Store, &["no-such-host.invalid", "the host and the port"]);
    }
}

case! {
    #[threads]
    async fn a_server_that_is_something_else_is_an_error_that_says_so() {
        for answer in ["", "HTTP/1.1 400 Bad Request\r\n\r\n"] {
            let server = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = server.local_addr().unwrap().port();
            let serving = std::thread::spawn(move || {
                while let Ok((mut client, _)) = server.accept() {
                    let mut request = [0; 8];
                    if client.read_exact(&mut request).is_err() || client.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
            let url = format!("postgres://u@127.0.0.1:{port}/d?connect_timeout=1");
            says(refused(&url).await, Code::Store, &["127.0.0.1", "the host and the port"]);
            drop(std::net::TcpStream::connect(("127.0.0.1", port)));
            serving.join().unwrap();
        }
    }
}

case! {
    async fn a_server_that_comes_up_is_waited_for() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("postgres://u@127.0.0.1:{port}/d?connect_timeout=20");
        let opening = tokio::spawn(async move { refused(&url).await });
        // Somebody is there in the end, who says that it is of no use to wait.
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
        let server = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let error = b"E\0\0\0\x2dSFATAL\0C3D000\0Mno database of that name\0\0";
        let (mut client, _) = server.accept().await.unwrap();
        // It asks for TLS, and then for the database.
        let mut asked = [0; 8];
        client.read_exact(&mut asked).await.unwrap();
        client.write_all(b"N").await.unwrap();
        assert!(client.read(&mut [0; 1024]).await.unwrap() > 0);
        client.write_all(error).await.unwrap();
        says(opening.await.unwrap(), Code::Store, &["no database of that name", "create the database"]);
    }
}

case! {
    #[postgres]
    async fn a_schema_that_somebody_has_locked_is_not_waited_for() {
        let fx = Fixture::postgres();
        let other = fx.database().await;
        other.batch_execute("BEGIN; LOCK TABLE meta IN ACCESS EXCLUSIVE MODE").await.unwrap();
        let url = format!("{}&timeout=1s", fx.url.clone().unwrap());
        says(refused(&url).await, Code::Store, &["prepare the schema", "in time", "`timeout`"]);
    }
}

case! {
    #[postgres]
    async fn a_way_to_listen_that_leads_nowhere_is_no_error() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let nowhere = format!("postgres://u@127.0.0.1:{}/d", silent.local_addr().unwrap().port());
        let options = PostgresOptions::new(&format!("{}&connect_timeout=1", url())).unwrap().listen_at(&nowhere).unwrap();
        let opening = tokio::time::timeout(std::time::Duration::from_secs(30), PostgresStore::open_with(options));
        let store = opening.await.expect("it does not hang").unwrap();
        assert_eq!(store.run("nobody").await.unwrap(), None);
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
        // It is there now, and is somebody else's.
        says(refused(&as_user("guest")).await, Code::Store, &["permission denied", "to use the one that is there"]);
        // Who may read can look, and not execute.
        let read = "GRANT USAGE ON SCHEMA workflow TO guest; GRANT SELECT ON ALL TABLES IN SCHEMA workflow TO guest";
        client.batch_execute(read).await.unwrap();
        let looking = workflow_runtime::Client::connect(&as_user("guest")).await.unwrap();
        assert!(!looking.get_run::<(), workflow_runtime::Error>("nobody").exists().await.unwrap());
        let error = workflow_runtime::Engine::open(&as_user("guest")).await.unwrap_err();
        says((error.code(), format!("{error:?}")), Code::Store, &["permission denied for table", "all that is in it"]);
        client.batch_execute("GRANT ALL ON ALL TABLES IN SCHEMA workflow TO guest").await.unwrap();
        let engine = workflow_runtime::Engine::open(&as_user("guest")).await.unwrap();
        engine.shutdown().await.unwrap();
    }
}

case! {
    #[cluster]
    async fn a_store_outlives_a_restart_of_the_database() {
        let cluster = Cluster::start();
        let store = PostgresStore::open(&cluster.address.url()).await.unwrap();
        let right = store.acquire(ADA).await.unwrap().unwrap();
        let CreateAnswer::Created(key) = commit(&store, new_run("r", taken_by(ADA))).await else {
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
        commit(&client, Post { run: "r".into(), letter: letter("x"), unstick: false }).await;
        while store.news(ADA).await.unwrap() != [key] {
            store.changed(&workflow_runtime::engine::System).await;
        }
        drop(right);
    }
}
