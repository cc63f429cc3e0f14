//! A test harness for tests that not every machine can run. A test that lacks a database, a browser or the permission
//! to mount a disk is reported as ignored, with a hint on how to install what it lacks, and never as passed.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use libtest_mimic::{Arguments, Trial};

use crate::{browser, disk, postgres};

/// A test of a binary whose `main` is [`main`](crate::main): see [`case!`](crate::case).
pub struct Case {
    /// The path of its module, including the crate.
    pub module: &'static str,
    /// The name of its function.
    pub name: &'static str,
    /// What the machine must provide.
    pub needs: Needs,
    /// The test. A panic is a failure.
    pub run: fn(),
}

inventory::collect!(Case);

/// What a machine must provide for a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// What every machine has.
    Nothing,
    /// A database: see [`postgres`].
    Postgres,
    /// A cluster for this test alone: see [`postgres::Cluster`].
    Cluster,
    /// A cluster with a pooler in front of it: see [`postgres::Pooler`].
    Pooler,
    /// A cluster, and `openssl` to make certificates.
    Tls,
    /// Permission to mount a [`Disk`](disk::Disk).
    Disk,
    /// A cluster on such a [`Disk`](disk::Disk).
    ClusterOnDisk,
    /// Permission to mount a [`Disk::overlay`](disk::Disk::overlay).
    Overlay,
    /// A browser: see [`browser`].
    Browser,
}

/// Defines a test, as `#[test]` and `#[tokio::test]` do in Rust's own harness: a function, or an async function on a
/// runtime of one thread. With `#[threads]` or one of the needs `#[postgres]`, `#[cluster]`, `#[pooler]`, `#[tls]`,
/// `#[disk]`,
/// `#[cluster_on_disk]`, `#[overlay]` and `#[browser]` the runtime has two threads.
#[macro_export]
macro_rules! case {
    (#[threads] async fn $name:ident() $body:block) => {
        async fn $name() $body

        $crate::case!(@ $name, Nothing, || $crate::threads($name()));
    };
    (#[postgres] async fn $name:ident() $body:block) => {
        async fn $name() $body

        $crate::case!(@ $name, Postgres, || $crate::threads($name()));
    };
    (#[cluster] async fn $name:ident() $body:block) => {
        async fn $name() $body

        $crate::case!(@ $name, Cluster, || $crate::threads($name()));
    };
    (#[tls] async fn $name:ident() $body:block) => {
        async fn $name() $body

        $crate::case!(@ $name, Tls, || $crate::threads($name()));
    };
    (#[disk] async fn $name:ident() $body:block) => {
        async fn $name() $body

        $crate::case!(@ $name, Disk, || $crate::threads($name()));
    };
    (#[browser] async fn $name:ident() $body:block) => {
        async fn $name() $body

        $crate::case!(@ $name, Browser, || $crate::threads($name()));
    };
    (#[cluster_on_disk] async fn $name:ident() $body:block) => {
        async fn $name() $body

        $crate::case!(@ $name, ClusterOnDisk, || $crate::threads($name()));
    };
    (#[overlay] async fn $name:ident() $body:block) => {
        async fn $name() $body

        $crate::case!(@ $name, Overlay, || $crate::threads($name()));
    };
    (#[pooler] async fn $name:ident() $body:block) => {
        async fn $name() $body

        $crate::case!(@ $name, Pooler, || $crate::threads($name()));
    };
    (async fn $name:ident() $body:block) => {
        async fn $name() $body

        $crate::case!(@ $name, Nothing, || $crate::thread($name()));
    };
    (fn $name:ident() $body:block) => {
        fn $name() $body

        $crate::case!(@ $name, Nothing, $name);
    };
    (@ $name:ident, $needs:ident, $run:expr) => {
        $crate::inventory::submit! {
            $crate::Case {
                module: module_path!(),
                name: stringify!($name),
                needs: $crate::Needs::$needs,
                run: $run,
            }
        }
    };
}

/// Runs a test on a runtime of one thread.
pub fn thread(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(test);
}

/// Runs a test on a runtime of two threads.
pub fn threads(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(test);
}

