//! Replaces the values of a journal that is given to other people.

use std::collections::HashMap;

use serde_json::{Number, Value};
use uuid::Uuid;

/// Replaces texts and numbers. Equal ones stay equal, and each keeps its type: an integer stays an integer and keeps its sign,
/// one character stays one character, and a UUID stays a UUID. Names of fields, booleans and `null` do not change.
#[derive(Default)]
pub(super) struct Redaction {
    texts: HashMap<String, usize>,
    numbers: HashMap<String, usize>,
}

/// New integers are at most this, so that they fit into every integer type.
const INTEGER_MAX: usize = 100;

impl Redaction {
    pub fn redact(&mut self, value: &mut Value) {
        match value {
            Value::Null | Value::Bool(_) => {}
            Value::Number(number) => *number = self.number(number),
            Value::String(text) => *text = self.text(text),
            Value::Array(values) => values.iter_mut().for_each(|value| self.redact(value)),
            Value::Object(fields) => fields.values_mut().for_each(|value| self.redact(value)),
        }
    }

    fn text(&mut self, text: &str) -> String {
        let next = self.texts.len() + 1;
        let count = *self.texts.entry(text.to_owned()).or_insert(next);
        let mut characters = text.chars();
        match (characters.next(), characters.next()) {
            (None, _) => String::new(),
            (Some(_), None) => char::from(b'a' + (count % 26) as u8).into(),
            _ if Uuid::try_parse(text).is_ok() => Uuid::from_u128(count as u128).to_string(),
            _ => format!("redacted {count}"),
        }
    }

    fn number(&mut self, number: &Number) -> Number {
        let next = self.numbers.len();
        let count = *self.numbers.entry(number.to_string()).or_insert(next) % INTEGER_MAX + 1;
        match (number.is_f64(), number.as_i64()) {
            (true, _) => Number::from_f64(count as f64 + 0.5).unwrap_or_else(|| count.into()),
            (false, Some(..0)) => Number::from(-(count as i64)),
            (false, _) => count.into(),
        }
    }
}
