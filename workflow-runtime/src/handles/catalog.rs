//! What workflows there are, told to others, and starting them by their ids.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::definition::{Source, Workflow, WorkflowDefinition};
use crate::error::{Error, Failure};
use crate::handles::start::Start;
use crate::registry::registry;

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
/// [`Code::NotRegistered`](crate::Code::NotRegistered) if there is no such workflow in this build; [`Code::InvalidArguments`](crate::Code::InvalidArguments) if the arguments do not fit,
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
