//! Checks a value against a JSON Schema. Only what is certain to be wrong is refused: keywords that are not known here fit, since
//! the type that the schema describes may accept more than the schema says.

use serde_json::{Map, Value};

use crate::text::excerpt;

/// How deep references and values are followed.
const DEPTH_MAX: usize = 64;
/// How many references lead from one to the next.
const REFERENCES_MAX: usize = 16;

/// Where a value does not fit a schema.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Misfit {
    /// The path inside the value, such as `order.items[2].price`.
    pub path: String,
    pub expected: String,
    pub found: String,
}

/// The first place at which a value does not fit a schema. `name` is the path of the value itself.
pub(crate) fn misfit(schema: &Value, value: &Value, name: &str) -> Option<Misfit> {
    Check { root: schema }.value(schema, value, name, DEPTH_MAX).err()
}

/// Follows references into the definitions of the root.
pub(crate) fn resolved<'a>(root: &'a Value, mut schema: &'a Value) -> &'a Value {
    for _ in 0..REFERENCES_MAX {
        let Some(to) = schema.get("$ref").and_then(Value::as_str) else { break };
        match to.strip_prefix('#').and_then(|pointer| definition(root, pointer)) {
            Some(next) => schema = next,
            None => break,
        }
    }
    schema
}

/// The definitions may be in the schema of an argument that is part of a larger one.
fn definition<'a>(root: &'a Value, pointer: &str) -> Option<&'a Value> {
    root.pointer(pointer).or_else(|| {
        let parts = root.get("properties")?.as_object()?;
        parts.values().find_map(|part| part.pointer(pointer))
    })
}

/// The range of an integer type of Rust, by the format that its schema has.
pub(crate) fn bounds(format: Option<&str>) -> (Option<i128>, Option<i128>) {
    match format {
        Some("uint8") => (Some(0), Some(u8::MAX.into())),
        Some("uint16") => (Some(0), Some(u16::MAX.into())),
        Some("uint32") => (Some(0), Some(u32::MAX.into())),
        Some("uint64" | "uint") => (Some(0), Some(u64::MAX.into())),
        Some("int8") => (Some(i8::MIN.into()), Some(i8::MAX.into())),
        Some("int16") => (Some(i16::MIN.into()), Some(i16::MAX.into())),
        Some("int32") => (Some(i32::MIN.into()), Some(i32::MAX.into())),
        Some("int64" | "int") => (Some(i64::MIN.into()), Some(i64::MAX.into())),
        _ => (None, None),
    }
}

struct Check<'a> {
    root: &'a Value,
}

