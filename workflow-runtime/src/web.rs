//! A web page for the runs of a store: what does not move and why, and the actions that help. Needs the feature `web`.
//!
//! [`router`] nests into an axum application under any prefix. It is read-only, unless [`WebRouter::access`] says who may
//! do what. All pages are rendered on the server and can be read without JavaScript; they load nothing from other hosts.
//!
//! ```
//! use workflow_runtime::web::{self, Action};
//! use workflow_runtime::{Engine, Result};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<()> {
//! let engine = Engine::open("memory:").await?;
//! let steer = web::router(&engine).access(|access| access.header("x-role") == Some("operator"));
//! let app: axum::Router = axum::Router::new()
//!     .nest_service("/look", axum::Router::from(web::router(&engine))) // read-only
//!     .nest_service("/steer", axum::Router::from(steer));
//! # Ok(())
//! # }
//! ```

mod access;
mod actions;
mod assets;
mod document;
mod durations;
mod error;
mod form;
#[cfg(feature = "cli")]
pub(crate) mod gate;
mod hours;
mod icons;
mod keys;
mod layout;
mod live;
mod overview;
mod people;
mod posted;
mod published;
mod query;
mod routes;
mod run;
mod runs;
mod safety;
mod sentence;
mod settings;
mod survey;
mod text;
mod time;
mod visit;
mod watcher;
mod workers;
mod workflows;

pub use self::access::{Access, Action, Audit};
pub use self::settings::WebRouter;
use crate::engine::Client;

/// The web page of a store, as a router to nest into an axum application: see [`WebRouter`].
///
/// The client, or engine, stays open for as long as the router exists.
pub fn router(client: &Client) -> WebRouter {
    WebRouter::new(client)
}
