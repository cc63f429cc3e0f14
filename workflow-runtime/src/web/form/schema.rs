//! What a JSON Schema asks for, as far as fields can show it.

use serde_json::{Map, Value};

use crate::codec::schema::{bounds, resolved};

/// The kind of field for a schema.
pub(super) enum Kind<'a> {
    Nothing,
    Bool {
        yes: String,
        no: String,
    },
    /// One of these: the words and the values.
    Choice(Vec<(String, Value)>),
    Integer {
        min: Option<i128>,
        max: Option<i128>,
    },
    Number,
    Text {
        is_long: bool,
        most: Option<u64>,
    },
    /// The fields, and whether each is required.
    Object(Vec<(&'a str, &'a Value, bool)>),
    Json,
}

/// A schema after its references.
pub(super) struct Asked<'a> {
    pub kind: Kind<'a>,
    /// Whether there may be no value.
    pub is_optional: bool,
    pub help: Option<&'a str>,
}

pub(super) fn asked<'a>(root: &'a Value, schema: &'a Value) -> Asked<'a> {
    let help = schema.get("description").and_then(Value::as_str);
    let schema = resolved(root, schema);
    let help = help.or_else(|| schema.get("description").and_then(Value::as_str));
    // An optional value: the schema or null.
    if let Some(any) = schema.get("anyOf").and_then(Value::as_array) {
        let is_null = |one: &&Value| one.get("type").and_then(Value::as_str) == Some("null");
        let others: Vec<&Value> = any.iter().filter(|one| !is_null(one)).collect();
        if let ([only], true) = (&others[..], any.len() == 2) {
            let inner = asked(root, only);
            return Asked { is_optional: true, help: help.or(inner.help), ..inner };
        }
    }
    let (kind_name, is_optional) = match schema.get("type") {
        Some(Value::String(name)) => (name.as_str(), false),
        Some(Value::Array(names)) => {
            let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
            match names[..] {
                [name, "null"] | ["null", name] => (name, true),
                _ => ("", false),
            }
        }
        _ => ("", false),
    };
    let kind = choice(schema).unwrap_or_else(|| of_type(kind_name, schema));
    Asked { kind, is_optional, help }
}

fn of_type<'a>(name: &str, schema: &'a Value) -> Kind<'a> {
    let integer = |key: &str| schema.get(key).and_then(|value| value.to_string().parse::<i128>().ok());
    match name {
        "null" => Kind::Nothing,
        "boolean" => Kind::Bool { yes: "yes".to_owned(), no: "no".to_owned() },
        "integer" => {
            let (min, max) = bounds(schema.get("format").and_then(Value::as_str));
            Kind::Integer { min: integer("minimum").or(min), max: integer("maximum").or(max) }
        }
        "number" => Kind::Number,
        "string" => {
            let most = schema.get("maxLength").and_then(Value::as_u64);
            Kind::Text { is_long: most.is_some_and(|most| most > 80), most }
        }
        "object" => match schema.get("properties").and_then(Value::as_object) {
            Some(properties) if !is_open(schema) => Kind::Object(parts(schema, properties)),
            _ => Kind::Json,
        },
        _ => Kind::Json,
    }
}

/// Whether an object may have fields that the schema does not name.
fn is_open(schema: &Value) -> bool {
    schema.get("additionalProperties").is_some_and(|more| more != &Value::Bool(false))
        || ["oneOf", "anyOf", "allOf", "patternProperties"].iter().any(|key| schema.get(key).is_some())
}

fn parts<'a>(schema: &'a Value, properties: &'a Map<String, Value>) -> Vec<(&'a str, &'a Value, bool)> {
    let required: Vec<&str> =
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let mut parts: Vec<(&str, &Value, bool)> =
        properties.iter().map(|(name, part)| (name.as_str(), part, required.contains(&name.as_str()))).collect();
    // The fields are sorted by name; those that are required are listed as they are declared.
    parts.sort_by_key(|(name, ..)| required.iter().position(|known| known == name).unwrap_or(usize::MAX));
    parts
}

/// The values of an enum; a boolean whose values have titles.
fn choice<'a>(schema: &Value) -> Option<Kind<'a>> {
    let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return Some(Kind::Choice(values.iter().map(|value| (word(value), value.clone())).collect()));
    }
    let options = schema.get("oneOf").and_then(Value::as_array)?;
    let values: Vec<(String, Value)> = options
        .iter()
        .map(|option| {
            let value = option.get("const")?;
            let title = option.get("title").or_else(|| option.get("description")).and_then(Value::as_str);
            Some((title.map_or_else(|| word(value), str::to_owned), value.clone()))
        })
        .collect::<Option<_>>()?;
    let titled =
        |wanted: bool| values.iter().find(|(_, value)| *value == Value::Bool(wanted)).map(|(title, _)| title.clone());
    Some(match (titled(true), titled(false)) {
        (Some(yes), Some(no)) if values.len() == 2 => Kind::Bool { yes, no },
        _ => Kind::Choice(values),
    })
}
