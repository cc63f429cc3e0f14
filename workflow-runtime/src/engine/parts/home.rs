//! The tokio runtime of an engine, and the error for its users once that runtime has ended.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::error::{Code, Error};

/// The runtime that an engine was opened in, and whether it has ended.
pub struct Home {
    /// The thread that opened it. Test harnesses name it after the test.
    thread: String,
    /// Cancelled when the engine has ended.
    stopped: CancellationToken,
    /// Whether the runtime ended before the engine did.
    gone: AtomicBool,
    /// The error that has closed the engine for good, if one has.
    failed: OnceLock<Error>,
}

impl Home {
    /// The current runtime and thread.
    pub fn here(stopped: CancellationToken) -> Arc<Self> {
        let thread = std::thread::current();
        let thread = thread.name().map_or_else(|| format!("{:?}", thread.id()), |name| format!("`{name}`"));
        Arc::new(Home { thread, stopped, gone: AtomicBool::new(false), failed: OnceLock::new() })
    }

    /// The thread that opened the engine, for an error message.
    pub fn thread(&self) -> &str {
        &self.thread
    }

    /// Detects the end of the runtime with one of its tasks: the runtime then drops the future of the task.
    pub fn watch(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) -> Watched {
        Watched { _home: Leaving(self.clone()), task: Box::pin(task) }
    }

    /// Records the error that closes the engine for good. Returns whether it is the first.
    pub fn fail(&self, error: &Error) -> bool {
        self.failed.set(error.clone()).is_ok()
    }

    /// The error of a call on an engine that has ended. `shut_down` is its text if the engine was shut down,
    /// and `help` the advice in that case.
    pub fn closed(&self, shut_down: &str, help: &str) -> Error {
        if let Some(error) = self.failed.get() {
            return error.clone().context(shut_down.to_owned());
        }
        if !self.gone.load(Ordering::SeqCst) {
            return Error::coded(Code::Closed, shut_down.to_owned()).help(help.to_owned());
        }
        let text = format!(
            "the tokio runtime that the engine was opened in has ended, and the engine with it; thread {} had opened it",
            self.thread
        );
        Error::coded(Code::Closed, text).help(
            "an engine lives no longer than its runtime. The free functions share one engine in the whole process, which \
             the first of them opens: in a test open one of the test's own, `Engine::open(\"memory:\").await?`, and call \
             its methods; in a program open the engine in the runtime that lives longest, and `install()` it there",
        )
    }
}

/// Records on drop that the runtime ended before the engine, if it did.
struct Leaving(Arc<Home>);

impl Drop for Leaving {
    fn drop(&mut self) {
        if !self.0.stopped.is_cancelled() {
            self.0.gone.store(true, Ordering::SeqCst);
        }
    }
}

/// A task of the engine, which ends when the engine has stopped: see [`Home::watch`].
pub struct Watched {
    // Dropped first: code that sees the end of the task then finds the reason.
    _home: Leaving,
    task: BoxFuture<'static, ()>,
}

impl Future for Watched {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.task.as_mut().poll(context)
    }
}
