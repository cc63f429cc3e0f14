//! All keys.

use maud::{Markup, html};

use super::document::Tab;
use super::layout;
use super::visit::Visit;

const ALL: [(&str, &str); 16] = [
    ("/", "find a run by its id"),
    ("?", "this page"),
    ("g o", "overview"),
    ("g r", "runs"),
    ("g p", "people"),
    ("g w", "workflows"),
    ("g k", "workers"),
    ("g e", "group runs by error"),
    ("1 .. 7", "the views of the runs"),
    ("j k", "move down and up"),
    ("Enter", "open"),
    ("x", "select; with Shift up to here"),
    (".", "the actions"),
    ("a", "answer what a run asks"),
    ("s w", "start a run like this one; wake it up"),
    ("Esc", "leave a field, close a menu"),
];

pub(super) fn page(visit: &Visit) -> Markup {
    let body = html! {
        div.head { h1 { "Keys" } }
        p.mid { "They do not work while a field has the focus. A key changes nothing at once: it opens the form." }
        dl.kv { @for (key, what) in ALL { dt { kbd { (key) } } dd { (what) } } }
    };
    layout::page(visit, Tab::None, "Keys", &[], body)
}
