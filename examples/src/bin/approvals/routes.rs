//! The shop's routes.

use std::num::NonZero;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use serde::{Deserialize, Serialize};
use workflow_runtime::{Code, Engine, Error, Result, Run, http, uuid, web};

use crate::order::{Order, PROGRESS, order};
use crate::page;

pub fn shop(engine: &Engine) -> Router {
    Router::new()
        .route("/", get(list))
        .route("/orders", post(place))
        .route("/orders/{id}", get(show))
        .route("/ready", get(ready))
        .with_state(engine.clone())
        .nest_service("/workflows", Router::from(runs(engine)))
        .nest("/webhooks", http::webhooks(engine))
        .nest("/streams", http::streams(engine))
}

/// The page of all runs. Like the shop's own page, it is for this machine only, and each visitor may act.
fn runs(engine: &Engine) -> web::WebRouter {
    web::router(engine).name("approvals").hosts(["127.0.0.1", "localhost"]).access(|_| true)
}

/// Whether the store answers.
async fn ready(State(engine): State<Engine>) -> Result<&'static str, Refusal> {
    engine.health().await?;
    Ok("ready\n")
}

/// The fields of the form.
#[derive(Deserialize)]
struct New {
    /// The page generates it, so that a form that is sent twice is one order.
    #[serde(default)]
    id: String,
    item: String,
    cents: NonZero<u32>,
}

/// An order, as the routes return it.
#[derive(Serialize)]
pub struct Report {
    pub id: String,
    pub status: &'static str,
    /// `None` before the first turn of the run.
    pub order: Option<Order>,
    /// The address for the decision, until the run has ended.
    pub approval: Option<String>,
    pub progress: String,
}

async fn list(State(engine): State<Engine>) -> Result<Html<String>, Refusal> {
    let mut reports = Vec::new();
    for run in engine.runs().of(order).await?.runs {
        reports.push(report(engine.get_run(run.id)).await?);
    }
    Ok(Html(page::page(&fresh_id(), &reports)))
}

async fn place(State(engine): State<Engine>, Form(new): Form<New>) -> Result<Response, Refusal> {
    let id = if new.id.is_empty() { fresh_id() } else { new.id };
    // The id becomes a part of addresses.
    if !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Ok((StatusCode::BAD_REQUEST, "an id has letters, digits and hyphens\n").into_response());
    }
    // The order is durable once this returns. A client that gets no answer repeats the request.
    let run = engine.start(order, (id.clone(), new.item, new.cents.get())).id(id).await?;
    let placed = Json(serde_json::json!({ "id": run.id() }));
    Ok((StatusCode::SEE_OTHER, [(header::LOCATION, "/")], placed).into_response())
}

async fn show(State(engine): State<Engine>, Path(id): Path<String>) -> Result<Json<Report>, Refusal> {
    Ok(Json(report(engine.get_run(id)).await?))
}

async fn report(run: Run<()>) -> Result<Report> {
    // Reads the state after the status, so that an ended order is shown with its last state.
    let status = run.info().await?.status;
    let order: Option<Order> = run.state().await?;
    let path = order.as_ref().and_then(|order| order.approval.as_ref());
    Ok(Report {
        status: status.as_str(),
        approval: path.filter(|_| !status.is_terminal()).map(|path| format!("/webhooks{path}")),
        progress: format!("/streams/{}/{PROGRESS}", run.id()),
        id: run.id().to_owned(),
        order,
    })
}

fn fresh_id() -> String {
    uuid().to_string()
}

/// An error as a response.
struct Refusal(Error);

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Refusal(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self.0.code() {
            Code::RunNotFound => StatusCode::NOT_FOUND,
            Code::RunExists => StatusCode::CONFLICT,
            Code::InvalidName | Code::Limit | Code::PayloadTooLarge => StatusCode::BAD_REQUEST,
            _ => {
                eprintln!("approvals: {:?}", self.0);
                StatusCode::SERVICE_UNAVAILABLE
            }
        };
        (status, format!("{}\n", self.0)).into_response()
    }
}
