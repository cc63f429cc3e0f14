//! Opening a PostgreSQL store: errors, and schemas that must not be changed.

use std::io::{Read, Write as _};
use std::net::TcpListener;

use futures::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use workflow_harness::postgres::{Cluster, url};
use workflow_runtime::Code;
use workflow_runtime::store::{CreateAnswer, PostgresOptions, PostgresStore, SendMessage, Store, Turn, Write};

use crate::fixture::*;

/// Opens a store that must be refused: the code and the full text of the error.
async fn refused(url: &str) -> (Code, String) {
    let opening = tokio::time::timeout(std::time::Duration::from_secs(30), PostgresStore::open(url));
    let error = opening.await.expect("opening does not hang").expect_err("the store cannot be opened");
    (error.code(), format!("{error:?}"))
}

#[track_caller]
fn assert_error((code, text): (Code, String), expected: Code, words: &[&str]) {
    assert_eq!(code, expected, "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in:\n{text}");
    }
    assert!(text.contains("help: "), "{text}");
}

case! {
    #[postgres]
    async fn processes_that_open_a_new_schema_at_once_create_it_once() {
        let url = url();
        let stores = join_all((0..6).map(|_| PostgresStore::open(&url))).await;
        for store in stores {
            assert_eq!(store.unwrap().run("nobody").await.unwrap(), None);
        }
    }
}

case! {
    #[cluster]
    async fn the_server_does_not_compile_the_statements_of_a_store() {
        let cluster = Cluster::start_with(
            "-c session_preload_libraries=auto_explain -c auto_explain.log_min_duration=0 -c auto_explain.log_analyze=on \
             -c jit_above_cost=1 -c jit=on",
        );
        let url = format!("{}?schema=s", cluster.address.url());
        let store = PostgresStore::open(&url).await.unwrap();
        assert_eq!(store.run("nobody").await.unwrap(), None);
        let compiled = |log: &str| log.lines().filter(|line| line.trim_start().starts_with("JIT:")).count();
        let read = || std::fs::read_to_string(cluster.directory.join("log")).unwrap();
        assert!(read().contains("Query Text: "), "the plans are not in the log:\n{}", read());
        assert_eq!(compiled(&read()), 0, "{}", read());

        let database = workflow_harness::postgres::connect(&url).await;
        database.batch_execute("SELECT sum(epoch) FROM runs WHERE generation > 1").await.unwrap();
        let can_compile: bool = database.query_one("SELECT pg_jit_available()", &[]).await.unwrap().get(0);
        assert_eq!(compiled(&read()), usize::from(can_compile), "a statement of another program:\n{}", read());
    }
}

case! {
    #[postgres]
    async fn a_schema_of_a_newer_version_is_refused() {
        let fx = Fixture::postgres();
        fx.database().await.batch_execute("UPDATE meta SET version = 99, readable_from = 99").await.unwrap();
        assert_error(refused(&fx.url.clone().unwrap()).await, Code::NewerStore, &["version 99", "update this program"]);
    }
}

case! {
    #[postgres]
    async fn a_schema_of_another_program_is_refused_and_not_changed() {
        for tables in ["CREATE TABLE orders (id int)", "CREATE TABLE meta (only_row int, version int)"] {
            let fx = Fixture::postgres();
            let (schema, database) = (fx.schema(), fx.database().await);
            let make = format!("DROP SCHEMA {schema} CASCADE; CREATE SCHEMA {schema}; {tables}");
            database.batch_execute(&make).await.unwrap();
            let words = ["something else", "tables: ", "`schema`"];
            assert_error(refused(&fx.url.clone().unwrap()).await, Code::Store, &words);
            let left = database.query("SELECT 1 FROM pg_tables WHERE schemaname = $1", &[&schema]).await.unwrap();
            assert_eq!(left.len(), 1);
        }
    }
}

case! {
    #[postgres]
    async fn an_existing_empty_schema_is_used() {
        let fx = Fixture::postgres();
        let schema = fx.schema();
        let make = format!("DROP SCHEMA {schema} CASCADE; CREATE SCHEMA {schema}");
        fx.database().await.batch_execute(&make).await.unwrap();
        assert_eq!(fx.another().run("nobody").await.unwrap(), None);
    }
}

case! {
    #[postgres]
    async fn a_missing_database_is_reported() {
        let url = url();
        let (base, _) = url.split_once('?').unwrap();
        let (server, _) = base.rsplit_once('/').unwrap();
        let error = refused(&format!("{server}/no_such_database")).await;
        assert_error(error, Code::Store, &["no_such_database", "create the database"]);
    }
}

case! {
    async fn an_unreachable_server_is_reported() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("postgres://u@127.0.0.1:{port}/d?connect_timeout=1");
        assert_error(refused(&url).await, Code::Store, &["127.0.0.1", "is up"]);
        let url = "postgres://u@no-such-host.invalid/d?connect_timeout=1";
        assert_error(refused(url).await, Code::Store, &["no-such-host.invalid", "the host and the port"]);
    }
}

