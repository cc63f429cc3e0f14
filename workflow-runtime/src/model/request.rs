//! The values of a request.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{self, Payload};
use crate::error::Result;
use crate::names;

/// Values by key that belong to a request rather than to the arguments of a workflow: the user, the
/// tenant, the language. Set by [`Start::request_context`](crate::Start::request_context);
/// [`request_context`](crate::request_context) reads them in the workflow, in its steps and in every child
/// run, also after a crash, an eviction or a continuation as new. They do not change during the run.
///
/// ```
/// # use workflow_runtime::{Engine, RequestContext, Result, request_context, step, workflow};
/// #[step]
/// async fn greet(name: String) -> Result<String> {
///     match request_context().get::<String>("language")?.as_deref() {
///         Some("de") => Ok(format!("Hallo {name}")),
///         _ => Ok(format!("Hello {name}")),
///     }
/// }
///
/// #[workflow]
/// async fn welcome(name: String) -> Result<String> {
///     greet(name).await
/// }
///
/// # #[tokio::main]
/// # async fn main() -> Result<()> {
/// # let engine = Engine::open("memory:").await?;
/// let mut context = RequestContext::new();
/// context.set("language", &"de")?;
/// let run = engine.start(welcome, "Ada".to_owned()).request_context(context).await?;
/// assert_eq!(run.await?, "Hallo Ada");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RequestContext {
    pub(crate) values: BTreeMap<Box<str>, Payload>,
}

impl RequestContext {
    /// An empty context.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a value, replacing a value with the same key.
    ///
    /// # Errors
    ///
    /// [`Code::Payload`](crate::Code::Payload) if the value does not survive JSON: it is not left out silently.
    /// [`Code::InvalidName`](crate::Code::InvalidName) for a key that is empty, is longer than 512 bytes or has control
    /// characters.
    pub fn set<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<()> {
        names::check("the key of a request context", key)?;
        let value = codec::encode("a value of the request context", value)
            .map_err(|error| error.operation(format!("`{key}`")))?;
        self.values.insert(key.into(), value);
        Ok(())
    }

    /// The value of a key; `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`Code::Payload`](crate::Code::Payload) if it is of another type.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let value =
            self.values.get(key).map(|value| codec::decode("a value of the request context", value)).transpose();
        value.map_err(|error| error.operation(format!("`{key}`")))
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(|key| &**key)
    }
}
