//! The fields of a form.

use maud::{Markup, html};
use serde_json::Value;

use super::super::query::Query;
use super::super::text::json;
use super::schema::{Kind, asked};
use super::{ROOT, Wrong};
use crate::steering::text::{is_hidden, safe};

/// Choices up to so many are buttons, more are a list.
const RADIOS_MAX: usize = 4;

pub(super) struct Form<'a> {
    pub root: &'a Value,
    pub given: &'a Query,
    pub wrong: &'a Wrong,
    /// What the ids of the fields begin with: a page may have several forms.
    pub key: &'a str,
}

impl Form<'_> {
    /// The field, or fields, for a part of the value.
    pub fn field(&self, schema: &Value, path: &str, label: Option<&str>, is_required: bool) -> Markup {
        let asked = asked(self.root, schema);
        let is_required = is_required && !asked.is_optional;
        let word = label.unwrap_or("Value");
        let id = format!("{}-{path}", self.key);
        let given = self.given.raw(path).unwrap_or_default();
        let wrong = self.wrong.get(path);
        let (invalid, described) = (wrong.map(|_| "true"), wrong.map(|_| format!("{id}-wrong")));
        let optional = html! { @if !is_required { " " span.n { "optional" } } };
        let below = |range: Option<String>| {
            html! {
                @if let Some(help) = asked.help { small { (safe(help)) } }
                @if let Some(range) = range { small { (range) } }
                @if let Some(wrong) = wrong { span.wrong id=(format!("{id}-wrong")) { (safe(wrong)) } }
            }
        };
        let radios = |choices: &[(String, String)]| {
            html! {
                fieldset.fld {
                    legend { (safe(word)) (optional) }
                    @for (title, value) in choices {
                        label.opt {
                            input type="radio" name=(path) value=(value) checked[given == value] required[is_required] aria-invalid=[invalid];
                            (safe(title))
                        }
                    }
                    @if !is_required {
                        label.opt { input type="radio" name=(path) value="" checked[given.is_empty()]; "none" }
                    }
                    (below(None))
                }
            }
        };
        match &asked.kind {
            Kind::Nothing => html! { p.dim { "It takes no value" } },
            Kind::Object(parts) => {
                let inner = html! {
                    @for (name, part, is_required) in parts { (self.field(part, &format!("{path}.{name}"), Some(name), *is_required)) }
                };
                if path == ROOT {
                    inner
                } else {
                    html! { fieldset.obj { legend { (safe(word)) (optional) } (inner) } }
                }
            }
            Kind::Bool { yes, no } => radios(&[(yes.clone(), "true".to_owned()), (no.clone(), "false".to_owned())]),
            Kind::Choice(values) => {
                let choices: Vec<(String, String)> =
                    values.iter().map(|(title, value)| (title.clone(), value.to_string())).collect();
                if choices.len() <= RADIOS_MAX {
                    return radios(&choices);
                }
                html! {
                    p.fld {
                        label for=(id) { (safe(word)) (optional) }
                        select id=(id) name=(path) required[is_required] aria-invalid=[invalid] aria-describedby=[described] {
                            option value="" { @if is_required { "choose" } @else { "none" } }
                            @for (title, value) in &choices { option value=(value) selected[given == value] { (safe(title)) } }
                        }
                        (below(None))
                    }
                }
            }
            Kind::Text { is_long: true, most } => html! {
                p.fld {
                    label for=(id) { (safe(word)) (optional) }
                    textarea id=(id) name=(path) aria-invalid=[invalid] aria-describedby=[described] { (given) }
                    (below(most.map(|most| format!("At most {most} characters"))))
                }
            },
            Kind::Json => html! {
                p.fld {
                    label for=(id) { (safe(word)) " " span.n { "JSON" @if !is_required { ", optional" } } }
                    textarea.code id=(id) name=(path) spellcheck="false" aria-invalid=[invalid] aria-describedby=[described] { (given) }
                    (below(None))
                }
            },
            Kind::Text { .. } | Kind::Number | Kind::Integer { .. } => {
                // Not `type=number`: browsers round large integers.
                let (mode, range) = match asked.kind {
                    Kind::Integer { min: Some(min), max: Some(max) } => {
                        (Some("numeric"), Some(format!("{min} to {max}")))
                    }
                    Kind::Integer { min: Some(min), .. } => (Some("numeric"), Some(format!("{min} or more"))),
                    Kind::Integer { .. } => (Some("numeric"), None),
                    Kind::Number => (Some("decimal"), None),
                    _ => (None, None),
                };
                html! {
                    p.fld {
                        label for=(id) { (safe(word)) (optional) }
                        input id=(id) name=(path) value=(given) inputmode=[mode] autocomplete="off" aria-invalid=[invalid]
                            aria-describedby=[described];
                        (below(range))
                    }
                }
            }
        }
    }
}

/// The fields of a value.
pub(super) fn fill(root: &Value, schema: &Value, path: &str, value: &Value, query: &mut Query) {
    let asked = asked(root, schema);
    let text = match (asked.kind, value) {
        (Kind::Object(parts), Value::Object(fields)) => {
            for (name, part, _) in parts {
                if let Some(value) = fields.get(name) {
                    fill(root, part, &format!("{path}.{name}"), value, query);
                }
            }
            return;
        }
        (Kind::Json, value) => json(value),
        // A field would not show all of it: it is edited as JSON.
        (Kind::Text { .. }, Value::String(text)) if text.contains(|letter| is_hidden(letter) && letter != '\n') => {
            *query = std::mem::take(query).with("as", "json");
            return;
        }
        (Kind::Text { .. }, Value::String(text)) => text.clone(),
        (_, Value::Null) => return,
        (_, value) => value.to_string(),
    };
    *query = std::mem::take(query).and(path, &text);
}
