//! Faults of the database and of the connections to it, and how they are explained to users.

use std::error::Error as _;
use std::fmt;

use deadpool::managed::PoolError;
use tokio_postgres::error::SqlState;

use crate::error::{Code, Error};

/// Why an operation was not done.
pub(super) enum Fault {
    /// The database or the connection has reported it.
    Postgres(tokio_postgres::Error),
    /// It took longer than allowed.
    Late,
    /// No connection became free or could be made in time.
    Unconnected,
    /// A row is damaged.
    Damaged(String),
    /// Any other error, already explained.
    Error(Error),
}

pub(super) type Result<T, E = Fault> = std::result::Result<T, E>;

/// One line, for the log.
impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = match self {
            Fault::Postgres(error) => error,
            Fault::Late => return f.write_str("it did not answer in time"),
            Fault::Unconnected => return f.write_str("no connection was free or could be made in time"),
            Fault::Damaged(text) => return f.write_str(text),
            Fault::Error(error) => return fmt::Display::fmt(error, f),
        };
        if let Some(reported) = error.as_db_error() {
            return write!(f, "{} (SQLSTATE {})", reported.message(), reported.code().code());
        }
        fmt::Display::fmt(error, f)?;
        match error.source() {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        Fault::Postgres(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Fault::Error(error)
    }
}

impl From<PoolError<tokio_postgres::Error>> for Fault {
    fn from(error: PoolError<tokio_postgres::Error>) -> Self {
        match error {
            PoolError::Backend(error) => Fault::Postgres(error),
            _ => Fault::Unconnected,
        }
    }
}

impl Fault {
    pub fn state(&self) -> Option<&SqlState> {
        match self {
            Fault::Postgres(error) => error.code(),
            _ => None,
        }
    }

    /// Whether the database has rolled the transaction back because of other transactions, or could not begin it: an
    /// immediate retry may succeed.
    pub fn is_transient(&self) -> bool {
        let states = [
            &SqlState::T_R_SERIALIZATION_FAILURE,
            &SqlState::T_R_DEADLOCK_DETECTED,
            // A pooler has sent the statement to another connection than the one that has prepared it.
            &SqlState::INVALID_SQL_STATEMENT_NAME,
        ];
        self.state().is_some_and(|state| states.contains(&state))
    }

    /// Whether the database is unavailable: it is restarting, has no connection left, or the connection is lost.
    pub fn is_outage(&self) -> bool {
        let states = [
            &SqlState::ADMIN_SHUTDOWN,
            &SqlState::CRASH_SHUTDOWN,
            &SqlState::CANNOT_CONNECT_NOW,
            &SqlState::TOO_MANY_CONNECTIONS,
        ];
        match self {
            Fault::Postgres(error) => match error.code() {
                Some(state) => states.contains(&state) || is_about_the_connection(state),
                None => error.is_closed() || error.source().is_some_and(is_of_the_network),
            },
            Fault::Late | Fault::Unconnected | Fault::Damaged(_) | Fault::Error(_) => false,
        }
    }

