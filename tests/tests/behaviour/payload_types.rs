//! Payload types with equal names: a payload is checked against the type that waits for it, not against another type of
//! the same name.

use serde::{Deserialize, Serialize};
use workflow_runtime::{Code, Engine, Result, Run, hook, step, suspend, workflow};

use crate::support::{Lab, soon};

/// Two workflows and two steps that wait for an `Answer`. Two types have this name: one with apples, one with pears.
struct Waiting {
    apples: Run<u32>,
    pears: Run<String>,
    apples_in_step: Run<u32>,
    pears_in_step: Run<String>,
    names: [&'static str; 2],
}

async fn start_all(engine: &Engine, id: &str) -> Result<Waiting> {
    let (apples, apples_in_step, first) = {
        #[derive(Serialize, Deserialize, schemars::JsonSchema)]
        struct Answer {
            apples: u32,
        }
        workflow_runtime::payload!(Answer);

        #[workflow(id = "payload_types::apples")]
        async fn waits(token: String) -> Result<u32> {
            let answer: Answer = hook().token(token).await?;
            let again: Answer = suspend(&()).await?;
            Ok(answer.apples + again.apples)
        }

        #[step(id = "payload_types::ask_apples")]
        async fn asks() -> Result<u32> {
            Ok(suspend::<Answer>(&()).label("fruit").await?.apples)
        }

        #[workflow(id = "payload_types::apples_in_step")]
        async fn waits_in_step() -> Result<u32> {
            asks().await
        }
        let run = engine.start(waits, format!("{id}-apples")).await?;
        (run, engine.start(waits_in_step, ()).await?, std::any::type_name::<Answer>())
    };
    let (pears, pears_in_step, second) = {
        #[derive(Serialize, Deserialize, schemars::JsonSchema)]
        struct Answer {
            pears: String,
        }
        workflow_runtime::payload!(Answer);

        #[workflow(id = "payload_types::pears")]
        async fn waits(token: String) -> Result<String> {
            let answer: Answer = hook().token(token).await?;
            let again: Answer = suspend(&()).await?;
            Ok(answer.pears + &again.pears)
        }

        #[step(id = "payload_types::ask_pears")]
        async fn asks() -> Result<String> {
            Ok(suspend::<Answer>(&()).label("fruit").await?.pears)
        }

        #[workflow(id = "payload_types::pears_in_step")]
        async fn waits_in_step() -> Result<String> {
            asks().await
        }
        let run = engine.start(waits, format!("{id}-pears")).await?;
        (run, engine.start(waits_in_step, ()).await?, std::any::type_name::<Answer>())
    };
    Ok(Waiting { apples, pears, apples_in_step, pears_in_step, names: [first, second] })
}

async fn suspended<T, E>(run: &Run<T, E>) {
    soon(async {
        while run.suspended().await.unwrap().is_empty() {
            workflow_harness::pause().await
        }
    })
    .await;
}

on_each_store! {
    async fn payloads_are_checked_against_the_type_that_waits(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let waiting = start_all(&engine, "checked").await.unwrap();
        assert_eq!(waiting.names[0], waiting.names[1]);
        let (apples, pears) = (serde_json::json!({ "apples": 2 }), serde_json::json!({ "pears": "two" }));

        for (token, fits, other) in [("checked-apples", &apples, &pears), ("checked-pears", &pears, &apples)] {
            let refused = engine.resume_hook(token, other).await.unwrap_err();
            assert_eq!(refused.code(), Code::Payload, "{token}");
            engine.resume_hook(token, fits).await.unwrap();
        }
        suspended(&waiting.apples).await;
        suspended(&waiting.pears).await;
        assert_eq!(waiting.apples.resume(&pears).await.unwrap_err().code(), Code::Payload);
        assert_eq!(waiting.pears.resume(&apples).await.unwrap_err().code(), Code::Payload);
        waiting.apples.resume(&apples).await.unwrap();
        waiting.pears.resume(&pears).await.unwrap();
        assert_eq!(soon(&waiting.apples).await.unwrap(), 4);
        assert_eq!(soon(&waiting.pears).await.unwrap(), "twotwo");

        suspended(&waiting.apples_in_step).await;
        suspended(&waiting.pears_in_step).await;
        assert_eq!(waiting.apples_in_step.resume(&pears).await.unwrap_err().code(), Code::Payload);
        assert_eq!(waiting.pears_in_step.resume(&apples).await.unwrap_err().code(), Code::Payload);
        waiting.apples_in_step.resume(&apples).await.unwrap();
        waiting.pears_in_step.resume(&pears).await.unwrap();
        assert_eq!(soon(&waiting.apples_in_step).await.unwrap(), 2);
        assert_eq!(soon(&waiting.pears_in_step).await.unwrap(), "two");
    }

    async fn two_types_with_equal_names_have_their_own_schemas(place: Place) {
        let engine = place.open(&Lab::new()).await;
        start_all(&engine, "schemas").await.unwrap();
        for fruit in ["apples", "pears"] {
            let hook = engine.get_hook(&format!("schemas-{fruit}")).await.unwrap();
            let schema = hook.schema.unwrap();
            assert!(schema["properties"].get(fruit).is_some(), "{fruit}: {schema}");
        }
    }
}
