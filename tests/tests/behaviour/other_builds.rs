//! Runs that are started for the deployment of another build: what that one has published decides.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use workflow_runtime::store::{NewWorker, Ownership, Registration};
use workflow_runtime::{Client, Code, Deployment, Engine, Error, Result, Run, step, workflow};

use crate::support::{Lab, Place, soon};

#[workflow(id = "other.order")]
async fn order(_order: Value, _note: Option<String>) -> Result<()> {
    Ok(())
}

/// It has another name in the other build.
#[workflow(id = "other.former")]
async fn former(_amount: Value) -> Result<()> {
    Ok(())
}

#[workflow(id = "shop::other_gift")]
async fn gift() -> Result<()> {
    Ok(())
}

/// Its schema says that it is a text.
#[derive(Serialize, Deserialize)]
struct Stricter(u32);

impl JsonSchema for Stricter {
    fn schema_name() -> Cow<'static, str> {
        "Stricter".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string" })
    }
}

#[workflow(id = "other.own")]
async fn own(_n: Stricter) -> Result<()> {
    Ok(())
}

#[step(id = "other.price")]
async fn price(_item: String, cents: u32) -> Result<u32> {
    Ok(cents)
}

#[workflow(id = "other.sale")]
async fn sale(_order: Value) -> Result<u32> {
    price("tea".into(), 300).await
}

/// A worker of another build, which is alive and executes nothing.
struct Ghost {
    _right: Option<Box<dyn Ownership>>,
    _registration: Option<Box<dyn Registration>>,
}

async fn ghost(place: &Place, deployment: &str) -> Ghost {
    let item = json!({ "type": "object", "required": ["price"], "properties": { "price": { "type": "integer", "format": "uint8" } } });
    let items = json!({ "type": "array", "items": { "$ref": "#/$defs/Item" } });
    let order =
        json!({ "type": "object", "required": ["items"], "properties": { "items": items }, "$defs": { "Item": item } });
    let workflow = |id: &str, was: &[&str], arguments: Value| json!({ "id": id, "was": was, "fingerprint": "f", "file": "src/shop.rs", "line": 1, "arguments": arguments });
    let catalogue = json!({ "workflows": [
        workflow("other.order", &[], json!([["order", order], ["note", null]])),
        workflow("other.renamed", &["other.former"], json!([["amount", { "type": "integer", "minimum": 10 }]])),
        workflow("shop::gifts::other_gift", &[], json!([])),
        workflow("other.sale", &[], json!([["order", { "type": "object", "required": ["items"] }]])),
    ], "steps": [
        { "id": "other.price", "fingerprint": "f", "file": "src/shop.rs", "line": 2,
          "arguments": [["item", null], ["cents", { "type": "integer", "maximum": 1000 }]] },
    ] });
    let serves = json!({
        "workflows": ["other.order", "other.renamed", "other.former", "shop::gifts::other_gift", "other.sale"], "queues": [], "build": "ghost 1",
    });
    let store = place.store();
    let right = store.acquire(7).await.unwrap();
    let worker = NewWorker {
        owner: 7,
        deployment: deployment.into(),
        serves: serves.to_string().into(),
        catalogue: catalogue.to_string().into(),
        digest: [7; 32],
        now: workflow_runtime::engine::Environment::now(&workflow_runtime::engine::System),
        since: None,
    };
    Ghost { _right: right, _registration: store.register(&worker).await.unwrap() }
}

async fn client(place: &Place) -> Client {
    Engine::builder().store(place.store()).connect().await.unwrap()
}

async fn required(place: &Place, id: &str) -> Option<String> {
    let row = place.store().run(id).await.unwrap().unwrap();
    row.required_deployment.map(|deployment| deployment.to_string())
}

#[track_caller]
fn assert_refused(error: &Error, words: &[&str]) {
    assert_eq!(error.code(), Code::InvalidArguments, "{error:?}");
    let text = format!("{error:?}");
    for word in words {
        assert!(text.contains(word), "no {word:?} in {text}");
    }
}

