//! Points in a store at which a crash test kills the process.
//!
//! Without the feature `failpoints` they compile to nothing.

/// Counts hits; the hit with the number in `WORKFLOW_FAIL_POINT`, from 1, kills the process. `name` is for the reader only.
#[cfg(feature = "failpoints")]
pub(crate) fn hit(name: &'static str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static FATAL: OnceLock<Option<u64>> = OnceLock::new();
    static HITS: AtomicU64 = AtomicU64::new(0);

    let Some(fatal) = FATAL.get_or_init(|| std::env::var("WORKFLOW_FAIL_POINT").ok()?.parse().ok()) else { return };
    if HITS.fetch_add(1, Ordering::SeqCst) + 1 == *fatal {
        eprintln!("killed at fail point {fatal}: {name}");
        // SIGKILL acts like a power failure: an abort would still run a handler that the program has set.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        loop {
            std::thread::park();
        }
    }
}

/// Does nothing without the feature.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) fn hit(_: &'static str) {}