case! {
    #[threads]
    async fn a_server_that_is_not_postgres_is_reported() {
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
            assert_error(refused(&url).await, Code::Store, &["127.0.0.1", "the host and the port"]);
            drop(std::net::TcpStream::connect(("127.0.0.1", port)));
            serving.join().unwrap();
        }
    }
}

case! {
    async fn opening_waits_for_a_server_that_starts() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("postgres://u@127.0.0.1:{port}/d?connect_timeout=20");
        let opening = tokio::spawn(async move { refused(&url).await });
        // A server starts late and answers with an error that does not pass by waiting.
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
        let server = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let error = b"E\0\0\0\x2dSFATAL\0C3D000\0Mno database of that name\0\0";
        let (mut client, _) = server.accept().await.unwrap();
        // The client asks for TLS, and then for the database.
        let mut asked = [0; 8];
        client.read_exact(&mut asked).await.unwrap();
        client.write_all(b"N").await.unwrap();
        assert!(client.read(&mut [0; 1024]).await.unwrap() > 0);
        client.write_all(error).await.unwrap();
        assert_error(opening.await.unwrap(), Code::Store, &["no database of that name", "create the database"]);
    }
}

case! {
    #[postgres]
    async fn opening_fails_if_the_schema_stays_locked() {
        let fx = Fixture::postgres();
        let other = fx.database().await;
        other.batch_execute("BEGIN; LOCK TABLE meta IN ACCESS EXCLUSIVE MODE").await.unwrap();
        let url = format!("{}&timeout=1s", fx.url.clone().unwrap());
        assert_error(refused(&url).await, Code::Store, &["prepare the schema", "in time", "`timeout`"]);
    }
}

case! {
    #[postgres]
    async fn an_unreachable_address_to_listen_at_is_no_error() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let nowhere = format!("postgres://u@127.0.0.1:{}/d", silent.local_addr().unwrap().port());
        let options = PostgresOptions::new(&format!("{}&connect_timeout=1", url())).unwrap().listen_at(&nowhere).unwrap();
        let opening = tokio::time::timeout(std::time::Duration::from_secs(30), PostgresStore::open_with(options));
        let store = opening.await.expect("opening does not hang").unwrap();
        assert_eq!(store.run("nobody").await.unwrap(), None);
    }
}

case! {
    async fn opening_fails_if_the_server_never_answers() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = silent.local_addr().unwrap().port();
        let url = format!("postgres://u@127.0.0.1:{port}/d?connect_timeout=1");
        assert_error(refused(&url).await, Code::Store, &["127.0.0.1", "in time"]);
    }
}

case! {
    async fn an_invalid_url_is_an_error_that_names_the_parameter() {
        let (code, text) = refused("postgres://u@h/d?lease=soon").await;
        assert_eq!(code, Code::InvalidUrl);
        assert!(text.contains("`lease`"), "{text}");
        let error = workflow_runtime::Engine::builder().url("mysql://u@h/d").open().await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidUrl);
    }
}

case! {
    #[cluster]
    async fn an_error_names_the_missing_permission() {
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
        // The server reloads the file asynchronously.
        while tokio_postgres::connect(&as_user("stranger:wrong"), tokio_postgres::NoTls).await.is_ok() {
            tokio::task::yield_now().await;
        }
        let refused_as = async |user: &str| refused(&as_user(user)).await;
        assert_error(refused_as("stranger:wrong").await, Code::Store, &["password", "check the user and the password"]);
        assert_error(refused_as("guest").await, Code::Store, &["permission denied", "the right to create a schema"]);
        assert_error(refused_as("reader").await, Code::Store, &["read-only", "primary"]);
        let engine = workflow_runtime::Engine::open(&as_user("workflow")).await.unwrap();
        engine.shutdown().await.unwrap();
        // The schema exists now and belongs to another user.
        assert_error(refused_as("guest").await, Code::Store, &["permission denied", "to use the one that is there"]);
        // With the right to read, a client works and an engine does not.
        let read = "GRANT USAGE ON SCHEMA workflow TO guest; GRANT SELECT ON ALL TABLES IN SCHEMA workflow TO guest";
        client.batch_execute(read).await.unwrap();
        let looking = workflow_runtime::Client::connect(&as_user("guest")).await.unwrap();
        assert!(!looking.get_run::<(), workflow_runtime::Error>("nobody").exists().await.unwrap());
        let error = workflow_runtime::Engine::open(&as_user("guest")).await.unwrap_err();
        let words = ["permission denied for table", "all that is in it"];
        assert_error((error.code(), format!("{error:?}")), Code::Store, &words);
        client.batch_execute("GRANT ALL ON ALL TABLES IN SCHEMA workflow TO guest").await.unwrap();
        let engine = workflow_runtime::Engine::open(&as_user("guest")).await.unwrap();
        engine.shutdown().await.unwrap();
    }
}

case! {
    #[cluster]
    async fn a_store_survives_restarts_of_the_database() {
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
        commit(&client, SendMessage { run: "r".into(), message: message("x"), unstick: false }).await;
        while store.news(ADA).await.unwrap() != [key] {
            store.changed(&workflow_runtime::engine::System).await;
        }
        drop(right);
    }
}
