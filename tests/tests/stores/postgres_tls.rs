//! TLS to PostgreSQL: `sslmode` and `sslrootcert`.

use std::path::{Path, PathBuf};
use std::process::Command;

use workflow_harness::postgres::Cluster;
use workflow_runtime::store::{PostgresStore, Store};
use workflow_runtime::{Code, Error};

const SETTINGS: &str = "
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:TRUE
[server]
basicConstraints = CA:FALSE
subjectAltName = DNS:localhost
";

/// Runs the command `openssl`.
fn openssl(directory: &Path, args: &str) {
    let mut command = Command::new("openssl");
    let output = command.current_dir(directory).args(args.split(' ')).output().expect("openssl runs");
    assert!(output.status.success(), "openssl {args}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Creates an authority: the file of its certificate.
fn authority(directory: &Path, name: &str) -> PathBuf {
    std::fs::write(directory.join("settings"), SETTINGS).unwrap();
    let new = "req -x509 -config settings -extensions authority -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
    openssl(directory, &format!("{new} -keyout {name}.key -out {name}.crt -subj /CN={name}"));
    directory.join(format!("{name}.crt"))
}

/// Gives a server a key and a certificate for `localhost`.
async fn certify(cluster: &Cluster, directory: &Path, authority: &str) {
    let new = "req -new -config settings -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(directory, &format!("{new} -keyout server.key -out server.csr -subj /CN=server"));
    let sign = "x509 -req -in server.csr -CAcreateserial -extfile settings -extensions server -days 2 -out server.crt";
    openssl(directory, &format!("{sign} -CA {authority}.crt -CAkey {authority}.key"));
    let (client, connection) = tokio_postgres::connect(&cluster.address.url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    for file in ["server.crt", "server.key"] {
        let text = std::fs::read_to_string(directory.join(file)).unwrap();
        let to = cluster.directory.join("data").join(file);
        // The server writes the file, so that its own user owns it.
        let write = format!(
            "COPY (SELECT unnest(string_to_array($${text}$$, E'\\n'))) TO PROGRAM 'umask 077; cat > {}'",
            to.display()
        );
        client.batch_execute(&write).await.unwrap();
    }
    client.batch_execute("ALTER SYSTEM SET ssl = on").await.unwrap();
    client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    let on = async || client.query_one("SHOW ssl", &[]).await.unwrap().get::<_, String>(0) == "on";
    while !on().await {
        tokio::task::yield_now().await;
    }
}

case! {
    #[tls]
    async fn a_certificate_is_checked_as_the_url_demands() {
        let cluster = Cluster::start();
        let directory = tempfile::tempdir().unwrap();
        let (ours, other) = (authority(directory.path(), "ours"), authority(directory.path(), "other"));
        let missing = directory.path().join("missing.crt");
        let opened = async |host: &str, parameters: &str, root: Option<&Path>| -> Result<PostgresStore, Error> {
            let root = root.map(|root| format!("&sslrootcert={}", root.display())).unwrap_or_default();
            let url = format!("postgres://workflow@{host}:{}/postgres?{parameters}{root}", cluster.address.port);
            let opening = tokio::time::timeout(std::time::Duration::from_secs(30), PostgresStore::open(&url));
            opening.await.expect("opening does not hang")
        };
        let assert_refused = |opened: Result<PostgresStore, Error>, words: &[&str]| {
            let error = opened.expect_err("the certificate is refused");
            let text = format!("{error:?}");
            assert_eq!(error.code(), Code::Store, "{text}");
            for word in words {
                assert!(text.contains(word), "{word:?} is not in:\n{text}");
            }
        };
        assert_refused(opened("localhost", "sslmode=require", None).await, &["TLS", "`sslmode`"]);
        certify(&cluster, directory.path(), "ours").await;

        // The number of encrypted and of unencrypted connections of a store.
        let encrypted = async |store: &PostgresStore| {
            assert_eq!(store.run("nobody").await.unwrap(), None);
            let (client, connection) =
                tokio_postgres::connect(&cluster.address.url(), tokio_postgres::NoTls).await.unwrap();
            tokio::spawn(connection);
            let sql = "SELECT count(*) FILTER (WHERE ssl), count(*) FILTER (WHERE NOT ssl) FROM pg_stat_ssl
                JOIN pg_stat_activity USING (pid) WHERE application_name = 'workflow'";
            let row = client.query_one(sql, &[]).await.unwrap();
            (row.get::<_, i64>(0), row.get::<_, i64>(1))
        };
        for (host, mode, root) in [
            ("localhost", "sslmode=verify-full", Some(&*ours)),
            ("127.0.0.1", "sslmode=verify-ca", Some(&*ours)),
            ("127.0.0.1", "sslmode=require", None),
            ("127.0.0.1", "", None),
        ] {
            let store = opened(host, mode, root).await.unwrap();
            // The connection that listens is encrypted, too.
            let (with, without) = encrypted(&store).await;
            assert!(with >= 2 && without == 0, "{host} {mode}: {with} connections are encrypted, {without} are not");
            drop(store);
            let gone = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'workflow'";
            let (client, connection) =
                tokio_postgres::connect(&cluster.address.url(), tokio_postgres::NoTls).await.unwrap();
            tokio::spawn(connection);
            while client.query_one(gone, &[]).await.unwrap().get::<_, i64>(0) > 0 {
                tokio::task::yield_now().await;
            }
        }
        let plain = opened("127.0.0.1", "sslmode=disable", None).await.unwrap();
        assert_eq!(encrypted(&plain).await.0, 0);

        let full = "sslmode=verify-full";
        assert_refused(opened("127.0.0.1", full, Some(&*ours)).await, &["certificate not valid for name", "`sslmode`"]);
        assert_refused(opened("localhost", full, Some(&*other)).await, &["invalid peer certificate", "sslrootcert"]);
        assert_refused(opened("localhost", full, None).await, &["certificate"]);
        assert_refused(opened("127.0.0.1", "sslmode=verify-ca", Some(&*other)).await, &["invalid peer certificate"]);
        // `sslrootcert` makes `sslmode=require` check the certificate, too.
        assert_refused(opened("127.0.0.1", "sslmode=require", Some(&*other)).await, &["invalid peer certificate"]);
        assert_refused(opened("localhost", full, Some(&*missing)).await, &["missing.crt", "`sslrootcert`"]);
    }
}
