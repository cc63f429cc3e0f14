//! Example programs: see `src/bin`.

#![forbid(unsafe_code)]

/// The README, so that its examples are compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;

/// The chapters of the guide, for the same reason. `tests/tests/docs.rs` checks that each is here.
#[cfg(doctest)]
pub mod guide {
    #[doc = include_str!("../../docs/src/quickstart.md")]
    pub struct Quickstart;

    #[doc = include_str!("../../docs/src/examples.md")]
    pub struct Examples;

    #[doc = include_str!("../../docs/src/determinism.md")]
    pub struct Determinism;

    #[doc = include_str!("../../docs/src/steps.md")]
    pub struct Steps;

    #[doc = include_str!("../../docs/src/waiting.md")]
    pub struct Waiting;

    #[doc = include_str!("../../docs/src/concurrency.md")]
    pub struct Concurrency;

    #[doc = include_str!("../../docs/src/children.md")]
    pub struct Children;

    #[cfg(feature = "http")]
    #[doc = include_str!("../../docs/src/streams.md")]
    pub struct Streams;

    #[doc = include_str!("../../docs/src/suspend-retry-fork.md")]
    pub struct SuspendRetryFork;

    #[doc = include_str!("../../docs/src/runs.md")]
    pub struct Runs;

    #[doc = include_str!("../../docs/src/testing.md")]
    pub struct Testing;

    #[doc = include_str!("../../docs/src/changing-code.md")]
    pub struct ChangingCode;

    #[cfg(feature = "cli")]
    #[doc = include_str!("../../docs/src/command-line.md")]
    pub struct CommandLine;

    #[cfg(feature = "web")]
    #[doc = include_str!("../../docs/src/web-page.md")]
    pub struct WebPage;

    #[doc = include_str!("../../docs/src/operating.md")]
    pub struct Operating;

    #[cfg(feature = "postgres")]
    #[doc = include_str!("../../docs/src/postgresql.md")]
    pub struct PostgreSql;

    #[doc = include_str!("../../docs/src/security.md")]
    pub struct Security;

    #[doc = include_str!("../../docs/src/performance.md")]
    pub struct Performance;

    #[doc = include_str!("../../docs/src/errors.md")]
    pub struct Errors;

    #[doc = include_str!("../../docs/src/coming-from.md")]
    pub struct ComingFrom;
}