impl Check<'_> {
    fn value(&self, schema: &Value, value: &Value, path: &str, depth: usize) -> Result<(), Misfit> {
        let refused =
            |expected: String| Err(Misfit { path: path.to_owned(), expected, found: excerpt(&value.to_string()) });
        let Some(depth) = depth.checked_sub(1) else { return Ok(()) };
        let schema = resolved(self.root, schema);
        if schema == &Value::Bool(false) {
            return refused("no value".to_owned());
        }
        if let Some(all) = schema.get("allOf").and_then(Value::as_array) {
            all.iter().try_for_each(|one| self.value(one, value, path, depth))?;
        }
        for forms in ["anyOf", "oneOf"].into_iter().filter_map(|key| schema.get(key).and_then(Value::as_array)) {
            self.one_of(forms, value, path, depth)?;
        }
        if let Some(values) = schema.get("enum").and_then(Value::as_array)
            && !values.contains(value)
        {
            return refused(choice(values.iter()));
        }
        if let Some(only) = schema.get("const")
            && only != value
        {
            return refused(only.to_string());
        }
        let types = types(schema);
        if !types.is_empty() && !types.iter().any(|name| is_of(name, value)) {
            return refused(words(&types));
        }
        match value {
            Value::Object(fields) => self.object(schema, fields, path, depth),
            Value::Array(values) => self.array(schema, values, path, depth),
            Value::Number(_) => out_of_range(schema, value).map_or(Ok(()), refused),
            Value::String(text) => {
                let (length, limit) = (text.chars().count() as u64, |key| schema.get(key).and_then(Value::as_u64));
                match (limit("minLength"), limit("maxLength")) {
                    (Some(least), _) if length < least => refused(format!("at least {least} characters")),
                    (_, Some(most)) if length > most => refused(format!("at most {most} characters")),
                    _ => Ok(()),
                }
            }
            Value::Null | Value::Bool(_) => Ok(()),
        }
    }

    /// Whether one of several schemas fits. The misfit is that of the schema that fits furthest, if there is one.
    fn one_of(&self, forms: &[Value], value: &Value, path: &str, depth: usize) -> Result<(), Misfit> {
        let mut misfits: Vec<Misfit> = Vec::new();
        for form in forms {
            match self.value(form, value, path, depth) {
                Ok(()) => return Ok(()),
                Err(misfit) => misfits.push(misfit),
            }
        }
        let mut deeper = misfits.iter().filter(|misfit| misfit.path.len() > path.len());
        if let (Some(_), None) = (deeper.next(), deeper.next()) {
            misfits.retain(|misfit| misfit.path.len() > path.len());
            return misfits.pop().map_or(Ok(()), Err);
        }
        let Some(first) = misfits.first() else { return Ok(()) };
        let (path, found) = (path.to_owned(), excerpt(&value.to_string()));
        let mut expected: Vec<&str> =
            misfits.iter().filter(|misfit| misfit.path == path).map(|misfit| &*misfit.expected).collect();
        expected.dedup();
        let expected = if expected.is_empty() { first.expected.clone() } else { expected.join(", or ") };
        Err(Misfit { path, expected, found })
    }

    fn object(&self, schema: &Value, fields: &Map<String, Value>, path: &str, depth: usize) -> Result<(), Misfit> {
        let here = |expected: String| Misfit {
            path: path.to_owned(),
            expected,
            found: format!("the fields {}", fields.keys().map(String::as_str).collect::<Vec<_>>().join(", ")),
        };
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        if let Some(missing) = required.into_iter().find(|name| !fields.contains_key(*name)) {
            return Err(here(format!("the field `{missing}`")));
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        let more = schema.get("additionalProperties").filter(|_| schema.get("patternProperties").is_none());
        for (name, value) in fields {
            match (properties.and_then(|properties| properties.get(name)), more) {
                (Some(property), _) => self.value(property, value, &joined(path, name), depth)?,
                (None, Some(Value::Bool(false))) => {
                    let names: Vec<&str> = properties.into_iter().flat_map(Map::keys).map(String::as_str).collect();
                    return Err(here(format!("no field but {}", names.join(", "))));
                }
                (None, Some(more)) => self.value(more, value, &joined(path, name), depth)?,
                (None, None) => {}
            }
        }
        Ok(())
    }

    fn array(&self, schema: &Value, values: &[Value], path: &str, depth: usize) -> Result<(), Misfit> {
        let (length, limit) = (values.len() as u64, |key| schema.get(key).and_then(Value::as_u64));
        let refused =
            |expected: String| Err(Misfit { path: path.to_owned(), expected, found: format!("{length} elements") });
        match (limit("minItems"), limit("maxItems")) {
            (Some(least), Some(most)) if least == most && length != most => {
                return refused(format!("{most} elements"));
            }
            (Some(least), _) if length < least => return refused(format!("at least {least} elements")),
            (_, Some(most)) if length > most => return refused(format!("at most {most} elements")),
            _ => {}
        }
        let first: &[Value] = schema.get("prefixItems").and_then(Value::as_array).map_or(&[], Vec::as_slice);
        for (index, value) in values.iter().enumerate() {
            if let Some(element) = first.get(index).or_else(|| schema.get("items")) {
                self.value(element, value, &format!("{path}[{index}]"), depth)?;
            }
        }
        Ok(())
    }
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn is_of(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0),
        // Another vocabulary.
        _ => true,
    }
}

fn words(types: &[&str]) -> String {
    let word = |name: &&str| match *name {
        "null" => "null".to_owned(),
        "boolean" => "true or false".to_owned(),
        "integer" => "an integer".to_owned(),
        "array" => "an array".to_owned(),
        "object" => "an object".to_owned(),
        other => format!("a {other}"),
    };
    types.iter().map(word).collect::<Vec<_>>().join(" or ")
}

fn choice<'a>(values: impl Iterator<Item = &'a Value>) -> String {
    format!("one of {}", values.map(Value::to_string).collect::<Vec<_>>().join(", "))
}

