//! The engine of the free functions ends with the tokio runtime that opened it.
//!
//! A test binary of its own, since there is one such engine in a process.

use std::sync::mpsc;
use std::thread;

use tokio::runtime::Runtime;
use workflow_runtime::{Code, Engine, Error, Result, hook, start, step, workflow};

#[step]
async fn greets(name: String) -> Result<String> {
    Ok(format!("hello {name}"))
}

#[workflow]
async fn hello(name: String) -> Result<String> {
    greets(name).await
}

#[workflow]
async fn waits_for_ever() -> Result<()> {
    hook::<()>().token("never").await
}

/// A runtime like that of `#[tokio::test]`.
fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Asserts that an error reports that the engine ended with the runtime of this thread.
fn assert_names_the_owner(error: &Error, thread: &str) {
    assert_eq!(error.code(), Code::Closed, "{error:?}");
    let text = format!("{error:?}");
    for part in ["runtime", thread, r#"Engine::open("memory:")"#] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

/// Executes a future on the runtime of a new thread. The runtime runs until [`Owner::ends`].
fn on_thread<F>(name: &str, future: F) -> Owner
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let (end, ends) = mpsc::channel::<()>();
    let (ready, is_ready) = mpsc::channel();
    let owner = thread::Builder::new().name(name.to_owned());
    let body = move || {
        runtime().block_on(async {
            ready.send(future.await).expect("the test waits");
            while let Err(mpsc::TryRecvError::Empty) = ends.try_recv() {
                tokio::task::yield_now().await;
            }
        });
    };
    let thread = owner.spawn(body).expect("a thread");
    is_ready.recv().expect("the thread answers").expect("the calls of the thread succeed");
    Owner { end, thread }
}

/// A thread with a runtime.
struct Owner {
    end: mpsc::Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl Owner {
    /// Ends the thread and its runtime.
    fn ends(self) {
        drop(self.end);
        self.thread.join().expect("the thread ends");
    }
}

#[test]
fn the_engine_of_the_free_functions_ends_with_the_runtime_that_opened_it() {
    let directory = tempfile::tempdir().expect("a directory");
    std::env::set_current_dir(directory.path()).expect("the directory exists");

    // The first use opens the engine. Other runtimes share it while its runtime exists.
    let owner = on_thread("tests::the_first", async {
        assert_eq!(start(hello, "first".to_owned()).await?.await?, "hello first");
        Ok(())
    });
    let error = runtime().block_on(async {
        let run = start(waits_for_ever, ()).id("waits").await.expect("the engine of the other thread is open");
        owner.ends();
        run.await.unwrap_err()
    });
    assert_names_the_owner(&error, "tests::the_first");

    // After that, the next use opens another engine in its own runtime, on the same store.
    runtime().block_on(async {
        assert_eq!(
            start(hello, "second".to_owned()).await.expect("a new engine opens").await.expect("executed"),
            "hello second"
        );
        start(waits_for_ever, ())
            .id("waits")
            .await
            .expect("the same run")
            .cancel("enough")
            .await
            .expect("the run is cancelled");
    });

    // An installed engine is not replaced by an engine from the environment, which could have another store.
    let owner = on_thread("tests::the_installer", async {
        Engine::open("memory:").await?.install()?;
        start(hello, "third".to_owned()).await?.await?;
        Ok(())
    });
    runtime().block_on(async {
        let other = Engine::open("memory:").await.expect("the engine opens");
        let error = other.install().unwrap_err();
        assert_eq!(error.code(), Code::Closed);
        assert!(format!("{error:?}").contains("tests::the_installer"), "{error:?}");
        owner.ends();
        assert_names_the_owner(&start(hello, "fourth".to_owned()).await.unwrap_err(), "tests::the_installer");
        let third = Engine::open("memory:").await.expect("the engine opens").install().expect("no engine is installed");
        assert_eq!(start(hello, "fifth".to_owned()).await.expect("started").await.expect("executed"), "hello fifth");
        third.shutdown().await.expect("the engine shuts down");
        let error = start(hello, "sixth".to_owned()).await.unwrap_err();
        assert_eq!(error.code(), Code::Closed);
        assert!(
            !format!("{error:?}").contains("has ended"),
            "the engine was shut down, its runtime has not ended: {error:?}"
        );
    });
}
