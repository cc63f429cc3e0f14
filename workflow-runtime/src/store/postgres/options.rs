//! The options of a store in PostgreSQL.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use super::tables::MIGRATIONS;
use super::tls::{self, Tls, Verify};
use crate::error::{Code, Error};
use crate::store::Migration;
use crate::store::migrations::Migrations;

/// The options of a [`PostgresStore`](super::PostgresStore), read from its URL.
///
/// A URL has the usual form, `postgres://user:password@host:port/database?parameters`, with the parameters of PostgreSQL's
/// own programs (`sslmode`, `sslrootcert`, `connect_timeout`, `options`, ..) and these:
///
/// | parameter | unless given | |
/// |---|---|---|
/// | `schema` | `workflow` | where the tables are; it is created |
/// | `lease` | `5s` | how long a worker that does not answer keeps its runs |
/// | `connections` | `8` | the most for runs, and again for transactions of steps; also two for leases, one to listen |
/// | `timeout` | `30s` | how long one statement may take |
/// | `listen` | `on` | `off`: polls for other processes' changes instead; each step costs the database about twice as much |
/// | `poll` | `5s` | how often to poll if it cannot listen; also the silence after which it checks that it can |
/// | `skip_locked` | `on` | `off`: claims wait for one another, for databases without `SKIP LOCKED` |
/// | `prepared` | `on` | `off`: statements are not prepared, for poolers that do not keep them |
///
/// A pooler that assigns connections per transaction needs `prepared=off` unless it keeps prepared statements, and does not
/// pass notifications on: set [`listen_at`](PostgresOptions::listen_at), or `listen=off`.
///
/// ```
/// use workflow_runtime::store::PostgresOptions;
///
/// let options = PostgresOptions::new("postgres://app@db.example/shop?schema=orders&lease=10s")?;
/// # Ok::<(), workflow_runtime::Error>(())
/// ```
#[derive(Clone)]
pub struct PostgresOptions {
    pub(super) config: Config,
    pub(super) schema: String,
    pub(super) lease: Duration,
    pub(super) connections: usize,
    pub(super) timeout: Duration,
    pub(super) connect_timeout: Duration,
    pub(super) listen: Option<Config>,
    pub(super) poll: Duration,
    pub(super) skip_locked: bool,
    pub(super) prepared: bool,
    pub(super) migrations: Migrations,
    verify: Verify,
    root: Option<PathBuf>,
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// PostgreSQL truncates longer names.
const SCHEMA_BYTES_MAX: usize = 63;

impl PostgresOptions {
    /// Reads the options from a URL.
    ///
    /// # Errors
    ///
    /// [`Code::InvalidUrl`], which names the error in the URL.
    pub fn new(url: &str) -> Result<Self, Error> {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let base = with_scheme(base)?;
        if is_cut(&base, query) {
            return Err(unescaped('?'));
        }
        let mut options = PostgresOptions {
            config: Config::new(),
            schema: "workflow".to_owned(),
            lease: Duration::from_secs(5),
            connections: 8,
            timeout: Duration::from_secs(30),
            connect_timeout: CONNECT_TIMEOUT,
            listen: None,
            poll: Duration::from_secs(5),
            skip_locked: true,
            prepared: true,
            migrations: MIGRATIONS,
            verify: Verify::Nothing,
            root: None,
        };
        let (mut listen, mut theirs) = (true, Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let wrong = |expected| invalid(format!("the URL's parameter `{key}` cannot be `{value}`"), expected);
            let time = || duration(value).ok_or_else(|| wrong("a time such as 500ms, 5s or 2m"));
            let switch = || switch(value).ok_or_else(|| wrong("on or off"));
            match key {
                "schema" => options.schema = decode(value),
                "lease" => options.lease = time()?,
                "timeout" => options.timeout = time()?,
                "poll" => options.poll = time()?,
                "connections" => {
                    let number = value.parse().ok().filter(|number| (1..=10_000).contains(number));
                    options.connections = number.ok_or_else(|| wrong("a number from 1 to 10000"))?;
                }
                "listen" => listen = switch()?,
                "skip_locked" => options.skip_locked = switch()?,
                "prepared" => options.prepared = switch()?,
                "sslrootcert" => options.root = Some(decode(value)).filter(|path| path != "system").map(PathBuf::from),
                "sslmode" => {
                    let (verify, theirs_too) = match value {
                        "disable" => (Verify::Nothing, "disable"),
                        "allow" | "prefer" => (Verify::Nothing, "prefer"),
                        "require" => (Verify::Nothing, "require"),
                        "verify-ca" => (Verify::Authority, "require"),
                        "verify-full" => (Verify::Full, "require"),
                        _ => return Err(wrong("disable, allow, prefer, require, verify-ca or verify-full")),
                    };
                    options.verify = verify;
                    theirs.push(format!("sslmode={theirs_too}"));
                }
                _ => theirs.push(pair.to_owned()),
            }
        }
        let url = if theirs.is_empty() { base } else { format!("{base}?{}", theirs.join("&")) };
        options.config = config(&url)?;
        if let Some(time) = options.config.get_connect_timeout().filter(|time| !time.is_zero()) {
            options.connect_timeout = *time;
        }
        options.config.connect_timeout(options.connect_timeout);
        if options.config.get_application_name().is_none() {
            options.config.application_name("workflow");
        }
        options.listen = listen.then(|| options.config.clone());
        let bytes = options.schema.len();
        if !(1..=SCHEMA_BYTES_MAX).contains(&bytes) || options.schema.chars().any(char::is_control) {
            return Err(invalid(format!("`{}` cannot be the name of a schema", options.schema), "at most 63 bytes"));
        }
        // As in libpq: if a root certificate is named, the server's certificate is checked by it.
        if options.root.is_some() && options.verify == Verify::Nothing {
            options.verify = Verify::Authority;
        }
        Ok(options)
    }

