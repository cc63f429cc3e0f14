//! The routes: all pages are beside each other, so that links need not know the prefix.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use maud::Markup;

use super::error::WebError;
use super::settings::Web;
use super::visit::Visit;
use super::{assets, run, runs, safety};

pub(super) fn of<S: Clone + Send + Sync + 'static>(web: Arc<Web>) -> Router<S> {
    Router::new()
        .route("/", get(entry))
        .route("/runs", get(list_of_runs))
        .route("/run", get(one_run))
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

async fn list_of_runs(visit: Visit) -> Result<Markup, WebError> {
    runs::page(&visit).await
}

async fn one_run(visit: Visit) -> Result<Response, WebError> {
    let query = visit.query();
    let id = query.get("id").ok_or_else(|| WebError::invalid("The address has no id of a run"))?;
    run::page(&visit, id, &query).await
}
