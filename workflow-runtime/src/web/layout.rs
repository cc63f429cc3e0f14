//! What the pages have around their content.

use maud::{Markup, html};

use super::document::{TABS, Tab, head, safe};
use super::icons::{self, Icon};
use super::text::number;
use super::visit::Visit;

/// A page with its bar.
pub(super) fn page(visit: &Visit, tab: Tab, title: &str, keys: &[(&str, &str)], body: Markup) -> Markup {
    let is_read_only = visit.is_read_only();
    let people = visit.surveys.last().map_or(0, |survey| survey.people());
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
                            li { a href=(address) aria-current=[(of == tab).then_some("page")] {
                                (name)
                                @if of == Tab::People {
                                    span data-live="people" { @if people > 0 { span.n title="Runs that wait for a person" { (number(people)) } } }
                                }
                            } }
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

/// The name of the page in its address: all pages are beside each other.
pub(super) fn address(visit: &Visit) -> &str {
    visit.parts.uri.path().rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("overview")
}
