//! The catalog of the workflows of this build, and starting them by their ids.

use std::fmt;
use std::future::Future;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::definition::{Described, One, Source, Workflow, WorkflowDefinition};
use crate::error::{Error, Failure};
use crate::handles::start::Start;
use crate::registry::registry;

/// A workflow of this build: see [`workflows`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct WorkflowInfo {
    /// The id of the workflow.
    pub id: String,
    /// The source file that defines the workflow, as the compiler names it.
    pub file: &'static str,
    /// The line of the function's name in that file.
    pub line: u32,
    /// The arguments, in their order.
    pub arguments: Vec<ArgumentInfo>,
    /// The JSON Schema of the result, with the feature `schema`, if the type has one.
    pub result_schema: Option<Value>,
}

/// An argument of a workflow.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ArgumentInfo {
    /// The name of the argument.
    pub name: &'static str,
    /// The JSON Schema of the argument's type, with the feature `schema`, if the type has one.
    pub schema: Option<Value>,
}

impl WorkflowInfo {
    /// The JSON Schema of the arguments that [`start_by_id`] takes. `None` if the type of an argument has no schema.
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

/// The workflows of this build, sorted by id: all that are linked into the program, from all crates.
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

/// Starts a run of the workflow with this id: like [`start`](crate::start()), for workflows that are known only at run
/// time. The arguments are JSON: `null` for none, the argument itself for one, and for several
/// an object with their names, or an array.
///
/// # Errors
///
/// [`Code::NotRegistered`](crate::Code::NotRegistered) if this build has no such workflow;
/// [`Code::InvalidArguments`](crate::Code::InvalidArguments) if the arguments do not fit, with the path to the mismatch,
/// or if the function of the workflow's option `validate` rejects them: nothing is written then. And the errors of
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

/// The type of the workflow of a run that was started by its id.
pub enum AnyWorkflow {}

static ANY: WorkflowDefinition = WorkflowDefinition::of::<AnyWorkflow>(
    Source { id: "workflow_runtime::any", file: file!(), line: line!(), fingerprint: "", test: false },
    Described::NOTHING,
);

impl Workflow for AnyWorkflow {
    type Form = One;
    type Args = Value;
    type Output = std::result::Result<Value, JsonError>;
    const DEFINITION: &'static WorkflowDefinition = &ANY;

    fn run(_: Value) -> Box<dyn Future<Output = Self::Output> + Send> {
        Box::new(std::future::ready(Err(JsonError(Value::from(
            "this type represents any workflow and cannot be executed itself",
        )))))
    }
}

/// The error of a workflow or step as JSON, for a workflow whose error type is not known at compile time.
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

// Users do not name this type, so the compiler should not suggest it.
#[diagnostic::do_not_recommend]
impl Failure for JsonError {}

/// Registers a type of payloads: [`HookInfo::schema`](crate::HookInfo::schema) then has its JSON Schema, and a payload that
/// does not fit is refused when it is sent, in every process of this build. Call it once for each type, beside the type.
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