    /// How long a worker that does not answer keeps its runs: 5 seconds by default. Another worker takes them over within
    /// that time and a third of it.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Listens for changes at this URL of the same database. For stores whose own URL is that of a pooler.
    ///
    /// # Errors
    ///
    /// [`Code::InvalidUrl`].
    pub fn listen_at(mut self, url: &str) -> Result<Self, Error> {
        self.listen = Some(PostgresOptions::new(url)?.config);
        Ok(self)
    }

    /// Opens the store as a later build would that has these migrations as well. For tests.
    #[doc(hidden)]
    #[must_use]
    pub fn migrating(mut self, later: &'static [Migration]) -> Self {
        self.migrations = self.migrations.and(later);
        self
    }

    pub(super) fn tls(&self) -> Result<Tls, Error> {
        match self.config.get_ssl_mode() {
            SslMode::Disable => tls::unused(),
            _ => tls::connector(self.verify, self.root.as_deref()),
        }
    }

    /// The name of the database in messages to users.
    pub(super) fn place(&self) -> String {
        let host = match self.config.get_hosts().first() {
            Some(Host::Tcp(host)) => host.clone(),
            #[cfg(unix)]
            Some(Host::Unix(path)) => path.display().to_string(),
            None => "localhost".to_owned(),
        };
        let port = self.config.get_ports().first().copied().unwrap_or(5432);
        let user = self.config.get_user().unwrap_or_default();
        let database = self.config.get_dbname().unwrap_or(user);
        format!("{host}:{port}/{database} (schema {})", self.schema)
    }
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("place", &self.place())
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

fn config(url: &str) -> Result<Config, Error> {
    let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
        let wrong = invalid("the URL of the database cannot be used".to_owned(), FORM);
        match std::error::Error::source(&error).map(ToString::to_string).filter(|cause| quotes_only_parameters(cause)) {
            Some(cause) => wrong.because(cause),
            None => wrong,
        }
    })?;
    if config.get_hosts().iter().any(|host| matches!(host, Host::Tcp(name) if name.contains('@'))) {
        return Err(unescaped('@'));
    }
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        config.host("localhost");
    }
    if config.get_user().is_none() {
        let user = std::env::var("PGUSER").or_else(|_| std::env::var("USER")).unwrap_or_default();
        if user.is_empty() {
            return Err(invalid("the URL of the database names no user".to_owned(), "postgres://user@host/database"));
        }
        config.user(user);
    }
    Ok(config)
}

const FORM: &str = "postgres://user:password@host:port/database";

/// The URL with the scheme that `tokio_postgres` knows: it would read any other text as a list of keys and values.
fn with_scheme(base: &str) -> Result<String, Error> {
    let rest = base
        .split_once("://")
        .filter(|(scheme, _)| ["postgres", "postgresql"].iter().any(|known| scheme.eq_ignore_ascii_case(known)));
    match rest {
        Some((_, rest)) => Ok(format!("postgres://{rest}")),
        None => Err(invalid("the text is no URL of a PostgreSQL database".to_owned(), FORM)),
    }
}

