//! What workflows there are, told to others, and starting them by their ids.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::codec::{self, Payload};
use crate::error::{Code, Error, Failure, Result};
use crate::registry::{Source, WorkflowDefinition, registry};
use crate::start::{Start, validated};
use crate::workflow::Workflow;

/// How a workflow is described.
#[derive(Clone, Copy)]
pub struct Described {
    /// The names of its arguments.
    pub arguments: &'static [&'static str],
    /// The JSON Schemas of their types, as far as there are any.
    pub argument_schemas: fn() -> Vec<Option<Value>>,
    /// That of its result.
    pub result_schema: fn() -> Option<Value>,
}

impl Described {
    pub(crate) const NOTHING: Described =
        Described { arguments: &[], argument_schemas: Vec::new, result_schema: || None };
}

/// A workflow of this build: see [`workflows`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct WorkflowInfo {
    /// Its id.
    pub id: String,
    /// The file that it stands in, as the compiler names it.
    pub file: &'static str,
    /// The line of its name.
    pub line: u32,
    /// Its arguments, in their order.
    pub arguments: Vec<ArgumentInfo>,
    /// The JSON Schema of its result, with the feature `schema`, if the type has one.
    pub result_schema: Option<Value>,
}

/// An argument of a workflow.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ArgumentInfo {
    /// Its name.
    pub name: &'static str,
    /// The JSON Schema of its type, with the feature `schema`, if the type has one.
    pub schema: Option<Value>,
}

impl WorkflowInfo {
    /// The JSON Schema of what [`start_by_id`] takes as the arguments. Nothing if the type of one has no schema.
    pub fn arguments_schema(&self) -> Option<Value> {
        let schemas: Vec<(&str, Value)> = self
            .arguments
            .iter()
            .map(|argument| Some((argument.name, argument.schema.clone()?)))
            .collect::<Option<_>>()?;
        Some(match &schemas[..] {
            [] => serde_json::json!({ "type": "null" }),
            [(_, only)] => only.clone(),
            several => {
                let names: Vec<&str> = several.iter().map(|(name, _)| *name).collect();
                let properties: Map<String, Value> =
                    several.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
                serde_json::json!({
                    "type": "object", "properties": properties, "required": names, "additionalProperties": false,
                })
            }
        })
    }
}

/// The workflows of this build, by their ids: those that are linked into the program, whatever crate they are of.
///
/// ```
/// # use workflow_runtime::{Result, workflow, workflows};
/// # #[workflow] async fn checkout(order: u64, cents: u32) -> Result<String> { Ok(String::new()) }
/// for workflow in workflows() {
///     println!("{}({})", workflow.id, workflow.arguments.len());
/// }
/// ```
pub fn workflows() -> Vec<WorkflowInfo> {
    let mut workflows: Vec<WorkflowInfo> = registry().workflows().map(info).collect();
    workflows.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    workflows
}

fn info(definition: &'static WorkflowDefinition) -> WorkflowInfo {
    let Source { id, file, line, .. } = definition.source;
    let described = &definition.described;
    let arguments = described.arguments.iter().zip((described.argument_schemas)());
    WorkflowInfo {
        id: id.to_owned(),
        file,
        line,
        arguments: arguments.map(|(name, schema)| ArgumentInfo { name, schema }).collect(),
        result_schema: (described.result_schema)(),
    }
}

/// Starts a run of the workflow with this id: as [`start`](crate::start()) does, where the workflow is known only when the
/// program runs. The arguments are JSON: `null` for none, the argument itself where there is one, and where there are
/// several an object with their names, or an array.
///
/// # Errors
///
/// [`Code::NotRegistered`] if there is no such workflow in this build; [`Code::InvalidArguments`] if the arguments do not fit,
/// with the path to what does not, or are refused by the workflow's own check: nothing is written then; and as for
/// [`start`](crate::start()).
///
/// ```
/// # use workflow_runtime::{Engine, Result, workflow};
/// #[workflow(id = "checkout")]
/// async fn checkout(order: u64, cents: u32) -> Result<String> {
///     Ok(format!("receipt-{order}-{cents}"))
/// }
///
/// # #[tokio::main]
/// # async fn main() -> Result<()> {
/// # let engine = Engine::open("memory:").await?;
/// let run = engine.start_by_id("checkout", serde_json::json!({ "order": 1, "cents": 4200 })).await?;
/// assert_eq!(run.await.unwrap(), "receipt-1-4200");
/// let refused = engine.start_by_id("checkout", serde_json::json!({ "order": 1, "cents": "much" })).await;
/// assert!(refused.unwrap_err().to_string().contains("at cents"));
/// # Ok(())
/// # }
/// ```
pub fn start_by_id(workflow: &str, args: Value) -> Start<AnyWorkflow> {
    Start::by_id(None, workflow, args)
}

