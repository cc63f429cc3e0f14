//! PostgreSQL for the tests: the database of `DATABASE_URL`, or a cluster that is removed when the process exits.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// How to get PostgreSQL.
const HELP: &str = "set DATABASE_URL to a database, or install PostgreSQL (Debian: apt-get install postgresql), whose \
                    initdb and pg_ctl are looked for on PATH and in /usr/lib/postgresql/*/bin";

/// The environment variable with a URL that reaches the database of `DATABASE_URL` through a pooler, for the stores
/// under test. The URL has parameters such as `?prepared=off&listen=off&poll=50ms`.
const POOLER: &str = "WORKFLOW_POOLER_URL";

/// The reason why there is no PostgreSQL on this machine, if there is none.
pub fn lacking() -> Option<String> {
    if std::env::var_os("DATABASE_URL").is_some() {
        return None;
    }
    lacking_binaries()
}

/// The reason why no cluster can be started on this machine, if none can.
pub fn lacking_binaries() -> Option<String> {
    match binaries() {
        None => Some(HELP.to_owned()),
        Some(_) => unprivileged().err(),
    }
}

/// The URL of a new schema, with few connections.
pub fn url() -> String {
    format!("{}&connections=4", schema_url())
}

/// The URL of a new schema.
pub fn schema_url() -> String {
    static SCHEMAS: AtomicUsize = AtomicUsize::new(0);
    let schema = format!("t{}_{}", std::process::id(), SCHEMAS.fetch_add(1, Ordering::Relaxed));
    let base = match std::env::var("DATABASE_URL") {
        Ok(url) => {
            used().push(schema.clone());
            url
        }
        Err(_) => cluster().url(),
    };
    let base = std::env::var(POOLER).unwrap_or(base);
    let with = if base.contains('?') { '&' } else { '?' };
    format!("{base}{with}schema={schema}")
}

/// Connects to the database of such a URL, with its schema as the search path.
pub async fn connect(url: &str) -> tokio_postgres::Client {
    let (base, parameters) = url.split_once("?schema=").or_else(|| url.split_once("&schema=")).expect("a schema's URL");
    let schema = parameters.split('&').next().unwrap_or_default();
    let (client, connection) =
        tokio_postgres::connect(&direct(base), tokio_postgres::NoTls).await.expect("the database");
    tokio::spawn(connection);
    client.batch_execute(&format!("SET search_path = {schema}")).await.expect("the search path is set");
    client
}

/// The URL of the same database without parameters and without a pooler.
pub fn direct(url: &str) -> String {
    let is_pooled = std::env::var(POOLER).is_ok_and(|pooler| url.starts_with(&pooler));
    let database = std::env::var("DATABASE_URL").ok().filter(|_| is_pooled);
    database.unwrap_or_else(|| url.split('?').next().unwrap_or_default().to_owned())
}

/// The schemas that this process has used in the database of `DATABASE_URL`.
fn used() -> std::sync::MutexGuard<'static, Vec<String>> {
    static USED: Mutex<Vec<String>> = Mutex::new(Vec::new());
    USED.lock().unwrap_or_else(PoisonError::into_inner)
}

static CLUSTER: OnceLock<Mutex<Option<Cluster>>> = OnceLock::new();

fn cluster() -> Address {
    let cluster = CLUSTER.get_or_init(|| Mutex::new(Some(Cluster::start())));
    let cluster = cluster.lock().unwrap_or_else(PoisonError::into_inner);
    cluster.as_ref().expect("the cluster runs until the last test has ended").address.clone()
}

