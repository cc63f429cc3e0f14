//! The error of each operation whose write the store refuses or does not acknowledge. It states whether the operation
//! may have taken effect, and what to do.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use workflow_runtime::store::{AppendChunk, Write};
use workflow_runtime::{Client, Code, Engine, Error, IfExists, Result, Run, hook, step, suspend, workflow, writer};

use crate::support::{Faulty, Lab, When, soon};

#[workflow]
async fn ends(how: u32) -> Result<()> {
    match how {
        0 => Ok(()),
        1 => Err(Error::fatal("on purpose")),
        _ => panic!("on purpose"),
    }
}

#[workflow]
async fn waits(token: String) -> Result<()> {
    hook::<()>().token(token).await
}

#[workflow]
async fn asks() -> Result<()> {
    suspend(&1).await
}

#[step]
async fn writes_until_it_fails(#[resource] lab: &Lab) -> Result<()> {
    let written = writer::<u32>("numbers").write(&1).await;
    lab.note(&format!("{:?}", written.unwrap_err()));
    Ok(())
}

#[workflow]
async fn writes() -> Result<()> {
    writes_until_it_fails().await
}

/// An operation, and the text of its errors.
struct Case {
    /// The subject and the verb of the message: "the run" and "started" for "the run was not started".
    what: (&'static str, &'static str),
    /// The help for an operation that may have taken effect.
    help: &'static str,
    call: Box<dyn Fn() -> BoxFuture<'static, Result<()>> + Send + Sync>,
}

fn case<F>(what: (&'static str, &'static str), help: &'static str, call: impl Fn() -> F + Send + Sync + 'static) -> Case
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    Case { what, help, call: Box::new(move || call().boxed()) }
}

/// Calls the operation with a new handle each time.
fn on<F>(run: Run<(), Error>, call: impl Fn(Run<(), Error>) -> F + Send + Sync + 'static) -> impl Fn() -> F
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    move || call(run.clone())
}

/// All operations that write, and the runs that they need. The ids of the runs begin with `tag`.
async fn cases(client: &Client, tag: &str) -> Vec<Case> {
    let id = |name: &str| format!("{tag} {name}");
    let run = |name: &str| client.get_run::<(), Error>(id(name));
    for (name, how) in [("completed", 0), ("deleted", 0), ("replaced", 1), ("retried", 1), ("stuck", 2)] {
        let ended = soon(client.start(ends, how).id(id(name)).await.unwrap()).await;
        assert_eq!(ended.is_ok(), how == 0, "{ended:?}");
    }
    for name in ["cancelled", "woken", "token"] {
        client.start(waits, id(name)).id(id(name)).await.unwrap();
    }
    client.start(asks, ()).id(id("resumed")).await.unwrap();
    soon(async {
        while run("resumed").suspended().await.unwrap().is_empty() {
            workflow_harness::pause().await
        }
    })
    .await;
    soon(async {
        while client.get_hook(&id("token")).await.is_err() {
            workflow_harness::pause().await
        }
    })
    .await;
    let created = Arc::new(client.create_run(ends).id(id("begun")).await.unwrap());
    client.create_run(ends).id(id("cancelled before")).await.unwrap();
    let start = |name: &str| {
        let (client, id) = (client.clone(), id(name));
        move || {
            client
                .start(ends, 1)
                .id(id.clone())
                .if_exists(IfExists::ReplaceFailed)
                .into_future()
                .map(|run| run.map(drop))
        }
    };
    let (creates, created_id) = (client.clone(), id("created"));
    let (sends, token, fork) = (client.clone(), id("token"), id("fork"));
    let started = ("the run", "started");
    let retry = |run: Run<(), Error>| async move { run.retry().await };
    vec![
        case(started, "start it again with the same id", start("started")),
        case(started, "start it again with the same id", start("replaced")),
        case(started, "`Code::AlreadyStarted`", move || created.start(0).into_future().map(|run| run.map(drop))),
        case(("the run", "created"), "create it again with the same id", move || {
            creates.create_run(ends).id(created_id.clone()).into_future().map(|run| run.map(drop))
        }),
        case(("the run", "retried"), "retry it again if it has not changed", on(run("retried"), retry)),
        case(("the run", "retried"), "retry it again if it has not changed", on(run("stuck"), retry)),
        case(
            ("the run", "forked"),
            "fork it again with the same id",
            on(run("completed"), move |run| run.fork(0).id(fork.clone()).into_future().map(|run| run.map(drop))),
        ),
        case(
            ("the request to cancel the run", "recorded"),
            "cancel it again",
            on(run("cancelled"), |run| async move { run.cancel("enough").await.map(drop) }),
        ),
        case(
            ("the run", "cancelled"),
            "cancel it again",
            on(run("cancelled before"), |run| async move { run.cancel("enough").await.map(drop) }),
        ),
        case(
            ("the request to wake the run", "recorded"),
            "wake it again",
            on(run("woken"), |run| async move { run.wake_up().await }),
        ),
        case(
            ("the run", "deleted"),
            "`Code::RunNotFound`",
            on(run("deleted"), |run| async move { run.delete().await }),
        ),
        case(("the run", "resumed"), "resume it again", on(run("resumed"), |run| run.resume(&()).into_future())),
        case(("the payload", "delivered"), "the same idempotency key arrives once", move || {
            sends.resume_hook(token.clone(), &()).idempotency_key("k").into_future()
        }),
    ]
}

