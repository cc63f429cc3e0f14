//! Functions, not modules, whose results differ on a replay or that have side effects: `env::consts` and a seeded
//! generator are allowed in a workflow.

/// Why a function is forbidden in a workflow. The name is that of the trait in the runtime's `probe`, with
/// the same message as here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Why {
    Clock,
    Random,
    Identifier,
    Environment,
    World,
    Task,
    Waiting,
    Process,
    Hashing,
}

impl Why {
    /// The reason and the replacement.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Why::Clock => "the clock gives another answer on a replay: use `workflow_runtime::now()`",
            Why::Random => "randomness gives another answer on a replay: use `workflow_runtime::random()`",
            Why::Identifier => "a random id is another one on a replay: use `workflow_runtime::uuid()`",
            Why::Environment => {
                "the environment may be another one on a replay: read it in a `#[step]`, or take the value as an argument"
            }
            Why::World => "a workflow is replayed, and would do this again each time: move the call into a `#[step]`",
            Why::Task => {
                "what runs beside the workflow is not replayed: use `workflow_runtime::spawn` for a branch, or a `#[step]`"
            }
            Why::Waiting => {
                "a workflow waits by recorded timers: use `workflow_runtime::sleep(..).await`, or `workflow_runtime::timeout`"
            }
            Why::Process => "a replay runs in another process: move the call into a `#[step]`",
            Why::Hashing => {
                "a hash state is seeded at random, so it differs on a replay: use a `BTreeMap`, or a fixed seed"
            }
        }
    }

    /// The probe in the runtime.
    pub(crate) fn probe(self) -> &'static str {
        match self {
            Why::Clock => "SameClock",
            Why::Random => "SameRandom",
            Why::Identifier => "SameIdentifier",
            Why::Environment => "SameEnvironment",
            Why::World => "SameWorld",
            Why::Task => "SameTask",
            Why::Waiting => "SameWaiting",
            Why::Process => "SameProcess",
            Why::Hashing => "SameHashing",
        }
    }
}

/// A function that can be named wherever the macro is used, and so is recognised under any name.
pub(crate) struct Known {
    /// Its path; `tokio` is the runtime's own.
    pub(crate) path: &'static str,
    /// Type arguments that select one function.
    pub(crate) generics: &'static str,
    pub(crate) why: Why,
}

const fn known(path: &'static str, generics: &'static str, why: Why) -> Known {
    Known { path, generics, why }
}

