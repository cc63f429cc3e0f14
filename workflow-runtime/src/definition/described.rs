//! The description of a workflow for people and other programs, and the check of JSON arguments.

use serde_json::Value;

use super::arguments::FormOf;
use super::workflow::{Validate, Workflow, WorkflowDefinition, encode_arguments};
use crate::codec::Payload;
use crate::error::{Code, Error, Result};
use crate::text::excerpt;

/// The description of a workflow or a step.
#[derive(Clone, Copy)]
pub struct Described {
    /// The names of its arguments.
    pub arguments: &'static [&'static str],
    /// The JSON Schemas of their types, if they have any.
    pub argument_schemas: fn() -> Vec<Option<Value>>,
    /// The JSON Schema of its result, if it has one.
    pub result_schema: fn() -> Option<Value>,
}

impl Described {
    pub(crate) const NOTHING: Described =
        Described { arguments: &[], argument_schemas: Vec::new, result_schema: || None };

    /// A description without schemas.
    #[cfg(not(feature = "schema"))]
    #[doc(hidden)]
    pub const fn named(arguments: &'static [&'static str]) -> Self {
        Described { arguments, ..Described::NOTHING }
    }
}

/// Converts JSON to the arguments of a workflow.
pub(crate) fn accept<W: Workflow>(definition: &WorkflowDefinition, args: Value) -> Result<Payload> {
    accept_as::<W::Args, W::Form>(definition, W::validate, args)
}

/// Generic over the arguments only, so that workflows with the same ones share it.
fn accept_as<A, Form: FormOf<A>>(
    definition: &WorkflowDefinition,
    validate: Validate<A>,
    args: Value,
) -> Result<Payload> {
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
                // A missing argument becomes `null`, which decodes if its type allows that.
                array.push(given.remove(*name).unwrap_or(Value::Null));
            }
            if let Some(unknown) = given.keys().next() {
                return Err(invalid(unknown, format!("there is no such argument, but {}", names.join(", "))));
            }
            Value::Array(array)
        }
        args => args,
    };
    let found = excerpt(&args.to_string());
    let args = Form::accept(args).map_err(|error| {
        let path = named(&error.path().to_string(), names);
        invalid(&path, error.into_inner().to_string()).found(&found)
    })?;
    encode_arguments::<A, Form>(definition, validate, &args)
}

/// Replaces the index of an argument in a path by the argument's name.
fn named(path: &str, names: &[&str]) -> String {
    let indexed = path.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let name = indexed.and_then(|(index, rest)| Some((names.get(index.parse::<usize>().ok()?)?, rest)));
    match name {
        Some((name, rest)) if names.len() > 1 => format!("{name}{rest}"),
        _ if path == "." => String::new(),
        _ => path.to_owned(),
    }
}

/// The JSON Schema of a type.
#[cfg(feature = "schema")]
pub fn schema<T: schemars::JsonSchema>() -> Value {
    schemars::schema_for!(T).into()
}

/// Finds the schema of a type, if it has one.
#[cfg(feature = "schema")]
pub struct SchemaOf<T>(std::marker::PhantomData<fn() -> T>);

#[cfg(feature = "schema")]
impl<T> SchemaOf<T> {
    /// A finder for this type.
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

/// Finds the schema of the success value of a function's return type, if it has one.
#[cfg(feature = "schema")]
pub struct ResultSchemaOf<R>(std::marker::PhantomData<fn() -> R>);

#[cfg(feature = "schema")]
impl<R> ResultSchemaOf<R> {
    /// A finder for this type. If the type is not a `Result`, another check reports the user's mistake.
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

/// A type that has no schema.
#[cfg(feature = "schema")]
pub trait NoSchema {
    /// Returns `None`.
    fn find(&self) -> Option<Value> {
        None
    }
}

#[cfg(feature = "schema")]
impl<T> NoSchema for SchemaOf<T> {}

#[cfg(feature = "schema")]
impl<R> NoSchema for ResultSchemaOf<R> {}

/// The description of a workflow, from the names and types of its arguments and its return type.
#[cfg(feature = "schema")]
#[doc(hidden)]
#[macro_export]
macro_rules! __described {
    ([$($name:literal),*], [$($argument:ty),*], $output:ty) => {
        $crate::__private::v1::Described {
            arguments: &[$($name),*],
            argument_schemas: || {
                #[allow(unused_imports)]
                use $crate::__private::v1::NoSchema as _;
                ::std::vec![$($crate::__private::v1::SchemaOf::<$argument>::new().find()),*]
            },
            result_schema: || {
                #[allow(unused_imports)]
                use $crate::__private::v1::NoSchema as _;
                $crate::__private::v1::ResultSchemaOf::<$output>::new().find()
            },
        }
    };
}

/// The description of a workflow without schemas: no code is generated for them.
#[cfg(not(feature = "schema"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __described {
    ([$($name:literal),*], [$($argument:ty),*], $output:ty) => {
        $crate::__private::v1::Described::named(&[$($name),*])
    };
}
