//! The HTML document around each page, and a page that does not depend on who requests it.

use std::borrow::Cow;
use std::time::SystemTime;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{assets, icons};
use crate::steering::text;

/// The pages of the bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tab {
    Overview,
    Runs,
    People,
    Workflows,
    Workers,
    /// A page that is reached from others only.
    None,
}

pub(super) const TABS: [(Tab, &str, &str); 5] = [
    (Tab::Overview, "overview", "Overview"),
    (Tab::Runs, "runs", "Runs"),
    (Tab::People, "people", "People"),
    (Tab::Workflows, "workflows", "Workflows"),
    (Tab::Workers, "workers", "Workers"),
];

/// A text of a run without characters that change how the text around it is shown.
pub(super) fn safe(text: &str) -> Cow<'_, str> {
    text::safe_lines(text)
}

/// A page without anything that depends on who asks.
pub(super) fn bare(title: &str, body: Markup) -> Markup {
    html! {
        (head(&safe(title), false))
        body {
            (icons::sprite())
            header.top {
                nav aria-label="Pages" {
                    ul { @for (_, address, name) in TABS { li { a href=(address) { (name) } } } }
                }
            }
            main #main { (body) }
        }
    }
}

pub(super) fn head(title: &str, is_live: bool) -> Markup {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    html! {
        (DOCTYPE)
        (PreEscaped(format!("<html lang=\"en\" data-now=\"{}\">", since.as_millis())))
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            title { (title) }
            link rel="icon" href=(assets::ICON.address());
            link rel="stylesheet" href=(assets::STYLE.address());
            script src=(assets::SCRIPT.address()) defer data-live=[is_live.then_some("live")] {}
        }
    }
}