/// Recognised by name resolution.
pub(crate) const KNOWN: &[Known] = &[
    known("std::time::SystemTime::now", "", Why::Clock),
    known("std::time::Instant::now", "", Why::Clock),
    known("tokio::time::Instant::now", "", Why::Clock),
    known("std::env::var", "<&'static str>", Why::Environment),
    known("std::env::var_os", "<&'static str>", Why::Environment),
    known("std::env::vars", "", Why::Environment),
    known("std::env::vars_os", "", Why::Environment),
    known("std::env::args", "", Why::Environment),
    known("std::env::args_os", "", Why::Environment),
    known("std::env::current_dir", "", Why::Environment),
    known("std::env::current_exe", "", Why::Environment),
    known("std::env::temp_dir", "", Why::Environment),
    known("std::env::home_dir", "", Why::Environment),
    known("std::env::remove_var", "<&'static str>", Why::World),
    known("std::env::set_current_dir", "<&'static str>", Why::World),
    known("std::env::set_var", "<&'static str, &'static str>", Why::World),
    known("std::time::SystemTime::elapsed", "", Why::Clock),
    known("std::time::Instant::elapsed", "", Why::Clock),
    known("tokio::time::Instant::elapsed", "", Why::Clock),
    known("std::thread::available_parallelism", "", Why::Environment),
    known("std::fs::read", "<&'static str>", Why::World),
    known("std::fs::read_to_string", "<&'static str>", Why::World),
    known("std::fs::write", "<&'static str, &'static str>", Why::World),
    known("std::fs::copy", "<&'static str, &'static str>", Why::World),
    known("std::fs::rename", "<&'static str, &'static str>", Why::World),
    known("std::fs::hard_link", "<&'static str, &'static str>", Why::World),
    known("std::fs::create_dir", "<&'static str>", Why::World),
    known("std::fs::create_dir_all", "<&'static str>", Why::World),
    known("std::fs::remove_file", "<&'static str>", Why::World),
    known("std::fs::remove_dir", "<&'static str>", Why::World),
    known("std::fs::remove_dir_all", "<&'static str>", Why::World),
    known("std::fs::metadata", "<&'static str>", Why::World),
    known("std::fs::symlink_metadata", "<&'static str>", Why::World),
    known("std::fs::read_dir", "<&'static str>", Why::World),
    known("std::fs::read_link", "<&'static str>", Why::World),
    known("std::fs::canonicalize", "<&'static str>", Why::World),
    known("std::fs::exists", "<&'static str>", Why::World),
    known("std::fs::set_permissions", "<&'static str>", Why::World),
    known("std::fs::OpenOptions::new", "", Why::World),
    known("std::fs::DirBuilder::new", "", Why::World),
    known("std::fs::File::options", "", Why::World),
    known("std::path::Path::canonicalize", "", Why::World),
    known("std::path::Path::exists", "", Why::World),
    known("std::path::Path::is_dir", "", Why::World),
    known("std::path::Path::is_file", "", Why::World),
    known("std::path::Path::is_symlink", "", Why::World),
    known("std::path::Path::metadata", "", Why::World),
    known("std::path::Path::read_dir", "", Why::World),
    known("std::path::Path::read_link", "", Why::World),
    known("std::path::Path::symlink_metadata", "", Why::World),
    known("std::path::Path::try_exists", "", Why::World),
    known("std::fs::File::open", "<&'static str>", Why::World),
    known("std::fs::File::create", "<&'static str>", Why::World),
    known("std::fs::File::create_new", "<&'static str>", Why::World),
    known("std::net::TcpStream::connect", "<&'static str>", Why::World),
    known("std::net::TcpStream::connect_timeout", "", Why::World),
    known("std::net::TcpListener::bind", "<&'static str>", Why::World),
    known("std::net::UdpSocket::bind", "<&'static str>", Why::World),
    known("std::process::Command::new", "<&'static str>", Why::World),
    known("std::io::stdin", "", Why::World),
    known("std::thread::spawn", "<fn(), ()>", Why::Task),
    known("std::thread::Builder::new", "", Why::Task),
    known("tokio::task::JoinSet::new", "", Why::Task),
    known("tokio::task::block_in_place", "<fn(), ()>", Why::Task),
    known("tokio::task::spawn", "<::std::future::Ready<()>>", Why::Task),
    known("tokio::task::spawn_blocking", "<fn(), ()>", Why::Task),
    known("tokio::task::spawn_local", "<::std::future::Ready<()>>", Why::Task),
    known("std::thread::scope", "<for<'s> fn(&'s ::std::thread::Scope<'s, 'static>), ()>", Why::Task),
    known("tokio::runtime::Builder::new_current_thread", "", Why::Task),
    known("tokio::runtime::Builder::new_multi_thread", "", Why::Task),
    known("tokio::runtime::Handle::current", "", Why::Task),
    known("tokio::runtime::Handle::try_current", "", Why::Task),
    known("tokio::runtime::Runtime::new", "", Why::Task),
    known("tokio::task::LocalSet::new", "", Why::Task),
    known("std::thread::sleep", "", Why::Waiting),
    known("std::thread::park", "", Why::Waiting),
    known("std::thread::park_timeout", "", Why::Waiting),
    known("std::thread::yield_now", "", Why::Waiting),
    known("std::thread::current", "", Why::Process),
    known("std::process::id", "", Why::Process),
    known("std::process::exit", "", Why::Process),
    known("std::process::abort", "", Why::Process),
    known("std::hash::RandomState::new", "", Why::Hashing),
];

