//! Forms made from JSON Schemas, and the values that are made from what was sent.
//!
//! A field is named by its path in the value. What a schema says that no field can express is a field for JSON.

mod fields;
mod read;
mod schema;

use maud::{Markup, html};
use serde_json::Value;

pub(super) use self::read::read;
use super::query::Query;
use super::text::json;
use crate::steering::text::safe;

/// The name of the value itself; that of a field is `v.FIELD`.
const ROOT: &str = "v";

/// What is wrong with a field, by its name.
pub(super) type Wrong = std::collections::BTreeMap<String, String>;

/// The fields of a value that there is already.
pub(super) fn filled(schema: &Value, value: &Value) -> Query {
    let mut query = Query::default();
    fields::fill(schema, schema, ROOT, value, &mut query);
    query
}

/// A form for a value: fields if there is a schema, and JSON always.
///
/// `hidden` are further parameters; `more` are further fields.
pub(super) fn of(
    schema: Option<&Value>,
    action: &str,
    button: &str,
    hidden: &Query,
    given: &Query,
    wrong: &Wrong,
    more: &Markup,
) -> Markup {
    let as_json = given.raw("json").map_or_else(String::new, str::to_owned);
    let is_json = given.raw("json").is_some() && given.get("as") == Some("json");
    // A page may have several forms.
    let key = format!("f{:08x}", crc32fast::hash(hidden.to(action).as_bytes()));
    let field = || {
        let (id, described) = (format!("{key}-json"), format!("{key}-json-wrong"));
        html! {
            p.fld {
                label for=(id) { "Value as JSON" }
                textarea.code id=(id) name="json" spellcheck="false" aria-invalid=[wrong.get("json").map(|_| "true")]
                    aria-describedby=[wrong.get("json").map(|_| &described)] { (as_json) }
                small { "A text is written in quotes" }
                @if let Some(wrong) = wrong.get("json") { span.wrong id=(described) { (safe(wrong)) } }
            }
        }
    };
    let parameters = html! {
        @for (name, value) in hidden.pairs() { input type="hidden" name=(name) value=(value); }
    };
    html! {
        @match schema {
            Some(schema) => {
                form method="post" action=(action) {
                    (parameters)
                    (fields::Form { root: schema, given, wrong, key: &key }.field(schema, ROOT, None, true))
                    (more)
                    button.btn.pri { (button) }
                }
                details open[is_json] {
                    summary.btn { "As JSON" }
                    form method="post" action=(action) {
                        (parameters)
                        input type="hidden" name="as" value="json";
                        (field())
                        button.btn { (button) }
                    }
                }
            },
            None => {
                form method="post" action=(action) {
                    (parameters)
                    input type="hidden" name="as" value="json";
                    (field())
                    (more)
                    button.btn.pri { (button) }
                }
            },
        }
    }
}

/// The parameters of a form that shows a value.
pub(super) fn given(schema: Option<&Value>, value: &Value) -> Query {
    let fields = schema.map(|schema| filled(schema, value)).unwrap_or_default();
    fields.and("json", &json(value))
}