/// The range that a number is not in.
fn out_of_range(schema: &Value, value: &Value) -> Option<String> {
    let given = value.as_f64()?;
    let exact = value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from));
    let format = schema.get("format").and_then(Value::as_str);
    let (least, most) = bounds(format);
    if let Some(exact) = exact {
        match (least, most) {
            (Some(least), _) if exact < least => return Some(format!("at least {least}")),
            (_, Some(most)) if exact > most => return Some(format!("at most {most}")),
            _ => {}
        }
    }
    let limit = |key: &str| schema.get(key).and_then(|limit| Some((limit.as_f64()?, limit)));
    if let Some((_, least)) = limit("minimum").filter(|(least, _)| given < *least) {
        return Some(format!("at least {least}"));
    }
    if let Some((_, most)) = limit("maximum").filter(|(most, _)| given > *most) {
        return Some(format!("at most {most}"));
    }
    if let Some((_, least)) = limit("exclusiveMinimum").filter(|(least, _)| given <= *least) {
        return Some(format!("more than {least}"));
    }
    limit("exclusiveMaximum").filter(|(most, _)| given >= *most).map(|(_, most)| format!("less than {most}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(schema: Value, value: Value) -> Option<(String, String)> {
        misfit(&schema, &value, "order").map(|misfit| (misfit.path, misfit.expected))
    }

    fn expected(path: &str, expected: &str) -> Option<(String, String)> {
        Some((path.to_owned(), expected.to_owned()))
    }

    #[test]
    fn a_value_is_refused_at_the_place_that_does_not_fit() {
        let schema = json!({
            "type": "object", "required": ["items"],
            "properties": { "items": { "type": "array", "items": { "$ref": "#/$defs/Item" } }, "note": { "type": ["string", "null"] } },
            "$defs": { "Item": {
                "type": "object", "required": ["price"], "properties": { "price": { "type": "integer", "format": "uint8" } },
            } },
        });
        let check = |value| at(schema.clone(), value);
        assert_eq!(check(json!({ "items": [{ "price": 1 }], "note": null, "else": 1 })), None);
        assert_eq!(check(json!({ "items": [{ "price": 1 }, {}] })), expected("order.items[1]", "the field `price`"));
        assert_eq!(check(json!({ "items": [{ "price": "1" }] })), expected("order.items[0].price", "an integer"));
        assert_eq!(check(json!({ "items": [{ "price": 256 }] })), expected("order.items[0].price", "at most 255"));
        assert_eq!(check(json!({ "items": [{ "price": -1 }] })), expected("order.items[0].price", "at least 0"));
        assert_eq!(check(json!({ "items": [], "note": 1 })), expected("order.note", "a string or null"));
        assert_eq!(check(json!([])), expected("order", "an object"));
        assert_eq!(misfit(&schema, &json!(7), "order").unwrap().found, "7");
    }

    #[test]
    fn one_of_several_forms_has_to_fit() {
        let maybe = json!({ "anyOf": [{ "type": "object", "required": ["a"], "properties": { "a": { "type": "string" } } }, { "type": "null" }] });
        assert_eq!(at(maybe.clone(), json!(null)), None);
        assert_eq!(at(maybe.clone(), json!({ "a": 1 })), expected("order.a", "a string"));
        assert_eq!(at(maybe, json!(1)), expected("order", "an object, or null"));
        let kinds = json!({ "oneOf": [
            { "type": "string", "enum": ["Fast", "Slow"] },
            { "type": "object", "required": ["At"], "properties": { "At": { "type": "integer" } }, "additionalProperties": false },
        ] });
        assert_eq!(at(kinds.clone(), json!({ "At": 3 })), None);
        assert_eq!(at(kinds.clone(), json!("Slow")), None);
        assert_eq!(at(kinds.clone(), json!({ "At": "x" })), expected("order.At", "an integer"));
        assert_eq!(at(kinds, json!("Soon")), expected("order", "one of \"Fast\", \"Slow\", or an object"));
    }

    #[test]
    fn lengths_and_additional_fields_count() {
        let pair = json!({ "type": "array", "prefixItems": [{ "type": "string" }, { "type": "integer" }], "minItems": 2, "maxItems": 2 });
        assert_eq!(at(pair.clone(), json!(["a", 1])), None);
        assert_eq!(at(pair.clone(), json!(["a"])), expected("order", "2 elements"));
        assert_eq!(at(pair, json!(["a", "b"])), expected("order[1]", "an integer"));
        let map = json!({ "type": "object", "additionalProperties": { "type": "integer", "minimum": 3 } });
        assert_eq!(at(map, json!({ "a": 4, "b": 2 })), expected("order.b", "at least 3"));
        let closed = json!({ "type": "object", "properties": { "a": true }, "additionalProperties": false });
        assert_eq!(at(closed, json!({ "a": 1, "b": 2 })), expected("order", "no field but a"));
        assert_eq!(
            at(json!({ "type": "string", "maxLength": 2 }), json!("äöü")),
            expected("order", "at most 2 characters")
        );
        assert_eq!(at(json!({ "const": 1 }), json!(2)), expected("order", "1"));
    }

    #[test]
    fn what_the_checker_does_not_know_fits() {
        for schema in [
            json!({ "type": "string", "format": "uuid", "pattern": "^a" }),
            json!({ "not": { "type": "string" } }),
            json!({ "$ref": "https://example.com/schema" }),
            json!({ "type": "decimal" }),
            json!(true),
            json!({}),
        ] {
            assert_eq!(at(schema.clone(), json!("b")), None, "{schema}");
        }
        assert_eq!(at(json!({ "type": "integer" }), json!(3.0)), None);
        let endless = json!({ "$defs": { "a": { "allOf": [{ "$ref": "#/$defs/a" }] } }, "$ref": "#/$defs/a" });
        assert_eq!(at(endless, json!(1)), None);
    }
}
