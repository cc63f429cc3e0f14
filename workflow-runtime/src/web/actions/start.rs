//! A new run.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use maud::{Markup, html};
use serde_json::{Map, Value, json};

use crate::error::Code;
use crate::handles::catalog::workflows;
use crate::handles::start::Start;
use crate::history::RunEventKind;
use crate::model::CatalogueWorkflow;
use crate::steering::published;
use crate::steering::text::safe;
use crate::web::access::Action;
use crate::web::document::Tab;
use crate::web::error::WebError;
use crate::web::form::{self, Wrong};
use crate::web::layout;
use crate::web::posted::{Posted, to};
use crate::web::query::{Query, link};
use crate::web::text::word;
use crate::web::visit::Visit;

/// The schema of all arguments: as `start_by_id` takes them. `None` if an argument has none.
pub(in crate::web) fn schema(workflow: &CatalogueWorkflow) -> Option<Value> {
    let parts: Vec<(&String, &Value)> =
        workflow.arguments.iter().map(|(name, schema)| Some((name, schema.as_ref()?))).collect::<Option<_>>()?;
    Some(match &parts[..] {
        [] => json!({ "type": "null" }),
        [(_, only)] => (*only).clone(),
        several => {
            let names: Vec<&String> = several.iter().map(|(name, _)| *name).collect();
            let parts: Map<String, Value> =
                several.iter().map(|(name, part)| ((*name).clone(), (*part).clone())).collect();
            json!({ "type": "object", "properties": parts, "required": names, "additionalProperties": false })
        }
    })
}

pub(in crate::web) async fn start_form(visit: &Visit, form: &Query) -> Result<Markup, WebError> {
    page(visit, form, &Wrong::new()).await
}

async fn page(visit: &Visit, form: &Query, wrong: &Wrong) -> Result<Markup, WebError> {
    let (id, input) = match form.get("like") {
        Some(like) => {
            let input = if form.raw("json").is_none() { input(visit, like).await? } else { None };
            (visit.run(like).info().await?.workflow, input)
        }
        None => {
            let id = form.get("workflow").ok_or_else(|| WebError::invalid("The address has no workflow"))?;
            (id.to_owned(), None)
        }
    };
    if !visit.may(Action::Start, Some(&id)) {
        return Err(WebError::forbidden("start runs of this workflow"));
    }
    let workflow = published(&visit.client, &id).await?;
    if workflow.is_none() && !workflows().iter().any(|known| known.id == id) {
        let help = "neither this program nor a deployment of the store has it";
        return Err(WebError::new(StatusCode::NOT_FOUND, format!("There is no workflow `{id}`"), help));
    }
    let schema = workflow.as_ref().and_then(schema);
    // The arguments of a run are shown as one value, as several in an object are taken.
    let given = match (&input, &workflow) {
        (Some(input), Some(workflow)) => form::given(schema.as_ref(), &named(workflow, input)),
        _ => form.clone(),
    };
    let given_or = |name: &str| form.get(name).unwrap_or_default().to_owned();
    let more = html! {
        p.fld {
            label for="run-id" { "Run id " span.n { "optional" } }
            input #run-id name="id" value=(given_or("id")) placeholder="drawn at random" autocomplete="off";
            small { "The same id with the same input is the same run" }
        }
        p.fld {
            label for="attributes" { "Attributes " span.n { "optional" } }
            input #attributes name="attributes" value=(given_or("attributes")) placeholder="shop=ulm, vip=yes" autocomplete="off"
                aria-invalid=[wrong.get("attributes").map(|_| "true")];
            @if let Some(wrong) = wrong.get("attributes") { span.wrong { (safe(wrong)) } }
        }
    };
    let hidden = Query::default().and("workflow", &id);
    let body = html! {
        div.head { h1 { "Start " code { (safe(&id)) } } }
        @if workflow.is_none() { p.dim { "No deployment has published the workflow: this program has to have it" } }
        @if schema.is_none() {
            p.dim.sm {
                "Arguments as JSON"
                @if let Some(workflow) = &workflow {
                    @let names: Vec<&str> = workflow.arguments.iter().map(|(name, _)| name.as_str()).collect();
                    ": " @if names.is_empty() { "none, so null" } @else { code { (safe(&names.join(", "))) } }
                }
                ". With the feature " code { "schema" } " there are fields for them."
            }
        }
        div.form {
            div { (form::of(schema.as_ref(), "start", "Start", &hidden, &given, wrong, &more)) }
            div { (super::command(&format!("workflow start {} @arguments.json", word(&id)))) }
        }
    };
    Ok(layout::page(visit, Tab::Workflows, &format!("Start {id}"), &[], body))
}

/// The arguments as an object, if there are several.
fn named(workflow: &CatalogueWorkflow, input: &Value) -> Value {
    match input {
        Value::Array(values) if workflow.arguments.len() > 1 && values.len() == workflow.arguments.len() => {
            let names = workflow.arguments.iter().map(|(name, _)| name.clone());
            Value::Object(names.zip(values.iter().cloned()).collect())
        }
        other => other.clone(),
    }
}

/// The input of a run; `None` if it may not be shown.
async fn input(visit: &Visit, run: &str) -> Result<Option<Value>, WebError> {
    let Some(first) = visit.run(run).events().so_far().next().await.transpose()? else { return Ok(None) };
    Ok(match first.kind {
        RunEventKind::Started { input } => visit.shown(&input, run).map(|input| input.into_owned()),
        _ => None,
    })
}

pub(in crate::web) async fn start(posted: Posted) -> Result<Response, WebError> {
    let id = posted.field("workflow")?;
    posted.require(Action::Start, id)?;
    let (client, form) = (&posted.visit.client, &posted.form);
    let workflow = published(client, id).await?;
    let schema = workflow.as_ref().and_then(schema);
    let refuse = async |wrong: Wrong| -> Result<Response, WebError> {
        let form = if wrong.contains_key("json") { form.clone().with("as", "json") } else { form.clone() };
        Ok((StatusCode::UNPROCESSABLE_ENTITY, page(&posted.visit, &form, &wrong).await?).into_response())
    };
    let arguments = match form::read(schema.as_ref(), form) {
        Ok(arguments) => arguments,
        Err(wrong) => return refuse(wrong).await,
    };
    let is_here = workflows().iter().any(|workflow| workflow.id == id);
    let mut start = match workflow.filter(|_| !is_here) {
        Some(workflow) => Start::published(client.clone(), workflow, arguments),
        None => client.start_by_id(id, arguments),
    };
    if let Some(run) = form.get("id") {
        start = start.id(run);
    }
    for pair in
        form.get("attributes").into_iter().flat_map(|text| text.split(',')).filter(|pair| !pair.trim().is_empty())
    {
        let Some((key, value)) = pair.split_once('=') else {
            return refuse(Wrong::from([("attributes".to_owned(), format!("`{}` is not KEY=VALUE", pair.trim()))]))
                .await;
        };
        start = start.attribute(key.trim(), value.trim());
    }
    match start.await {
        Ok(run) => {
            posted.report(Action::Start, run.id(), None);
            Ok(to(&link("run", "id", run.id())))
        }
        Err(error) => {
            posted.report(Action::Start, id, Some(&error));
            if [Code::InvalidArguments, Code::Payload].contains(&error.code()) {
                return refuse(Wrong::from([("json".to_owned(), format!("{error:?}"))])).await;
            }
            Err(error.into())
        }
    }
}