on_each_store! {
    async fn arguments_are_checked_against_the_schema_of_the_deployment_that_executes_the_run(place: Place) {
        let client = client(&place).await;
        let _ghost = ghost(&place, "v2").await;
        let given = |price: Value| (json!({ "items": [{ "price": 1 }, { "price": price }] }), Some("x".to_owned()));
        let start = |id: &str, price: Value| client.start(order, given(price)).id(id);
        for deployment in [Deployment::Latest, "v2".into()] {
            let refused = start("a", json!("2")).deployment(deployment.clone()).await.unwrap_err();
            assert_refused(&refused, &["at order.items[1].price: an integer", "\"2\"", "`v2`", "unchecked"]);
            let refused = start("a", json!(256)).deployment(deployment).await.unwrap_err();
            assert_refused(&refused, &["at order.items[1].price: at most 255", "256"]);
        }
        assert!(!client.get_run::<(), Error>("a").exists().await.unwrap(), "nothing is written");
        start("a", json!(255)).deployment("v2").await.unwrap();
        assert_eq!(required(&place, "a").await.as_deref(), Some("v2"));
        start("b", json!("2")).deployment("v2").unchecked().await.unwrap();
        start("c", json!("2")).await.unwrap();
        // A run that exists is found first.
        start("b", json!("2")).deployment("v2").await.unwrap();
        let created = client.create_run(order).id("d").await.unwrap();
        assert_refused(&created.start(given(json!("2"))).deployment("v2").await.unwrap_err(), &["order.items[1].price"]);
        created.start(given(json!(2))).deployment("v2").await.unwrap();
        // It is known under its former name.
        let refused = client.start(former, json!(9)).deployment("v2").await.unwrap_err();
        assert_refused(&refused, &["at amount: at least 10"]);
        client.start(former, json!(10)).deployment("v2").await.unwrap();
    }

    async fn a_workflow_that_the_deployment_does_not_have_is_refused_with_names_like_it(place: Place) {
        let client = client(&place).await;
        let _ghost = ghost(&place, "v2").await;
        let refused = client.start(gift, ()).id("a").deployment("v2").await.unwrap_err();
        assert_eq!(refused.code(), Code::DeploymentNotFound);
        let text = format!("{refused:?}");
        assert!(text.contains("`shop::gifts::other_gift`") && text.contains("was = \"shop::other_gift\""), "{text}");
        assert!(!text.contains("other.order"), "{text}");
        let refused = client.start(own, Stricter(1)).id("a").deployment("v2").await.unwrap_err();
        let text = format!("{refused:?}");
        assert!(text.contains("its workflows: `other.order`, `other.renamed`, `shop::gifts::other_gift`, `other.sale`"), "{text}");
        assert!(!client.get_run::<(), Error>("a").exists().await.unwrap(), "nothing is written");
    }

    async fn the_arguments_of_a_fork_are_checked_against_the_schemas_of_the_deployment_that_executes_it(place: Place) {
        let engine = place.builder(&Lab::new()).deployment("v1").open().await.unwrap();
        for (id, order) in [("fits", json!({ "items": [] })), ("misfits", json!({ "n": 1 }))] {
            assert_eq!(soon(engine.start(sale, order).id(id).await.unwrap()).await.unwrap(), 300);
        }
        let catalogue = engine.deployments().await.unwrap().remove(0).catalogue;
        let published = catalogue.steps.into_iter().find(|step| step.id == "other.price").unwrap();
        let schema = |at: usize| (published.arguments[at].0.clone(), published.arguments[at].1.as_ref().unwrap()["type"].clone());
        assert_eq!((schema(0), schema(1)), (("_item".into(), json!("string")), ("cents".into(), json!("integer"))));
        assert_eq!(published.result_schema.unwrap()["type"], "integer");
        engine.shutdown().await.unwrap();

        let client = client(&place).await;
        let _ghost = ghost(&place, "v2").await;
        let [fits, misfits]: [Run<u32>; 2] = ["fits", "misfits"].map(|id| client.get_run(id));
        let event = fits.steps().await.unwrap()[0].event;
        let fork = |run: &Run<u32>, cents: u32| run.fork(event).input(&("tea", cents)).id(format!("{} {cents}", run.id()));
        for deployment in [Deployment::Latest, "v2".into()] {
            let refused = fork(&fits, 2000).deployment(deployment.clone()).await.unwrap_err();
            assert_refused(&refused, &["at cents: at most 1000", "2000", "`v2`", "unchecked"]);
            // Those of the workflow were recorded by its start.
            let refused = fork(&misfits, 400).deployment(deployment.clone()).await.unwrap_err();
            assert_refused(&refused, &["at order", "items", "`v2`"]);
            let refused = misfits.fork(0).id("again").deployment(deployment).await.unwrap_err();
            assert_refused(&refused, &["at order", "items"]);
        }
        for id in ["fits 2000", "misfits 400", "again"] {
            assert!(!client.get_run::<(), Error>(id).exists().await.unwrap(), "nothing is written: {id}");
        }
        fork(&fits, 1000).deployment("v2").await.unwrap();
        assert_eq!(required(&place, "fits 1000").await.as_deref(), Some("v2"));
        fork(&fits, 2000).deployment("v2").unchecked().await.unwrap();
        fork(&misfits, 400).deployment("v2").unchecked().await.unwrap();
        fork(&fits, 3000).await.unwrap();
    }

    async fn a_deployment_of_the_same_build_takes_what_the_types_take(place: Place) {
        let client = client(&place).await;
        let engine = place.builder(&Lab::new()).deployment("v1").open().await.unwrap();
        soon(client.start(own, Stricter(1)).deployment("v1").await.unwrap()).await.unwrap();
        soon(engine.start(own, Stricter(1)).deployment(Deployment::Latest).await.unwrap()).await.unwrap();
        engine.shutdown().await.unwrap();
    }
}
