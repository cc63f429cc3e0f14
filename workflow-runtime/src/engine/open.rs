//! Opens the store of an engine, and checks that the steps of this build have what they need.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::parts::queues::Queues;
use crate::definition::{Resources, StepDefinition};
use crate::error::{Code, Error, Result};
use crate::registry::registry;
use crate::store::{MemoryStore, SqliteStore, Store, Synchronous};

const URL_VARIABLE: &str = "WORKFLOW_URL";
const URL_DEFAULT: &str = "sqlite:.workflow/workflow.db";

pub(super) enum Place {
    Default,
    Url(String),
    Store(Arc<dyn Store>),
}

/// The steps that this engine executes.
fn executed(queues: &Queues) -> impl Iterator<Item = &'static StepDefinition> {
    registry().steps().filter(|step| step.queue.is_none_or(|queue| queues.serves(queue)))
}

/// Checks that the store supports the transactions of the steps.
#[cfg(feature = "postgres")]
pub(super) fn check_transactions(store: &dyn Store, queues: &Queues) -> Result<()> {
    let transactional = executed(queues).filter(|step| step.transaction).map(|step| step.source.id);
    let steps: Vec<&str> = transactional.collect();
    match steps.is_empty() || store.transactions().is_some() {
        true => Ok(()),
        false => Err(crate::store::refusal(&steps)),
    }
}

#[cfg(not(feature = "postgres"))]
pub(super) fn check_transactions(_: &dyn Store, _: &Queues) -> Result<()> {
    Ok(())
}

/// Checks that the resources of the executed steps are present.
pub(super) fn check_resources(resources: &Resources, queues: &Queues) -> Result<()> {
    let mut missing: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for step in executed(queues) {
        for requirement in step.requires.iter().filter(|requirement| !resources.has(requirement)) {
            missing.entry((requirement.type_name)()).or_default().push(step.source.id);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.into_iter().map(|(resource, steps)| format!("{resource} for {}", steps.join(", ")));
    Err(Error::coded(Code::MissingResource, "the engine lacks resources that steps of this build declare")
        .found(format!("missing: {}", list.collect::<Vec<_>>().join("; ")))
        .help("pass each one to the builder, `Engine::builder().resource(value)`; for the free functions also `install()` the engine"))
}

#[cfg(feature = "postgres")]
async fn open_postgres(url: &str, must_exist: bool) -> Result<Arc<dyn Store>> {
    use crate::store::PostgresStore;
    Ok(Arc::new(match must_exist {
        true => PostgresStore::open_existing(url).await?,
        false => PostgresStore::open(url).await?,
    }))
}

#[cfg(not(feature = "postgres"))]
async fn open_postgres(_: &str, _: bool) -> Result<Arc<dyn Store>> {
    Err(Error::coded(Code::InvalidUrl, "this program was built without the feature `postgres`")
        .help("enable the feature `postgres` of workflow-runtime"))
}

/// The error for a URL that is not of a store. The part after the scheme may hold a password, so the error does not show
/// it, nor a prefix that cannot be a scheme.
fn no_store(scheme: &str) -> Error {
    const SCHEME_BYTES_MAX: usize = 20;
    let is_scheme =
        (1..=SCHEME_BYTES_MAX).contains(&scheme.len()) && scheme.bytes().all(|byte| byte.is_ascii_alphabetic());
    let what = if is_scheme { format!("a text that begins with `{scheme}:`") } else { "the text".to_owned() };
    Error::coded(Code::InvalidUrl, format!("{what} is no URL of a store"))
        .expected("sqlite:PATH, postgres://USER@HOST/DATABASE or memory:")
        .help(format!("pass the URL to Engine::open, or set {URL_VARIABLE}"))
}

pub(super) async fn open_store(place: Place, synchronous: Synchronous, must_exist: bool) -> Result<Arc<dyn Store>> {
    let url = match place {
        Place::Store(store) => return Ok(store),
        Place::Url(url) => url,
        Place::Default => std::env::var(URL_VARIABLE).unwrap_or_else(|_| URL_DEFAULT.to_owned()),
    };
    let (scheme, rest) = url.split_once(':').unwrap_or(("", &url));
    let path = match scheme.to_ascii_lowercase().as_str() {
        "memory" if rest.is_empty() && must_exist => {
            return Err(Error::coded(Code::InvalidUrl, "a store in memory belongs to the process that opened it")
                .help("give the URL of a store in a file or a database"));
        }
        "memory" if rest.is_empty() => return Ok(Arc::new(MemoryStore::new())),
        "postgres" | "postgresql" => return open_postgres(&url, must_exist).await,
        "sqlite" if !rest.is_empty() => rest.strip_prefix("//").unwrap_or(rest).to_owned(),
        _ => return Err(no_store(scheme)),
    };
    let open = move || match must_exist {
        true => SqliteStore::open_existing(Path::new(&path)),
        false => SqliteStore::open(Path::new(&path), synchronous),
    };
    let opened = tokio::task::spawn_blocking(open).await;
    match opened {
        Ok(store) => Ok(Arc::new(store?)),
        Err(error) => Err(Error::coded(Code::Closed, "the runtime stopped while the store was opened").because(error)),
    }
}