on_each_store! {
    async fn the_error_of_each_operation_says_whether_it_may_have_taken_effect_and_what_to_do(place: Place) {
        let lab = Lab::new();
        let _engine = place.builder(&lab).open().await.unwrap();
        let faulty = Faulty::new(place.store());
        let client = place.builder(&lab).store(Arc::new(faulty.clone())).connect().await.unwrap();
        for when in [When::Refused, When::LostAndInDoubt, When::CommittedButInDoubt] {
            let cases = cases(&client, &format!("{when:?}")).await;
            faulty.plan(move |_| Some(when));
            for (Case { what: (what, done), help, .. }, error) in
                cases.iter().zip(join_all(cases.iter().map(|case| (case.call)())).await)
            {
                let error = error.expect_err(what);
                let in_doubt = when != When::Refused;
                let (says, help) = match in_doubt {
                    true => (format!("it is not known whether {what} was {done}"), *help),
                    false => (format!("{what} was not {done}"), "nothing was written: repeat the call when the cause is fixed"),
                };
                assert_eq!((error.message(), error.code() == Code::InDoubt), (&*says, in_doubt), "{error:?}");
                let shown = format!("{error:?}");
                assert!(shown.contains("the disk is on fire") && shown.contains(help), "{shown}");
                // The error of a hook's token does not name the run.
                assert_eq!(error.run_id().is_some(), *what != "the payload", "{shown}");
            }
            faulty.plan(|_| None);
            if when != When::CommittedButInDoubt {
                for (case, repeated) in cases.iter().zip(join_all(cases.iter().map(|case| soon((case.call)()))).await) {
                    repeated.unwrap_or_else(|error| panic!("{:?} after {when:?}: {error:?}", case.what));
                }
            }
        }
    }

    async fn the_error_of_a_chunk_says_whether_it_may_have_been_written(place: Place) {
        for when in [When::Refused, When::LostAndInDoubt] {
            let (lab, faulty) = (Lab::new(), Faulty::new(place.store()));
            let refusing = lab.clone();
            faulty.plan(move |group| {
                let chunk = group.iter().any(|write| matches!(write, Write::AppendChunk(AppendChunk { .. })));
                chunk.then(|| refusing.note("asked"));
                chunk.then_some(when)
            });
            let engine = Engine::builder().store(Arc::new(faulty)).resource(lab.clone()).open().await.unwrap();
            engine.start(writes, ()).await.unwrap();
            soon(lab.executed("asked", 2)).await;
            engine.shutdown().await.unwrap();
            let notes = lab.notes();
            let says = match when {
                When::Refused => "the chunk was not written\n",
                _ => "it is not known whether the chunk was written\n",
            };
            let shown = notes.iter().find(|note| note.starts_with(says)).unwrap_or_else(|| panic!("{notes:?}"));
            assert!(shown.contains("the disk is on fire"), "{shown}");
            assert!(when == When::Refused || shown.contains("read the stream to see whether it has the chunk"), "{shown}");
        }
    }
}
