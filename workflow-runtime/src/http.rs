//! Workflows and HTTP: webhooks, and streams as server-sent events. Needs the feature `http`.
//!
//! Both are routers to nest in an axum application, each behind the layers that it needs: a webhook is
//! protected by its token, which cannot be guessed; a stream is open to every client that the application admits.
//!
//! ```
//! use workflow_runtime::http::{self, webhook};
//! use workflow_runtime::{Engine, Result, step, workflow};
//!
//! # #[step] async fn order(callback: String) -> Result<()> { Ok(()) }
//! #[workflow]
//! async fn pay() -> Result<String> {
//!     let paid = webhook().open();
//!     order(format!("https://shop.example/webhooks{}", paid.path())).await?;
//!     let request = paid.await?;
//!     Ok(request.text().unwrap_or_default().to_owned())
//! }
//!
//! # #[tokio::main]
//! # async fn main() -> Result<()> {
//! let engine = Engine::open("memory:").await?;
//! let app: axum::Router = axum::Router::new()
//!     .nest("/webhooks", http::webhooks(&engine))
//!     .nest("/streams", http::streams(&engine)); // behind a layer that decides who may read
//! # Ok(())
//! # }
//! ```

mod body;
mod events;
mod message;
mod routes;
mod webhook;

pub use self::events::streams;
pub use self::message::{Answer, Request};
pub use self::routes::{WebhookSettings, webhooks, webhooks_with};
pub use self::webhook::{Webhook, WebhookBuilder, webhook};
