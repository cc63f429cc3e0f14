//! The value that a form was sent for.

use serde_json::{Map, Number, Value};

use super::super::query::Query;
use super::schema::{Kind, asked};
use super::{ROOT, Wrong};
use crate::codec::exact::exact;

/// Makes the value, or says what is wrong with each field.
pub(in crate::web) fn read(schema: Option<&Value>, form: &Query) -> Result<Value, Wrong> {
    let mut wrong = Wrong::new();
    let value = match schema.filter(|_| form.get("as") != Some("json")) {
        Some(schema) => part(schema, schema, ROOT, true, form, &mut wrong),
        None => parsed(form.raw("json").unwrap_or_default(), "json", &mut wrong),
    };
    if wrong.is_empty() { Ok(value.unwrap_or(Value::Null)) } else { Err(wrong) }
}

fn parsed(text: &str, path: &str, wrong: &mut Wrong) -> Option<Value> {
    match exact(text) {
        Ok(value) => Some(value),
        Err(error) => {
            wrong.insert(path.to_owned(), error);
            None
        }
    }
}

/// A number that may have a fraction. An integer is taken digit for digit.
fn number(text: &str) -> Result<Number, String> {
    match exact(text) {
        Ok(Value::Number(number)) => Ok(number),
        Err(error) if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') && text.parse::<f64>().is_ok() => {
            Err(error + "; with a decimal point it may be rounded")
        }
        // `.5`, `1.` and `+1` are numbers for people.
        _ => text.parse().ok().and_then(Number::from_f64).ok_or_else(|| "it is no number".to_owned()),
    }
}

/// `None` if there is no value.
fn part(root: &Value, schema: &Value, path: &str, is_required: bool, form: &Query, wrong: &mut Wrong) -> Option<Value> {
    let asked = asked(root, schema);
    let text = form.raw(path).unwrap_or_default();
    let absent = |wrong: &mut Wrong| {
        if is_required && !asked.is_optional {
            wrong.insert(path.to_owned(), "it must not be empty".to_owned());
        }
        // An optional field that is required is null.
        (is_required && asked.is_optional).then_some(Value::Null)
    };
    let mut refuse = |text: String| {
        wrong.insert(path.to_owned(), text);
        None
    };
    match &asked.kind {
        Kind::Nothing => Some(Value::Null),
        Kind::Object(parts) => {
            let below = format!("{path}.");
            let is_empty = !form.pairs().any(|(name, value)| name.starts_with(&below) && !value.is_empty());
            if is_empty && (asked.is_optional || !is_required) && path != ROOT {
                return is_required.then_some(Value::Null);
            }
            let mut fields = Map::new();
            for (name, schema, is_required) in parts {
                let value = part(root, schema, &format!("{path}.{name}"), *is_required, form, wrong);
                fields.extend(value.map(|value| ((*name).to_owned(), value)));
            }
            Some(Value::Object(fields))
        }
        // A text may be empty, unless there may be none.
        Kind::Text { most, .. } => {
            if text.is_empty() && (asked.is_optional || !is_required) {
                return is_required.then_some(Value::Null);
            }
            let text = text.replace("\r\n", "\n");
            match most {
                Some(most) if text.chars().count() as u64 > *most => {
                    refuse(format!("it has more than {most} characters"))
                }
                _ => Some(Value::String(text)),
            }
        }
        _ if text.trim().is_empty() => absent(wrong),
        Kind::Bool { .. } => match text {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            _ => refuse("it is neither yes nor no".to_owned()),
        },
        Kind::Choice(values) => {
            match values.iter().find(|(_, value)| serde_json::to_string(value).is_ok_and(|json| json == text)) {
                Some((_, value)) => Some(value.clone()),
                None => refuse("it is none of the choices".to_owned()),
            }
        }
        Kind::Integer { min, max } => {
            let digits = text.trim().replace([',', '_'], "");
            match digits.parse::<i128>() {
                Ok(number) if min.is_none_or(|min| number >= min) && max.is_none_or(|max| number <= max) => {
                    match Number::from_i128(number) {
                        Some(number) => Some(Value::Number(number)),
                        None => refuse(format!("it is not between {} and {}", i64::MIN, u64::MAX)),
                    }
                }
                Ok(_) => refuse("it is not in the range".to_owned()),
                Err(_) => refuse("it is no integer".to_owned()),
            }
        }
        Kind::Number => match number(text.trim()) {
            Ok(number) => Some(Value::Number(number)),
            Err(error) => refuse(error),
        },
        Kind::Json => parsed(text, path, wrong),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::filled;
    use super::*;

    fn schema() -> Value {
        json!({
            "type": "object",
            "properties": {
                "id": { "type": "integer", "format": "uint64" },
                "item": { "type": "string" },
                "note": { "type": ["string", "null"], "maxLength": 5 },
                "fast": { "type": "boolean" },
                "size": { "$ref": "#/$defs/Size" },
                "to": { "anyOf": [{ "$ref": "#/$defs/Place" }, { "type": "null" }] },
                "tags": { "type": "array" },
            },
            "required": ["id", "item", "fast", "size"],
            "$defs": {
                "Size": { "oneOf": [{ "const": "s", "title": "small" }, { "const": "l", "title": "large" }] },
                "Place": { "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"] },
            },
        })
    }

    #[test]
    fn a_value_survives_its_form() {
        for value in [
            json!({ "id": u64::MAX, "item": "ü\n2", "fast": false, "size": "l", "to": { "city": "Ulm" }, "tags": [1, [2]] }),
            json!({ "id": 0, "item": "", "note": "abc", "fast": true, "size": "s" }),
        ] {
            let form = filled(&schema(), &value);
            assert_eq!(read(Some(&schema()), &form), Ok(value));
        }
    }

    #[test]
    fn each_wrong_field_is_named() {
        let form = Query::default().and("v.id", "-1").and("v.note", "abcdef").and("v.size", "\"x\"").and("v.tags", "[");
        let wrong = read(Some(&schema()), &form).unwrap_err();
        let names: Vec<&str> = wrong.keys().map(String::as_str).collect();
        assert_eq!(names, ["v.fast", "v.id", "v.note", "v.size", "v.tags"]);
    }

    #[test]
    fn json_is_taken_as_it_is() {
        let form = Query::default().and("as", "json").and("json", "{\"a\":18446744073709551615}");
        assert_eq!(read(Some(&schema()), &form), Ok(json!({ "a": u64::MAX })));
        assert!(read(None, &Query::default().and("json", "{")).is_err());
        let wide = read(None, &Query::default().and("json", "[18446744073709551616]")).unwrap_err();
        assert!(wide["json"].contains("the integer 18446744073709551616 cannot be held exactly"), "{wide:?}");
    }

    #[test]
    fn a_number_is_taken_digit_for_digit_or_refused() {
        let one = |text: &str| read(Some(&json!({ "type": "number" })), &Query::default().and("v", text));
        assert_eq!(one("18446744073709551615"), Ok(json!(u64::MAX)));
        assert_eq!(
            [one("1.5"), one(".5"), one("1e300"), one(" 7 ")],
            [json!(1.5), json!(0.5), json!(1e300), json!(7)].map(Ok)
        );
        for wrong in ["18446744073709551616", "-9223372036854775809", "x", "inf", "1e999"] {
            assert!(one(wrong).is_err(), "{wrong}");
        }
    }
}
