//! What all pages have around their content.

use std::borrow::Cow;
use std::time::SystemTime;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::assets;
use super::icons::{self, Icon};
use super::visit::Visit;
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

const TABS: [(Tab, &str, &str); 5] = [
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

/// A page with its bar.
pub(super) fn page(visit: &Visit, tab: Tab, title: &str, keys: &[(&str, &str)], body: Markup) -> Markup {
    let is_read_only = visit.is_read_only();
    let is_live = visit.query().get("live") != Some("off");
    html! {
        (head(&format!("{} · {}", safe(title), safe(&visit.name)), is_live))
        body {
            a.skip href="#main" { "Skip to content" }
            (icons::sprite())
            header.top {
                a.brand href="overview" { (Icon::Mark.svg()) (safe(&visit.name)) }
                nav aria-label="Pages" {
                    ul {
                        @for (of, address, name) in TABS {
                            li { a href=(address) aria-current=[(of == tab).then_some("page")] { (name) } }
                        }
                    }
                }
                form.find role="search" action="run" {
                    label.sr for="find" { "Find a run by id" }
                    (Icon::Find.svg())
                    input #find type="search" name="id" placeholder="Find a run by id" required;
                }
                @if is_read_only { span.n { "read only" } }
                @let (to, word) = if is_live { ("off", "Live") } else { ("on", "Paused") };
                a.live href=(visit.query().with("live", to).to(address(visit))) data-live-link=""
                    title="Updates arrive by one event stream, which is closed while this page is hidden" {
                    (if is_live { Icon::Running } else { Icon::Suspended }.svg()) span { (word) }
                }
            }
            main #main { (body) }
            footer.keys {
                @for (key, what) in keys { span { kbd { (key) } " " (what) } }
                span.push { a href="keys" { kbd { "?" } " all keys" } }
                span data-zone="" { "Times in UTC" }
            }
        }
    }
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

fn head(title: &str, is_live: bool) -> Markup {
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

/// The name of the page in its address: all pages are beside each other.
pub(super) fn address(visit: &Visit) -> &str {
    visit.parts.uri.path().rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("overview")
}
