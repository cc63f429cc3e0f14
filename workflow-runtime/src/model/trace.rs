//! The trace of a run in distributed tracing: which trace it belongs to, and the attributes of its spans.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::codec;
use crate::error::{Code, Error, Result};
use crate::model::RequestContext;
use crate::names;
use crate::text::{excerpt, hex};

/// The trace that a run belongs to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Trace {
    /// 32 hexadecimal digits.
    pub trace_id: Box<str>,
    /// The parent span: 16 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_span_id: Option<Box<str>>,
    /// The name of the run's own span.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Box<str>>,
    /// Tags of the run's own span.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Box<str>>,
    /// Metadata of every span.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    /// Whether the caller's trace is not sampled.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unsampled: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hide_input: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hide_output: bool,
}

impl Trace {
    /// A trace with this number and defaults.
    pub fn new(number: u128) -> Self {
        Trace {
            trace_id: format!("{:032x}", number.max(1)).into(),
            parent_span_id: None,
            name: None,
            tags: Vec::new(),
            metadata: Map::new(),
            unsampled: false,
            hide_input: false,
            hide_output: false,
        }
    }

    /// The trace of a child, whose parent is the span of an operation.
    pub fn of_child(&self, key: &str) -> Self {
        Trace {
            trace_id: self.trace_id.clone(),
            parent_span_id: Some(span_id(&["op", key]).into()),
            name: None,
            tags: Vec::new(),
            metadata: self.metadata.clone(),
            ..*self
        }
    }
}

/// The id of a span, derived from its parts: the same in every process and on each export.
pub(crate) fn span_id(of: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in of {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hex(&hash.finalize()[..8])
}

/// The trace options of a start: see [`Start::tracing`](crate::Start::tracing).
///
/// ```
/// # use workflow_runtime::{Engine, Result, TracingOptions, workflow};
/// # #[workflow] async fn hello() -> Result<()> { Ok(()) }
/// # #[tokio::main]
/// # async fn main() -> Result<()> {
/// # let engine = Engine::open("memory:").await?;
/// let tracing = TracingOptions::new()
///     .trace_id("4bf92f3577b34da6a3ce929d0e0e4736")
///     .parent_span_id("00f067aa0ba902b7")
///     .metadata("release", &"2026-11")
///     .request_context_key("user.id")
///     .tag("nightly")
///     .root_span_name("say hello")
///     .hide_input();
/// let run = engine.start(hello, ()).tracing(tracing).await?;
/// let outcome = run.outcome().await?;
/// assert_eq!(outcome.trace_id.as_deref(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct TracingOptions {
    trace_id: Option<String>,
    parent_span_id: Option<String>,
    name: Option<String>,
    tags: Vec<String>,
    metadata: Vec<(String, Result<Value, Error>)>,
    context_keys: Vec<String>,
    unsampled: bool,
    hide_input: bool,
    hide_output: bool,
}