/// What JSON comes to as the arguments of a workflow.
pub(crate) fn accept<W: Workflow>(definition: &WorkflowDefinition, args: Value) -> Result<Payload> {
    let names = definition.described.arguments;
    let invalid = |path: &str, what: String| {
        let at = if path.is_empty() { String::new() } else { format!(" at {path}") };
        let text = format!("the arguments of workflow `{}` are not valid{at}: {what}", definition.source.id);
        Error::coded(Code::InvalidArguments, text).into_fatal()
    };
    let args = match args {
        Value::Object(mut given) if names.len() > 1 => {
            let mut array = Vec::with_capacity(names.len());
            for name in names {
                // One that may be missing has a default for it.
                array.push(given.remove(*name).unwrap_or(Value::Null));
            }
            if let Some(unknown) = given.keys().next() {
                return Err(invalid(unknown, format!("there is no such argument, but {}", names.join(", "))));
            }
            Value::Array(array)
        }
        args => args,
    };
    let found = codec::excerpt(&args.to_string());
    let args: W::Args = serde_path_to_error::deserialize(args).map_err(|error| {
        let path = named(&error.path().to_string(), names);
        invalid(&path, error.into_inner().to_string()).found(&found)
    })?;
    validated::<W>(&args)?;
    codec::encode("the workflow's arguments", &args)
}

/// A path into an array of arguments, as one into an object.
fn named(path: &str, names: &[&str]) -> String {
    let indexed = path.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let name = indexed.and_then(|(index, rest)| Some((names.get(index.parse::<usize>().ok()?)?, rest)));
    match name {
        Some((name, rest)) if names.len() > 1 => format!("{name}{rest}"),
        _ if path == "." => String::new(),
        _ => path.to_owned(),
    }
}

/// Stands for the workflow of a run that was started by its id.
pub enum AnyWorkflow {}

static ANY: WorkflowDefinition = WorkflowDefinition::new::<AnyWorkflow>(
    Source { id: "workflow_runtime::any", file: file!(), line: line!(), fingerprint: "", test: false },
    &[],
);

impl Workflow for AnyWorkflow {
    type Args = Value;
    type Output = std::result::Result<Value, JsonError>;
    const DEFINITION: &'static WorkflowDefinition = &ANY;

    fn run(_: Value) -> Pin<Box<dyn Future<Output = Self::Output> + Send>> {
        Box::pin(std::future::ready(Err(JsonError(Value::from("it stands for a workflow, and is none")))))
    }
}

/// The error of a workflow or a step, whatever its type: as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JsonError(pub Value);

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.get("message").unwrap_or(&self.0) {
            Value::String(text) => f.write_str(text),
            other => write!(f, "{other}"),
        }
    }
}

impl std::error::Error for JsonError {}

impl From<Error> for JsonError {
    fn from(error: Error) -> Self {
        JsonError(serde_json::to_value(&error).unwrap_or_else(|_| Value::from(error.to_string())))
    }
}

// It is none that a user would name.
#[diagnostic::do_not_recommend]
impl Failure for JsonError {}

/// Says what the payloads of a type look like: [`HookInfo::schema`](crate::HookInfo::schema) has its JSON Schema then, and what
/// does not fit is refused where it is sent, in every process of this build. Once for each type, beside it.
///
/// ```
/// # use schemars::JsonSchema;
/// # use serde::{Deserialize, Serialize};
/// #[derive(Serialize, Deserialize, JsonSchema)]
/// struct Approval {
///     by: String,
/// }
///
/// workflow_runtime::payload!(Approval);
/// ```
#[cfg(feature = "schema")]
#[cfg_attr(docsrs, doc(cfg(feature = "schema")))]
#[macro_export]
macro_rules! payload {
    ($type:ty) => {
        $crate::__private::v1::inventory::submit! {
            $crate::__private::v1::Item::Payload($crate::__private::v1::PayloadDefinition {
                key: $crate::__private::v1::payload_key::<$type>,
                schema: $crate::__private::v1::schema::<$type>,
            })
        }
    };
}

/// The JSON Schema of a type.
#[cfg(feature = "schema")]
pub fn schema<T: schemars::JsonSchema>() -> Value {
    schemars::schema_for!(T).into()
}

/// The key of a type of payloads, which are checked where they are sent from then on.
#[cfg(feature = "schema")]
pub fn payload_key<T: serde::de::DeserializeOwned + 'static>() -> &'static str {
    crate::registry::payload_type::<T>().0
}

/// Finds the schema of a type, if it has one.
pub struct SchemaOf<T>(std::marker::PhantomData<fn() -> T>);

impl<T> SchemaOf<T> {
    /// Of this type.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        SchemaOf(std::marker::PhantomData)
    }
}

#[cfg(feature = "schema")]
impl<T: schemars::JsonSchema> SchemaOf<T> {
    /// The schema.
    pub fn find(&self) -> Option<Value> {
        Some(schema::<T>())
    }
}

/// Finds the schema of what a function returns if all is well, if that has one.
pub struct ResultSchemaOf<R>(std::marker::PhantomData<fn() -> R>);

impl<R> ResultSchemaOf<R> {
    /// Of this type, which is no `Result` if the user made a mistake: that is told elsewhere.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        ResultSchemaOf(std::marker::PhantomData)
    }
}

#[cfg(feature = "schema")]
impl<T: schemars::JsonSchema, E> ResultSchemaOf<std::result::Result<T, E>> {
    /// The schema.
    pub fn find(&self) -> Option<Value> {
        Some(schema::<T>())
    }
}

/// Of a type that has no schema.
pub trait NoSchema {
    /// Nothing.
    fn find(&self) -> Option<Value> {
        None
    }
}

impl<T> NoSchema for SchemaOf<T> {}
impl<R> NoSchema for ResultSchemaOf<R> {}