/// Whether the `?` belongs to the password: the text after it would be read as parameters, and be shown.
fn is_cut(base: &str, query: &str) -> bool {
    let keys = query.split('&').map(|pair| pair.split_once('=').map_or(pair, |(key, _)| key));
    let port = base.rsplit(':').next().filter(|port| !port.contains('/'));
    let is_no_port = port.is_some_and(|port| !port.bytes().all(|byte| byte.is_ascii_digit()));
    !base.contains('@') && (keys.into_iter().any(|key| key.contains('@')) || (is_no_port && query.contains('@')))
}

/// The error for a password that an unescaped character has cut. The rest of the password is not shown.
fn unescaped(message: char) -> Error {
    invalid(format!("the URL has a `{message}` in its user or its password"), FORM)
        .help(format!("write it as %{:02X}", u32::from(message)))
}

/// Whether a message of `tokio_postgres` quotes only the name of a parameter: any other may quote a part of the password.
fn quotes_only_parameters(cause: &str) -> bool {
    let mut quoted = cause.split('`').skip(1).step_by(2);
    quoted.all(|word| word.len() <= 32 && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'))
}

fn invalid(text: String, expected: &str) -> Error {
    Error::coded(Code::InvalidUrl, text).expected(expected)
}

fn switch(value: &str) -> Option<bool> {
    match value {
        "on" | "true" | "1" => Some(true),
        "off" | "false" | "0" => Some(false),
        _ => None,
    }
}

/// A time above zero; seconds without a unit.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|message: char| !message.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok().filter(|number| (1..=1_000_000_000).contains(number))?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "" | "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number * 60)),
        _ => None,
    }
}

/// Decodes escapes such as `%41`.
fn decode(value: &str) -> String {
    let bytes = value.as_bytes();
    let (mut decoded, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(&byte) = bytes.get(at) {
        let hex = value.get(at + 1..at + 3).filter(|_| byte == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok());
        decoded.push(hex.unwrap_or(byte));
        at += if hex.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_from_the_url() {
        let options = PostgresOptions::new(
            "postgres://app:secret@db:6432/shop?schema=my%20orders&lease=750ms&listen=off&connections=3&sslmode=require",
        )
        .unwrap();
        assert_eq!((options.schema.as_str(), options.lease), ("my orders", Duration::from_millis(750)));
        assert_eq!((options.connections, options.listen.is_none()), (3, true));
        assert_eq!(options.place(), "db:6432/shop (schema my orders)");
        assert!(!format!("{options:?}").contains("secret"));
    }

    /// Checks every form of URL, and errors in every part of it.
    #[test]
    fn a_password_is_never_shown() {
        for url in [
            "postgres://u:secret@h:door/d",
            "Postgres://u:secret@h/d?colour=red",
            "POSTGRESQL://u:secret@h/d?lease=soon",
            "mysql://u:secret@h/d",
            "host=h user=u password=secret",
            "host=h user=u password='secret",
            "u:secret@h/d",
            "postgres:u:secret@h/d",
            "postgres://u:x@secret@h/d",
            "postgres://u:x?secret@h/d",
            "postgres://u:x?secret=1@h/d",
            "postgres://u:secret%zz@h:door/d",
            "postgres://h/d?password=secret&user=",
            "postgres://u@h/d?Secret=1&password=secret",
        ] {
            let shown = match PostgresOptions::new(url) {
                Ok(options) => format!("{options:?} {}", options.place()),
                Err(error) => format!("{error:?} {error}"),
            };
            assert!(!shown.to_lowercase().contains("secret"), "{url}: {shown}");
        }
        let upper = PostgresOptions::new("Postgres://u:secret@h/d").unwrap();
        assert_eq!(upper.place(), "h:5432/d (schema workflow)");
    }

    #[test]
    fn what_is_wrong_with_a_url_is_named() {
        for (url, named) in [
            ("postgres://u@h/d?lease=soon", "lease"),
            ("postgres://u@h/d?listen=perhaps", "listen"),
            ("postgres://u@h/d?connections=0", "connections"),
            ("postgres://u@h/d?sslmode=sometimes", "sslmode"),
            ("postgres://u@h/d?colour=red", "colour"),
            ("postgres://u@h:door/d", "port"),
            ("postgres://u@h/d?schema=", "schema"),
        ] {
            let error = PostgresOptions::new(url).unwrap_err();
            assert_eq!(error.code(), Code::InvalidUrl, "{url}");
            assert!(format!("{error:?}").contains(named), "{url}: {error:?}");
        }
    }
}