impl TracingOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the trace of the run: 1 to 32 hexadecimal digits, not all of them 0. The default is that of
    /// [`traceparent`](TracingOptions::traceparent), or else a new trace.
    pub fn trace_id(mut self, id: impl Into<String>) -> Self {
        self.trace_id = Some(id.into());
        self
    }

    /// Sets the parent of the run's span: 1 to 16 hexadecimal digits, not all of them 0.
    pub fn parent_span_id(mut self, id: impl Into<String>) -> Self {
        self.parent_span_id = Some(id.into());
        self
    }

    /// Sets the trace and the parent span from a `traceparent` header of W3C Trace Context. If the header says
    /// that the trace is not sampled, no spans of the run are exported. An invalid header is an error of the start.
    pub fn traceparent(self, header: &str) -> Self {
        let parts: Vec<&str> = header.trim().split('-').collect();
        match parts[..] {
            [version, trace, span, flags, ..] if version.len() == 2 && trace.len() == 32 && span.len() == 16 => {
                let unsampled = u8::from_str_radix(flags, 16).is_ok_and(|flags| flags & 1 == 0);
                TracingOptions { unsampled, ..self.trace_id(trace).parent_span_id(span) }
            }
            _ => self.trace_id(header),
        }
    }

    /// Sets the parent of the run's span to the span of an OpenTelemetry context; no effect if it has none.
    #[cfg(feature = "otel")]
    #[cfg_attr(docsrs, doc(cfg(feature = "otel")))]
    pub fn context(self, context: &opentelemetry::Context) -> Self {
        use opentelemetry::trace::TraceContextExt;
        let span = context.span().span_context().clone();
        match span.is_valid() {
            true => TracingOptions {
                unsampled: !span.is_sampled(),
                ..self.trace_id(span.trace_id().to_string()).parent_span_id(span.span_id().to_string())
            },
            false => self,
        }
    }

    /// Adds metadata to all spans of the run, of its steps and of its
    /// children. A value that does not survive JSON is an error of the start.
    pub fn metadata<T: Serialize + ?Sized>(mut self, key: impl Into<String>, value: &T) -> Self {
        let value = codec::encode("the metadata of a trace", value);
        let value = value.and_then(|value| codec::decode_text("the metadata of a trace", value.as_str()));
        self.metadata.push((key.into(), value));
        self
    }

    /// Adds a value of the [`RequestContext`](crate::RequestContext) to the spans as metadata: by its key, or by a path into
    /// it such as `user.id`, which is rebuilt: `{"user": {"id": ..}}`. A missing value is left out.
    pub fn request_context_key(mut self, path: impl Into<String>) -> Self {
        self.context_keys.push(path.into());
        self
    }

    /// Adds a tag to the run's span.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Sets the name of the run's span, in place of that of its workflow.
    pub fn root_span_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Omits arguments from all spans.
    pub fn hide_input(mut self) -> Self {
        self.hide_input = true;
        self
    }

    /// Omits results from all spans.
    pub fn hide_output(mut self) -> Self {
        self.hide_output = true;
        self
    }

    /// The trace as it is recorded. `number` is the id of a new trace.
    pub(crate) fn trace(self, number: u128, context: &RequestContext) -> Result<Trace> {
        let mut metadata = Map::new();
        for path in &self.context_keys {
            names::check("a key of the request context", path)?;
            pick(context, path, &mut metadata)?;
        }
        for (key, value) in self.metadata {
            metadata.insert(key, value?);
        }
        let trace_id = self.trace_id.map(|id| digits("trace id", &id, 32)).transpose()?;
        let parent_span_id = self.parent_span_id.map(|id| digits("span id", &id, 16)).transpose()?;
        Ok(Trace {
            trace_id: trace_id.map_or_else(|| Trace::new(number).trace_id, Into::into),
            parent_span_id: parent_span_id.map(Into::into),
            name: self.name.map(Into::into),
            tags: self.tags.into_iter().map(Into::into).collect(),
            metadata,
            unsampled: self.unsampled,
            hide_input: self.hide_input,
            hide_output: self.hide_output,
        })
    }
}

/// Adds a value of the context to the metadata, at its path.
fn pick(context: &RequestContext, path: &str, metadata: &mut Map<String, Value>) -> Result<()> {
    let mut keys = path.split('.');
    let first = keys.next().unwrap_or(path);
    let Some(root) = context.get::<Value>(first)? else { return Ok(()) };
    let rest: Vec<&str> = keys.collect();
    let mut value = &root;
    for key in &rest {
        match value.get(key) {
            Some(inner) => value = inner,
            None => return Ok(()),
        }
    }
    let mut place = metadata.entry(first).or_insert(Value::Null);
    for key in rest {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        let Value::Object(object) = place else { return Ok(()) };
        place = object.entry(key).or_insert(Value::Null);
    }
    *place = value.clone();
    Ok(())
}

fn digits(what: &str, id: &str, most: usize) -> Result<String> {
    let is_one = (1..=most).contains(&id.len())
        && id.bytes().all(|digit| digit.is_ascii_hexdigit())
        && id.bytes().any(|digit| digit != b'0');
    match is_one {
        true => Ok(format!("{:0>most$}", id.to_ascii_lowercase())),
        false => Err(Error::coded(Code::InvalidName, format!("that is no {what}"))
            .expected(format!("1 to {most} hexadecimal digits, not all of them 0"))
            .found(excerpt(id))
            .into_fatal()),
    }
}