/// Last segments that are too common to check unless the segment before matches too.
pub(crate) const COMMON: &[(&str, &[&str])] = &[
    ("new", &["Builder", "Command", "DirBuilder", "JoinSet", "LocalSet", "OpenOptions", "RandomState", "Runtime"]),
    ("options", &["File"]),
    ("elapsed", &["Instant", "SystemTime"]),
];

/// Recognised by a path written out from the crate on; the last segment `*` matches every function there.
pub(crate) const SPELLED: &[(&str, Why)] = &[
    ("chrono::Local::now", Why::Clock),
    ("chrono::Utc::now", Why::Clock),
    ("chrono::offset::Local::now", Why::Clock),
    ("chrono::offset::Utc::now", Why::Clock),
    ("chrono::prelude::Local::now", Why::Clock),
    ("chrono::prelude::Utc::now", Why::Clock),
    ("jiff::Timestamp::now", Why::Clock),
    ("jiff::Zoned::now", Why::Clock),
    ("time::OffsetDateTime::now_local", Why::Clock),
    ("time::OffsetDateTime::now_utc", Why::Clock),
    ("time::UtcDateTime::now", Why::Clock),
    ("fastrand::*", Why::Random),
    ("getrandom::fill", Why::Random),
    ("getrandom::getrandom", Why::Random),
    ("getrandom::u32", Why::Random),
    ("getrandom::u64", Why::Random),
    ("rand::random", Why::Random),
    ("rand::random_bool", Why::Random),
    ("rand::random_iter", Why::Random),
    ("rand::random_range", Why::Random),
    ("rand::rng", Why::Random),
    ("rand::thread_rng", Why::Random),
    ("ulid::Ulid::new", Why::Identifier),
    ("uuid::Uuid::new_v4", Why::Identifier),
    ("uuid::Uuid::now_v1", Why::Identifier),
    ("uuid::Uuid::now_v6", Why::Identifier),
    ("uuid::Uuid::now_v7", Why::Identifier),
    ("num_cpus::get", Why::Environment),
    ("std::fs::*", Why::World),
    ("tokio::fs::*", Why::World),
    ("tokio::fs::File::create", Why::World),
    ("tokio::fs::File::open", Why::World),
    ("tokio::net::TcpListener::bind", Why::World),
    ("tokio::net::TcpStream::connect", Why::World),
    ("tokio::net::UdpSocket::bind", Why::World),
    ("tokio::process::Command::new", Why::World),
    ("tokio::signal::ctrl_c", Why::World),
    ("reqwest::get", Why::World),
    ("reqwest::blocking::get", Why::World),
    ("async_std::task::spawn", Why::Task),
    ("futures::executor::block_on", Why::Task),
    ("rayon::spawn", Why::Task),
    ("smol::spawn", Why::Task),
    ("tokio::spawn", Why::Task),
    ("tokio::time::interval", Why::Waiting),
    ("tokio::time::interval_at", Why::Waiting),
    ("tokio::time::sleep", Why::Waiting),
    ("tokio::time::sleep_until", Why::Waiting),
    ("tokio::time::timeout", Why::Waiting),
    ("tokio::time::timeout_at", Why::Waiting),
    ("tokio::task::yield_now", Why::Waiting),
    ("std::collections::hash_map::RandomState::new", Why::Hashing),
];

/// Functions of crates that cannot be named here. The runtime checks their full names when they are called.
pub(crate) const BY_NAME: &[&str] = &[
    "block_on",
    "from_entropy",
    "from_os_rng",
    "getrandom",
    "new_v4",
    "now_local",
    "now_utc",
    "now_v1",
    "now_v6",
    "now_v7",
    "random",
    "random_bool",
    "random_range",
    "rng",
    "thread_rng",
];

/// Types whose clock is recognised by the return type of their function: made from the system's time and printable.
pub(crate) const CLOCK_TYPES: &[&str] = &["Local", "OffsetDateTime", "Timestamp", "Utc", "UtcDateTime", "Zoned"];