/// Waits for a future in synchronous code inside a test on [`threads`]. It blocks on a separate thread: a thread that
/// is already in a `block_on` would lose the wakes of that call.
pub fn wait<T: Send>(future: impl Future<Output = T> + Send) -> T {
    let runtime = tokio::runtime::Handle::current();
    let wait = || {
        std::thread::scope(|scope| scope.spawn(|| runtime.block_on(future)).join().expect("the future does not panic"))
    };
    tokio::task::block_in_place(wait)
}

/// Runs the tests of a binary. `file` is its `file!()`.
pub fn main(file: &str) -> ExitCode {
    let lacking = |needs| match needs {
        Needs::Nothing => None,
        Needs::Postgres => postgres::lacking(),
        Needs::Cluster => postgres::lacking_binaries(),
        Needs::Pooler => postgres::lacking_pooler(),
        Needs::Tls => postgres::lacking_tls(),
        Needs::Disk => disk::lacking(),
        Needs::ClusterOnDisk => postgres::lacking_binaries().or_else(disk::lacking),
        Needs::Overlay => disk::lacking_overlay(),
        Needs::Browser => browser::lacking(),
    };
    if let Some(lacking) = lacking(Needs::Cluster) {
        eprintln!("tests on PostgreSQL are ignored: {lacking}");
    }
    if inventory::iter::<Case>().any(|case| matches!(case.needs, Needs::Disk | Needs::ClusterOnDisk))
        && let Some(lacking) = disk::lacking()
    {
        eprintln!("tests of a full disk are ignored: {lacking}");
    }
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| value == "1");
    let (database, browser) = (is_set("WORKFLOW_REQUIRE_POSTGRES"), is_set("WORKFLOW_REQUIRE_BROWSER"));
    let required = |needs| match needs {
        // A container may lack the permission to mount, whatever is installed in it.
        Needs::Disk | Needs::ClusterOnDisk | Needs::Overlay => false,
        Needs::Browser => browser,
        _ => database,
    };
    let mut trials: Vec<Trial> =
        inventory::iter::<Case>().map(|case| trial(case, lacking(case.needs), required(case.needs))).collect();
    trials.push(Trial::test("every_test_is_registered", {
        let sources = sources(file);
        move || every_test_is_registered(&sources).map_err(Into::into)
    }));
    trials.sort_by(|one, other| one.name().cmp(other.name()));
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials);
    postgres::stop();
    conclusion.exit_code()
}

fn trial(case: &'static Case, lacking: Option<String>, required: bool) -> Trial {
    let module = case.module.split_once("::").map_or("", |(_, module)| module);
    let name = if module.is_empty() { case.name.to_owned() } else { format!("{module}::{}", case.name) };
    match lacking {
        None => Trial::test(name, || {
            (case.run)();
            Ok(())
        }),
        Some(lacking) => {
            if matches!(case.needs, Needs::Browser | Needs::Overlay) && !required {
                eprintln!("{name} is ignored: {lacking}");
            }
            Trial::test(name, move || Err(lacking.into())).with_ignored_flag(!required)
        }
    }
}

/// The directory of a binary's sources.
fn sources(file: &str) -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the workspace");
    workspace.join(file).parent().expect("a directory").to_path_buf()
}

/// Fails if a source has an attribute of Rust's own harness: this harness would silently skip such a test.
fn every_test_is_registered(directory: &Path) -> Result<(), String> {
    for entry in std::fs::read_dir(directory).map_err(|error| error.to_string())? {
        let path = entry.map_err(|error| error.to_string())?.path();
        if path.is_dir() {
            every_test_is_registered(&path)?;
            continue;
        }
        let text = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
        let lost =
            |line: &&str| ["#[test]", "#[tokio::test"].iter().any(|attribute| line.trim_start().starts_with(attribute));
        if text.lines().any(|line| lost(&line)) {
            return Err(format!("{} has a test that this harness does not run: wrap it in `case!`", path.display()));
        }
    }
    Ok(())
}

/// Waits before a test looks again at what other tasks or a database do: a loop without a pause can take the processor
/// from them.
pub async fn pause() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}
