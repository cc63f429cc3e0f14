//! The icons: each status has a shape of its own, so that it is known without its colour.

use maud::{Markup, PreEscaped, html};

use crate::model::Status;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Icon {
    Running,
    Failing,
    Suspended,
    Person,
    Clock,
    Pending,
    Completed,
    Failed,
    Cancelled,
    Stuck,
    Cross,
    Plus,
    Find,
    Mark,
}

impl Icon {
    const ALL: [Icon; 14] = [
        Icon::Running,
        Icon::Failing,
        Icon::Suspended,
        Icon::Person,
        Icon::Clock,
        Icon::Pending,
        Icon::Completed,
        Icon::Failed,
        Icon::Cancelled,
        Icon::Stuck,
        Icon::Cross,
        Icon::Plus,
        Icon::Find,
        Icon::Mark,
    ];

    pub fn of(status: Status) -> Icon {
        match status {
            Status::Pending => Icon::Pending,
            Status::Running => Icon::Running,
            Status::Suspended => Icon::Suspended,
            Status::Completed => Icon::Completed,
            Status::Failed => Icon::Failed,
            Status::Cancelled => Icon::Cancelled,
            Status::Stuck => Icon::Stuck,
        }
    }

    /// Its id in the page, and the class that gives it a colour.
    pub fn name(self) -> &'static str {
        match self {
            Icon::Running => "running",
            Icon::Failing => "failing",
            Icon::Suspended => "suspended",
            Icon::Person => "person",
            Icon::Clock => "clock",
            Icon::Pending => "pending",
            Icon::Completed => "completed",
            Icon::Failed => "failed",
            Icon::Cancelled => "cancelled",
            Icon::Stuck => "stuck",
            Icon::Cross => "cross",
            Icon::Plus => "plus",
            Icon::Find => "find",
            Icon::Mark => "mark",
        }
    }

    /// The word that is always beside it.
    pub fn word(self) -> &'static str {
        match self {
            Icon::Running => "Running",
            Icon::Failing => "Failing",
            Icon::Suspended | Icon::Person | Icon::Clock => "Suspended",
            Icon::Pending => "Pending",
            Icon::Completed => "Completed",
            Icon::Failed => "Failed",
            Icon::Cancelled => "Cancelled",
            Icon::Stuck => "Stuck",
            Icon::Cross | Icon::Plus | Icon::Find | Icon::Mark => "",
        }
    }

    fn shape(self) -> &'static str {
        match self {
            Icon::Running => r#"<circle cx="8" cy="8" r="6"/><circle cx="8" cy="8" r="2" fill="currentColor"/>"#,
            Icon::Failing => r#"<path d="M13.2 9A5.4 5.4 0 1 1 12 4.4L13.5 6M13.5 2.5V6H10"/>"#,
            Icon::Suspended => r#"<circle cx="8" cy="8" r="6"/><path d="M6.5 5.8v4.4m3-4.4v4.4"/>"#,
            Icon::Person => {
                r#"<circle cx="8" cy="5.2" r="2.7"/><path d="M2.8 13.6c.6-2.9 2.6-4.3 5.2-4.3s4.6 1.4 5.2 4.3"/>"#
            }
            Icon::Clock => r#"<circle cx="8" cy="8" r="6"/><path d="M8 4.6V8l2.4 1.6"/>"#,
            Icon::Pending => r#"<circle cx="8" cy="8" r="6" stroke-dasharray="2.6 2.1"/>"#,
            Icon::Completed => r#"<path d="m3 8.6 3.4 3.3L13 4.6"/>"#,
            Icon::Failed | Icon::Cross => r#"<path d="m4 4 8 8m0-8-8 8"/>"#,
            Icon::Cancelled => r#"<circle cx="8" cy="8" r="6"/><path d="m3.9 12.1 8.2-8.2"/>"#,
            Icon::Stuck => r#"<path d="M8 1.7 14.3 8 8 14.3 1.7 8ZM8 5.3v3.2m0 2.2v.1"/>"#,
            Icon::Plus => r#"<path d="M8 3.5v9M3.5 8h9"/>"#,
            Icon::Find => r#"<circle cx="7" cy="7" r="4.4"/><path d="m10.4 10.4 3.2 3.2"/>"#,
            Icon::Mark => r#"<path d="M2 2.5h4.5V7H2zm7.5 6.5H14v4.5H9.5zM6.5 4.8H9a2.8 2.8 0 0 1 2.8 2.8V9"/>"#,
        }
    }

    /// The icon alone.
    pub fn svg(self) -> Markup {
        html! { svg class=(format!("i {}", self.name())) aria-hidden="true" { use href=(format!("#i-{}", self.name())); } }
    }

    /// The icon and its word.
    pub fn status(self) -> Markup {
        html! { span class=(format!("st {}", self.name())) { (self.svg()) (self.word()) } }
    }
}

/// The shapes, once a page.
pub(super) fn sprite() -> Markup {
    html! {
        svg width="0" height="0" aria-hidden="true" {
            defs {
                @for icon in Icon::ALL {
                    symbol id=(format!("i-{}", icon.name())) viewBox="0 0 16 16" { (PreEscaped(icon.shape())) }
                }
            }
        }
    }
}
