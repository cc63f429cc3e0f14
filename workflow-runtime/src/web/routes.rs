//! The routes: all pages are beside each other, so that links need not know the prefix.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use maud::Markup;

use super::error::WebError;
use super::posted::Posted;
use super::settings::{Web, WebRouter};
use super::visit::Visit;
use super::{actions, assets, keys, live, overview, people, run, runs, safety, workers, workflows};

impl<S: Clone + Send + Sync + 'static> From<WebRouter> for Router<S> {
    fn from(page: WebRouter) -> Router<S> {
        of(Arc::new(page.web))
    }
}

fn of<S: Clone + Send + Sync + 'static>(web: Arc<Web>) -> Router<S> {
    Router::new()
        .route("/", get(entry))
        .route("/overview", get(async |visit: Visit| overview::page(&visit).await))
        .route("/runs", get(async |visit: Visit| runs::page(&visit).await))
        .route("/run", get(one_run))
        .route("/people", get(async |visit: Visit| people::page(&visit).await))
        .route("/workflows", get(async |visit: Visit| workflows::page(&visit).await))
        .route("/workers", get(async |visit: Visit| workers::page(&visit).await))
        .route("/keys", get(async |visit: Visit| keys::page(&visit)))
        .route("/live", get(live::events))
        .route("/bulk", get(bulk).post(selected))
        .route("/act", post(actions::act))
        .route("/start", get(start_form).post(actions::start))
        .route("/fork", get(fork_form).post(actions::fork))
        .route("/send", get(send_form).post(actions::send))
        .route("/deployment", get(deployment_form).post(actions::deployment))
        .route("/resume", get(resume_form).post(actions::resume))
        .route(&format!("/{}", assets::STYLE.name), get(async || assets::STYLE.answer()))
        .route(&format!("/{}", assets::RUN_STYLE.name), get(async || assets::RUN_STYLE.answer()))
        .route(&format!("/{}", assets::SCRIPT.name), get(async || assets::SCRIPT.answer()))
        .route(&format!("/{}", assets::ICON.name), get(async || assets::ICON.answer()))
        .fallback(entry)
        .layer(middleware::from_fn(safety::headers))
        .with_state(web)
}

/// The prefix itself, with or without a slash at its end, leads to the overview.
async fn entry(State(web): State<Arc<Web>>, request: axum::extract::Request) -> Response {
    let (parts, _) = request.into_parts();
    let path =
        parts.extensions.get::<axum::extract::OriginalUri>().map_or(parts.uri.path(), |uri| uri.0.path()).to_owned();
    let is_entry = matches!(parts.uri.path(), "" | "/");
    match Visit::admit(web, parts) {
        Err(refused) => refused.into_response(),
        Ok(_) if !is_entry => WebError::no_page().into_response(),
        Ok(_) => {
            // Relative to the directory of the address, so that it stays below the prefix.
            let last = path.rsplit('/').next().unwrap_or_default();
            let to = if last.is_empty() { "overview".to_owned() } else { format!("{last}/overview") };
            (StatusCode::SEE_OTHER, [(header::LOCATION, to)]).into_response()
        }
    }
}

async fn one_run(visit: Visit) -> Result<Response, WebError> {
    let query = visit.query();
    let id = query.get("id").ok_or_else(|| WebError::invalid("The address has no id of a run"))?;
    run::page(&visit, id, &query).await
}

async fn bulk(visit: Visit) -> Result<Markup, WebError> {
    actions::confirm(&visit, &visit.query()).await
}

/// The selection is posted, since many ids are too long for an address. Nothing is written.
async fn selected(posted: Posted) -> Result<Markup, WebError> {
    actions::confirm(&posted.visit, &posted.form).await
}

async fn start_form(visit: Visit) -> Result<Markup, WebError> {
    actions::start_form(&visit, &visit.query()).await
}

async fn fork_form(visit: Visit) -> Result<Markup, WebError> {
    actions::fork_form(&visit, &visit.query()).await
}

async fn send_form(visit: Visit) -> Result<Markup, WebError> {
    actions::send_form(&visit, &visit.query()).await
}

async fn deployment_form(visit: Visit) -> Result<Markup, WebError> {
    actions::deployment_form(&visit, &visit.query()).await
}

async fn resume_form(visit: Visit) -> Result<Markup, WebError> {
    actions::resume_form(&visit, &visit.query()).await
}
