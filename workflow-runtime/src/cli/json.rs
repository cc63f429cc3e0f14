//! The JSON documents: each has `schema`, which nested values do not repeat.

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::model::HookInfo;

/// The version of the documents. It changes if a field is removed or gets another meaning; new fields and new values do not
/// change it.
pub(super) const SCHEMA: u32 = 1;

/// A document as text. Control characters that JSON allows in strings are escaped too.
pub(super) fn text(value: &Value, pretty: bool) -> String {
    let text = if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    let text = text.unwrap_or_default();
    if !text.contains(|letter: char| letter.is_control() && letter != '\n') {
        return text;
    }
    let escape = |letter: char| match letter.is_control() && letter != '\n' {
        true => format!("\\u{:04x}", u32::from(letter)),
        false => letter.to_string(),
    };
    text.chars().map(escape).collect()
}

/// The fields of a document, after its version.
pub(super) fn with_schema(fields: Value) -> Value {
    let mut document = Map::new();
    document.insert("schema".into(), SCHEMA.into());
    match fields {
        Value::Object(fields) => document.extend(fields),
        other => drop(document.insert("value".into(), other)),
    }
    Value::Object(document)
}

/// A hook, whose own field `schema` is that of its payloads.
pub(super) fn hook(hook: &HookInfo) -> Value {
    let HookInfo { token, run, is_open, metadata, schema, .. } = hook;
    json!({ "token": token, "run": run, "is_open": is_open, "metadata": metadata, "payload_schema": schema })
}

/// A value that is part of a document.
pub(super) fn part(value: &impl Serialize) -> Value {
    let mut value = serde_json::to_value(value).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        fields.remove("schema");
    }
    value
}