/// Removes the cluster, or the schemas in the database of `DATABASE_URL`. It is called after the last test. If the
/// process exits before that, the cluster is removed all the same.
pub fn stop() {
    if let Some(cluster) = CLUSTER.get() {
        cluster.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
    let schemas = std::mem::take(&mut *used());
    if let (Ok(url), false) = (std::env::var("DATABASE_URL"), schemas.is_empty()) {
        crate::thread(async {
            let (client, connection) =
                tokio_postgres::connect(&url, tokio_postgres::NoTls).await.expect("the database");
            let connection = tokio::spawn(connection);
            for schema in schemas {
                let dropped = client.batch_execute(&format!("DROP SCHEMA IF EXISTS {schema} CASCADE")).await;
                dropped.expect("the schema is dropped");
            }
            drop(client);
            let _ = connection.await;
        });
    }
}

/// Where a cluster listens.
#[derive(Clone, Debug)]
pub struct Address {
    /// The port on 127.0.0.1.
    pub port: u16,
}

impl Address {
    /// The URL of the database `postgres`, without parameters.
    pub fn url(&self) -> String {
        format!("postgres://workflow@127.0.0.1:{}/postgres", self.port)
    }
}

/// A new directory for a cluster.
fn directory() -> PathBuf {
    tempfile::Builder::new().prefix("workflow-postgres-").tempdir().expect("a directory").keep()
}

/// A cluster with durable commits, in a directory of its own.
pub struct Cluster {
    /// Where it listens.
    pub address: Address,
    /// The directory with `data` and `log`.
    pub directory: PathBuf,
    /// The options of the server's command line.
    options: String,
    /// A shell that stops the server and removes the directory when its input ends, so also when this process is
    /// killed.
    keeper: Child,
}

const KEEPER: &str = r#"
trap "" INT TERM HUP
bin=$1 dir=$2 options=$3
"$bin/pg_ctl" -D "$dir/data" -l "$dir/log" -w -o "$options" start >"$dir/start" 2>&1 </dev/null || { cat "$dir/start" "$dir/log"; exit 1; }
echo ready
cat >/dev/null
"$bin/pg_ctl" -D "$dir/data" -m immediate -w stop >/dev/null 2>&1
rm -rf "$dir"
"#;

impl Cluster {
    /// Starts one. Panics if the server does not start.
    pub fn start() -> Self {
        Cluster::start_with("")
    }

    /// Starts one with more options on the command line, such as `-c max_connections=20`. They override the defaults.
    pub fn start_with(options: &str) -> Self {
        Cluster::start_in(directory(), options)
    }

    /// Starts a hot standby: a server that copies this one continuously, and can only be read.
    pub fn standby(&self) -> Self {
        let directory = directory();
        // The others may be links on `PATH` to the directory that also has this program.
        let initdb =
            binaries().and_then(|bin| bin.join("initdb").canonicalize().ok()).expect("PostgreSQL is installed");
        if let Some((user, group)) = unprivileged().expect("a user for the server") {
            std::os::unix::fs::chown(&directory, Some(user), Some(group)).expect("the directory gets another owner");
        }
        let copied = command(&directory, &initdb.with_file_name("pg_basebackup"))
            .arg("-D")
            .arg(directory.join("data"))
            .args(["-d", &self.address.url(), "-c", "fast", "--no-sync", "--write-recovery-conf"])
            .output()
            .expect("pg_basebackup runs");
        assert!(copied.status.success(), "pg_basebackup: {}", String::from_utf8_lossy(&copied.stderr));
        Cluster::launch(directory, "-c hot_standby=on")
    }

    /// Starts one in an empty directory, which is removed with the cluster.
    pub fn start_in(directory: PathBuf, options: &str) -> Self {
        let bin = binaries().expect("PostgreSQL is installed");
        if let Some((user, group)) = unprivileged().expect("a user for the server") {
            std::os::unix::fs::chown(&directory, Some(user), Some(group)).expect("the directory gets another owner");
        }
        let made = command(&directory, &bin.join("initdb"))
            .arg("-D")
            .arg(directory.join("data"))
            .args(["-U", "workflow", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"])
            .output()
            .expect("initdb runs");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        Cluster::launch(directory, options)
    }

    /// Starts the server on a directory that has its data.
    fn launch(directory: PathBuf, options: &str) -> Self {
        let bin = binaries().expect("PostgreSQL is installed");
        for _ in 0..10 {
            // Another process may take the port before the server does.
            let port =
                TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
            let options = format!(
                "-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='{}' -c fsync=on \
                 -c synchronous_commit=on -c max_connections=400 {options}",
                directory.display(),
            );
            let mut keeper = command(&directory, Path::new("sh"))
                .args(["-c", KEEPER, "sh"])
                .args([&*bin, &*directory])
                .arg(&options)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("a shell");
            let mut said = String::new();
            let output = keeper.stdout.as_mut().expect("its output");
            BufReader::new(output).read_line(&mut said).expect("a line of the shell");
            if said == "ready\n" {
                return Cluster { address: Address { port }, directory, options, keeper };
            }
            eprintln!("the server has not started: {said}");
            let _ = keeper.wait();
        }
        panic!("no server of PostgreSQL starts in {}", directory.display());
    }

    /// Restarts the server with an immediate shutdown, as after a crash. Panics if it does not start.
    pub fn restart(&self) {
        assert!(self.control(&["-m", "immediate", "-w", "restart"]), "the server does not start again");
    }

    /// Stops the server with an immediate shutdown, like a crash.
    pub fn crash(&self) {
        assert!(self.control(&["-m", "immediate", "-w", "stop"]), "the server does not stop");
    }

    /// Starts the server again if it does not run: whether it runs now.
    pub fn come_up(&self) -> bool {
        self.control(&["status"]) || self.control(&["-w", "start"])
    }

    /// Whether `pg_ctl` succeeds.
    fn control(&self, args: &[&str]) -> bool {
        let mut control = command(&self.directory, &binaries().expect("PostgreSQL is installed").join("pg_ctl"));
        control.arg("-D").arg(self.directory.join("data")).arg("-l").arg(self.directory.join("log"));
        control.arg("-o").arg(&self.options).args(args);
        control.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        control.status().expect("pg_ctl runs").success()
    }
}

/// The reason why no pooler can be started on this machine, if none can.
pub fn lacking_pooler() -> Option<String> {
    let help = "install PgBouncer (Debian: apt-get install pgbouncer), which is looked for on PATH and in /usr/sbin";
    lacking_binaries().or_else(|| pgbouncer().is_none().then(|| help.to_owned()))
}

/// The reason why no server with TLS can be started on this machine, if none can.
pub fn lacking_tls() -> Option<String> {
    let help = "install the command `openssl`, which makes the certificates";
    lacking_binaries().or_else(|| program("openssl").is_none().then(|| help.to_owned()))
}

fn pgbouncer() -> Option<PathBuf> {
    program("pgbouncer")
}

/// Finds a program on `PATH` or in /usr/sbin, where Debian installs servers.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    directories.map(|directory| directory.join(name)).find(|program| program.is_file())
}

/// PgBouncer in front of a cluster, in transaction mode: each transaction may get another connection.
pub struct Pooler {
    /// The port on 127.0.0.1.
    pub port: u16,
    /// A shell that stops it when its input ends.
    keeper: Child,
}

const POOLER_KEEPER: &str = r#"
trap "" INT HUP
"$1" pgbouncer.ini >/dev/null 2>&1 </dev/null &
cat >/dev/null
kill $!
"#;

impl Pooler {
    /// Starts one.
    pub fn start(cluster: &Cluster) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={} user=workflow\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\n\
             default_pool_size = 6\nserver_login_retry = 1\nlogfile = {}\n",
            cluster.address.port,
            cluster.directory.join("pgbouncer.log").display(),
        );
        std::fs::write(cluster.directory.join("pgbouncer.ini"), settings).expect("its settings");
        let keeper = command(&cluster.directory, Path::new("sh"))
            .args(["-c", POOLER_KEEPER, "sh"])
            .arg(pgbouncer().expect("PgBouncer is installed"))
            .stdin(Stdio::piped())
            .spawn()
            .expect("a shell");
        Pooler { port, keeper }
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// A command that runs a program in the server's directory as the server's user.
fn command(directory: &Path, program: &Path) -> Command {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new(program);
    command.current_dir(directory).process_group(0).env("LC_ALL", "C");
    if let Some((user, group)) = unprivileged().expect("a user for the server") {
        command.uid(user).gid(group);
    }
    command
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// The directory of PostgreSQL's programs.
pub fn binaries() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|version| Some(version.ok()?.path().join("bin")))
        .collect();
    versions.sort();
    directories.extend(versions.into_iter().rev());
    directories.into_iter().find(|directory| directory.join("initdb").is_file() && directory.join("pg_ctl").is_file())
}

/// The user and group that the server runs as, since it refuses to run as root; `None` if this process is not root.
fn unprivileged() -> Result<Option<(u32, u32)>, String> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = std::fs::read_to_string("/etc/passwd").map_err(|error| format!("/etc/passwd: {error}"))?;
    let user = |name: &str| {
        let mut fields = users.lines().find(|line| line.split(':').next() == Some(name))?.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    let user = user("postgres").or_else(|| user("nobody"));
    user.map(Some).ok_or_else(|| "the server does not run as root, and there is no other user".to_owned())
}
