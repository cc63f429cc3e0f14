//! Labels and ids of any form, and names that the engine reserves.

use futures::TryStreamExt;
use workflow_runtime::{Code, Error, Result, Run, hook, step, suspend, workflow, writer};

use crate::support::{Lab, soon};

#[workflow]
async fn asks_as(label: String) -> Result<String> {
    let step = asks_in_step(label.clone()).await?;
    let workflow: String = suspend(&1).label(label).await?;
    Ok(step + &workflow)
}

#[step]
async fn asks_in_step(label: String) -> Result<String> {
    suspend(&2).label(label).await
}

#[workflow]
async fn opens_a_token(token: String) -> Result<()> {
    hook::<()>().token(token).await
}

#[workflow]
async fn suspends_as(label: String) -> Result<()> {
    suspend::<()>(&()).label(label).await
}

#[step]
async fn writes_in_step(stream: String) -> Result<()> {
    writer(stream).write(&1).await
}

#[workflow]
async fn writes_to(stream: String) -> Result<()> {
    if stream.ends_with("step") { writes_in_step(stream).await } else { writer(stream).write(&1).await }
}

/// The only suspension of a run. Waits for it.
async fn suspended<T, E>(run: &Run<T, E>) -> workflow_runtime::Suspended {
    soon(async {
        loop {
            if let Some(suspended) = run.suspended().await.unwrap().pop() {
                return suspended;
            }
            workflow_harness::pause().await;
        }
    })
    .await
}

on_each_store! {
    async fn the_longest_labels_and_ids_work_together(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let long = |text: &str, bytes: usize| text.repeat(bytes.div_ceil(text.len()))[..bytes].to_owned();
        // Random text, which compression cannot shorten.
        let mut state = 7_u64;
        let random: String = (0..512)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                char::from(b"/%abcdefghijklmnopqrstuvwxyz0123"[(state >> 59) as usize])
            })
            .collect();
        for (id, label) in [
            (long("i", 36), long("l", 470)),
            (long("i", 512), long("l", 512)),
            (long("i/%", 512), long("/%l", 512)),
            (long("/", 512), long("/", 512)),
            (random.clone(), random),
        ] {
            let run = engine.start(asks_as, label.clone()).id(&*id).await.unwrap();
            for value in ["a", "b"] {
                assert_eq!(suspended(&run).await.label, label);
                run.resume(&value).label(label.clone()).await.unwrap();
                if value == "a" {
                    soon(async { while run.suspended().await.unwrap().iter().all(|it| it.payload != 1) { workflow_harness::pause().await } }).await;
                }
            }
            assert_eq!(soon(&run).await.unwrap(), "ab");
        }
    }

    async fn suspensions_of_runs_whose_id_and_label_join_to_the_same_text_differ(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let short = engine.start(suspends_as, "b/c".into()).id("a").await.unwrap();
        let long = engine.start(suspends_as, "c".into()).id("a/b").await.unwrap();
        assert_eq!((suspended(&short).await.label, suspended(&long).await.label), ("b/c".into(), "c".into()));
        short.resume(&()).await.unwrap();
        soon(&short).await.unwrap();
        assert_eq!(long.suspended().await.unwrap().len(), 1);
        long.resume(&()).await.unwrap();
        soon(&long).await.unwrap();
    }

    async fn reserved_names_are_refused(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let refused = |error: Error| {
            assert_eq!(error.code(), Code::InvalidName, "{error:?}");
            assert!(error.to_string().contains("reserved"), "{error:?}");
        };
        for name in ["queue:gpu/x", "suspended/run/label", "webhook/1234"] {
            for error in [
                engine.resume_hook(name, &()).await.unwrap_err(),
                engine.get_hook(name).await.unwrap_err(),
                engine.start(opens_a_token, "t".into()).opens(name).await.unwrap_err(),
                soon(engine.start(opens_a_token, name.into()).await.unwrap()).await.unwrap_err(),
                soon(engine.start(suspends_as, name.into()).await.unwrap()).await.unwrap_err(),
                soon(engine.start(writes_to, name.into()).await.unwrap()).await.unwrap_err(),
                soon(engine.start(writes_to, format!("{name}step")).await.unwrap()).await.unwrap_err(),
            ] {
                refused(error);
            }
            // The reserved prefixes do not apply to ids of runs.
            let run = engine.start(suspends_as, "x".into()).id(name).await.unwrap();
            assert_eq!(suspended(&run).await.label, "x");
            run.resume(&()).await.unwrap();
            soon(&run).await.unwrap();
            let none: Vec<_> = run.stream::<u32>(name).try_collect().await.unwrap();
            assert!(none.is_empty(), "reading the stream is allowed");
        }
    }
}