    /// Whether the server can only be read. A standby accepts neither `LISTEN` nor `NOTIFY`, until it is promoted.
    pub fn is_of_standby(&self) -> bool {
        self.state() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION)
    }

    /// Whether another attempt may succeed without any intervention: the database, or a connection to it, was unavailable or
    /// busy.
    pub fn may_pass(&self) -> bool {
        self.is_outage() || self.is_transient() || matches!(self, Fault::Late | Fault::Unconnected)
    }

    /// Whether the statement has certainly changed nothing. The database has rolled back what it answers with an error;
    /// without an answer the outcome is unknown.
    pub fn nothing_done(&self) -> bool {
        match self {
            Fault::Postgres(error) => error.as_db_error().is_some_and(|error| {
                // The database or a pooler may report these after the statement was committed.
                let doubtful = [
                    &SqlState::ADMIN_SHUTDOWN,
                    &SqlState::CRASH_SHUTDOWN,
                    &SqlState::IDLE_SESSION_TIMEOUT,
                    &SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN,
                ];
                !doubtful.contains(&error.code()) && !is_about_the_connection(error.code())
            }),
            Fault::Late => false,
            Fault::Unconnected | Fault::Damaged(_) | Fault::Error(_) => true,
        }
    }

    /// Whether the connection can no longer be used.
    pub fn spoils(&self) -> bool {
        !matches!(self, Fault::Postgres(error) if error.as_db_error().is_some())
            || self
                .state()
                .is_some_and(|state| *state == SqlState::INVALID_SQL_STATEMENT_NAME || is_about_the_connection(state))
    }

    /// The error that a user sees. `place` is the database, `what` the action, such as "read a run".
    pub fn explain(self, place: &str, what: &str) -> Error {
        let may_pass = self.may_pass();
        let error = self.explained(place, what);
        if may_pass { error.outage() } else { error }
    }

    fn explained(self, place: &str, what: &str) -> Error {
        let failed = |code: Code| Error::coded(code, format!("could not {what} in the database {place}"));
        let error = match self {
            Fault::Error(error) => return error,
            Fault::Damaged(text) => return failed(Code::Damaged).because(text).help("restore it from a backup"),
            Fault::Late => {
                return failed(Code::Store).because("it did not answer in time").help(
                    "check the load of the server and the network; the parameter `timeout` of the URL sets the limit",
                );
            }
            Fault::Unconnected => {
                return failed(Code::Store).because("no connection was free or could be made in time").help(
                    "check that the server is running and accepts connections; the parameter `connections` of the URL sets their number",
                );
            }
            Fault::Postgres(error) => error,
        };
        let mut described = failed(Code::Store);
        // The database's message is the source of a "db error".
        let mut cause: Option<&dyn std::error::Error> = match error.as_db_error() {
            Some(_) => error.source(),
            None => Some(&error),
        };
        while let Some(next) = cause {
            described = described.because(next);
            cause = next.source();
        }
        match help(&error) {
            Some(help) => described.help(help),
            None => described,
        }
    }
}

/// Class 08. A pooler reports it when its own connection to the database breaks, at any moment.
fn is_about_the_connection(state: &SqlState) -> bool {
    state.code().starts_with("08")
}

/// Excludes TLS errors about data that was read, such as a certificate: another attempt would have the same result.
fn is_of_the_network(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() != std::io::ErrorKind::InvalidData)
}

fn help(error: &tokio_postgres::Error) -> Option<&'static str> {
    let Some(state) = error.code() else {
        let of_tls = error.source().and_then(|cause| cause.downcast_ref::<std::io::Error>());
        return Some(match of_tls.is_some_and(|error| error.kind() == std::io::ErrorKind::InvalidData) {
            true => {
                "check the host of the URL, `sslmode`, and that `sslrootcert` is the certificate of who has signed the database's"
            }
            false => "check the host and the port of the URL, that the database is up, and `sslmode`",
        });
    };
    let helps: [(&[&SqlState], &str); 9] = [
        (
            &[&SqlState::INVALID_PASSWORD, &SqlState::INVALID_AUTHORIZATION_SPECIFICATION],
            "check the user and the password of the URL, and who may log in (pg_hba.conf)",
        ),
        (&[&SqlState::UNDEFINED_DATABASE], "create the database, or correct its name in the URL"),
        (
            &[&SqlState::INSUFFICIENT_PRIVILEGE],
            "give the user of the URL the right to create a schema in the database, or to use the one that is there and \
             all that is in it",
        ),
        (
            &[&SqlState::UNDEFINED_TABLE, &SqlState::UNDEFINED_COLUMN, &SqlState::INVALID_SCHEMA_NAME],
            "the schema was dropped or changed by something else: restore it, and open the store again",
        ),
        (&[&SqlState::TOO_MANY_CONNECTIONS], "raise max_connections, use a pooler, or lower the URL's `connections`"),
        (&[&SqlState::DISK_FULL], "make room on the database's disk; nothing that was recorded is lost"),
        (&[&SqlState::READ_ONLY_SQL_TRANSACTION], "give the URL of the primary: a replica cannot be written"),
        (&[&SqlState::CANNOT_CONNECT_NOW], "it is starting or stopping; try again"),
        (
            &[&SqlState::LOCK_NOT_AVAILABLE, &SqlState::QUERY_CANCELED],
            "something else holds a lock, or the database is too slow: see pg_stat_activity",
        ),
    ];
    helps.into_iter().find(|(states, _)| states.contains(&state)).map(|(_, help)| help)
}
