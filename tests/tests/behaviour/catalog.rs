//! Workflows that are found at run time: listing them, their arguments and schemas, and starting them by id.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use workflow_runtime::{Code, Error, Result, hook, payload, start_by_id, workflow, workflows};

use crate::support::{Lab, soon};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Address {
    city: String,
    #[serde(default = "home")]
    country: String,
}

fn home() -> String {
    "DE".into()
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Verdict {
    /// Whether to send it.
    approved: bool,
}

payload!(Verdict);

/// A type without a JSON schema.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Bare(u32);

fn check(order: &u64, _: &Address) -> Result<()> {
    if *order == 0 { Err(Error::new("orders are counted from 1")) } else { Ok(()) }
}

#[workflow(id = "catalog.ship", validate = check)]
async fn ship(order: u64, to: Address) -> Result<String> {
    Ok(format!("{order} to {} in {}", to.city, to.country))
}

#[workflow(id = "catalog.visit")]
async fn visit(address: Address) -> Result<Option<u32>> {
    Ok((address.city == "Ulm").then_some(1))
}

#[workflow(id = "catalog.nothing")]
async fn nothing() -> Result<()> {
    Ok(())
}

#[workflow(id = "catalog.bare")]
async fn bare(bare: Bare, n: u32) -> Result<Bare> {
    if n == 0 { Err(Error::fatal("zero")) } else { Ok(bare) }
}

#[workflow(id = "catalog.judged")]
async fn judged() -> Result<bool> {
    Ok(hook::<Verdict>().token("verdict").await?.approved)
}

fn described(id: &str) -> workflow_runtime::WorkflowInfo {
    workflows().into_iter().find(|workflow| workflow.id == id).unwrap()
}

on_each_store! {
    async fn a_run_is_started_by_the_id_of_its_workflow(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let ship = |args| engine.start_by_id("catalog.ship", args);
        let run = ship(json!({"to": {"city": "Ulm"}, "order": 7})).id("r").await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), "7 to Ulm in DE", "the type's default fills the missing field");
        let run = ship(json!([8, {"city": "Wien", "country": "AT"}])).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), "8 to Wien in AT");
        let run = engine.start_by_id("catalog.visit", json!({"city": "Ulm"})).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), 1);
        let run = engine.start_by_id("catalog.nothing", Value::Null).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), Value::Null);
        // A typed start with the same id and arguments returns the same run.
        let there = engine.start(self::ship, (7, Address { city: "Ulm".into(), country: "DE".into() })).id("r").await;
        assert_eq!(there.unwrap().id(), "r");
        let failed = soon(engine.start_by_id("catalog.bare", json!([1, 0])).await.unwrap()).await.unwrap_err();
        assert_eq!((failed.to_string(), &failed.0["code"]), ("zero".to_owned(), &json!("user")));
    }

    async fn arguments_that_do_not_fit_are_refused_with_their_path(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let to = json!({"city": "Ulm"});
        let cases = [
            (json!({"order": 1, "to": {"city": 5}}), "at to.city: invalid type: integer `5`, expected a string"),
            (json!({"order": "one", "to": to}), "at order: invalid type: string"),
            (json!({"to": to}), "at order: invalid type: null"),
            (json!({"order": 1, "too": to}), "at too: there is no such argument, but order, to"),
            (json!([1]), "invalid length 1"),
            (json!("Ulm"), "invalid type: string \"Ulm\""),
            (json!({"order": 0, "to": to}), "orders are counted from 1"),
        ];
        for (args, expected) in cases {
            let error = engine.start_by_id("catalog.ship", args.clone()).id("refused").await.unwrap_err();
            assert_eq!(error.code(), Code::InvalidArguments, "{args}");
            assert!(format!("{error:?}").contains(expected), "{args}: {error:?}");
        }
        let error = engine.start_by_id("catalog.visit", json!({})).await.unwrap_err();
        assert!(format!("{error:?}").contains("missing field `city`"), "{error:?}");
        assert!(!engine.get_run::<(), Error>("refused").exists().await.unwrap());
        let unknown = engine.start_by_id("catalog.shop", Value::Null).await.unwrap_err();
        assert_eq!(unknown.code(), Code::NotRegistered);
    }

    async fn a_hook_has_the_schema_of_its_payload(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(judged, ()).await.unwrap();
        let schema = engine.get_hook("verdict").await.unwrap().schema.unwrap();
        assert_eq!(schema["properties"]["approved"]["type"], "boolean");
        let error = engine.resume_hook("verdict", &json!({"approved": "yes"})).await.unwrap_err();
        assert_eq!(error.code(), Code::Payload, "{error:?}");
        engine.resume_hook("verdict", &json!({"approved": true})).await.unwrap();
        assert!(soon(&run).await.unwrap());
    }
}

case! {
    fn workflows_have_the_schemas_of_arguments_and_results() {
        let ship = described("catalog.ship");
        assert!(ship.file.ends_with("catalog.rs") && ship.line > 1);
        assert_eq!(ship.arguments.iter().map(|argument| argument.name).collect::<Vec<_>>(), ["order", "to"]);
        let schema = ship.arguments_schema().unwrap();
        assert_eq!(schema["required"], json!(["order", "to"]));
        assert_eq!(schema["properties"]["to"]["properties"]["city"]["type"], "string");
        assert_eq!(ship.result_schema.unwrap()["type"], "string");
        assert_eq!(described("catalog.visit").arguments_schema().unwrap()["required"], json!(["city"]));
        assert_eq!(described("catalog.nothing").arguments_schema(), Some(json!({"type": "null"})));
        let told = described("catalog.bare");
        assert_eq!((told.arguments[0].schema.is_none(), told.arguments[1].schema.is_some()), (true, true));
        assert_eq!((told.arguments_schema(), told.result_schema), (None, None));
        drop(start_by_id("catalog.nothing", Value::Null));
        let _started_by_their_ids = (visit, nothing, bare);
    }
}
