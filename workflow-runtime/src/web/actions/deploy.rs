//! The changes of deployments: a page that says what would change, and then the change.

use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use crate::error::{Code, Error};
use crate::model::DeploymentInfo;
use crate::steering::text::safe;
use crate::web::access::Action;
use crate::web::document::Tab;
use crate::web::error::WebError;
use crate::web::layout;
use crate::web::posted::{Posted, to};
use crate::web::query::{Query, decoded, encoded};
use crate::web::text::{number, runs, word};
use crate::web::visit::Visit;

/// A change of a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Drain,
    Undrain,
    Promote,
    Release,
}

impl Change {
    const ALL: [Change; 4] = [Change::Drain, Change::Undrain, Change::Promote, Change::Release];

    fn parse(name: &str) -> Result<Change, WebError> {
        let change = Change::ALL.into_iter().find(|change| change.action().as_str() == name);
        change.ok_or_else(|| WebError::invalid("There is no such action"))
    }

    fn action(self) -> Action {
        match self {
            Change::Drain => Action::Drain,
            Change::Undrain => Action::Undrain,
            Change::Promote => Action::Promote,
            Change::Release => Action::Release,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Change::Drain => "Drain",
            Change::Undrain => "Undrain",
            Change::Promote => "Promote",
            Change::Release => "Release",
        }
    }

    /// Whether it would change something.
    fn applies(self, deployment: &DeploymentInfo) -> bool {
        match self {
            Change::Drain => !deployment.is_draining,
            Change::Undrain => deployment.is_draining,
            Change::Promote => !deployment.is_promoted,
            Change::Release => deployment.runs > 0,
        }
    }

    fn command(self, id: &str) -> String {
        let id = word(id);
        match self {
            Change::Drain => format!("workflow deployments drain {id}"),
            Change::Undrain => format!("workflow deployments drain {id} --undo"),
            Change::Promote => format!("workflow deployments promote {id}"),
            Change::Release => format!("workflow deployments release {id}"),
        }
    }
}

/// The changes that apply to a deployment now.
pub(in crate::web) fn changes(visit: &Visit, deployment: &DeploymentInfo) -> Markup {
    let id = &deployment.id;
    let offered = |change: &Change| change.applies(deployment) && visit.may(change.action(), Some(id));
    html! {
        @for change in Change::ALL.into_iter().filter(offered) {
            a.btn.tiny href=(Query::default().and("do", change.action().as_str()).and("id", &encoded(id)).to("deployment")) {
                (change.word()) "…"
            }
            " "
        }
    }
}

/// What the change means for the workers and the runs that there are.
fn explained(change: Change, deployment: &DeploymentInfo, all: &[DeploymentInfo]) -> Markup {
    let bound = runs(deployment.runs);
    let workers = match deployment.workers {
        1 => "1 live worker".to_owned(),
        workers => format!("{} live workers", number(workers as u64)),
    };
    let others = all.iter().filter(|it| it.id != deployment.id && !it.is_draining && it.workers > 0).count();
    let promoted = all.iter().find(|it| it.is_promoted && it.id != deployment.id);
    html! {
        @match change {
            Change::Drain => {
                p { "Its " (workers) " take no runs any more but the " (bound) " that are bound to it." }
                @if others == 0 { p.err { "No other deployment has a live worker: runs that are not bound to one will wait" } }
            },
            Change::Undrain => p { "Its " (workers) " take all runs again." },
            Change::Promote => {
                p { "Starts with the latest deployment use this one until another one is promoted. It has " (workers) "." }
                @if let Some(promoted) = promoted { p { "Now it is " code { (safe(&promoted.id)) } "." } }
                @if deployment.workers == 0 { p.err { "It has no live worker: the latest of the others is used until it has one" } }
            },
            Change::Release => {
                p { (bound) " that have not ended are bound to it. Other deployments can then execute them; one whose code does not fit a run leaves it stuck." }
                @if others == 0 { p.err { "No other deployment has a live worker that takes them" } }
            },
        }
    }
}

/// A deployment, and all of them.
async fn find(visit: &Visit, form: &Query) -> Result<(DeploymentInfo, Vec<DeploymentInfo>), WebError> {
    let id = decoded(form.get("id").ok_or_else(|| WebError::invalid("The address has no id of a deployment"))?);
    let all = visit.client.deployments().await?;
    let found = all.iter().find(|deployment| deployment.id == id).cloned();
    let found = found.ok_or_else(|| {
        Error::coded(Code::DeploymentNotFound, format!("there is no deployment `{id}`"))
            .help("the page of the workers lists the deployments of the store")
    })?;
    Ok((found, all))
}

/// The page before the change.
pub(in crate::web) async fn deployment_form(visit: &Visit, form: &Query) -> Result<Markup, WebError> {
    let change = Change::parse(form.get("do").unwrap_or_default())?;
    let (deployment, all) = find(visit, form).await?;
    let id = &deployment.id;
    if !visit.may(change.action(), Some(id)) {
        return Err(WebError::forbidden(change.action().as_str()));
    }
    let body = html! {
        div.head { h1 { (change.word()) " " code { (safe(id)) } "?" } }
        @if change.applies(&deployment) {
            (explained(change, &deployment, &all))
            form.chips method="post" action="deployment" {
                input type="hidden" name="do" value=(change.action().as_str());
                input type="hidden" name="id" value=(encoded(id));
                div.row { button.btn.pri { (change.word()) } a.btn href="workers" { "Do nothing" } }
            }
        } @else {
            div.empty { b { "There is nothing to do" } p { a href="workers" { "Back to the workers" } } }
        }
        (super::command(&change.command(id)))
    };
    Ok(layout::page(visit, Tab::Workers, &format!("{} a deployment", change.word()), &[], body))
}

pub(in crate::web) async fn deployment(posted: Posted) -> Result<Response, WebError> {
    let change = Change::parse(posted.field("do")?)?;
    let id = decoded(posted.field("id")?);
    posted.require(change.action(), &id)?;
    let client = &posted.visit.client;
    let done = match change {
        Change::Drain => client.drain(&id).await.map(|()| None),
        Change::Undrain => client.undrain(&id).await.map(|()| None),
        Change::Promote => client.promote(&id).await.map(|()| None),
        Change::Release => client.release(&id).await.map(Some),
    };
    posted.report(change.action(), &id, done.as_ref().err());
    let Some(released) = done? else { return Ok(to("workers")) };
    let body = html! {
        div.head { h1 { (runs(released)) " of " code { (safe(&id)) } " released" } }
        p.chips { a.btn href="workers" { "Back to the workers" } }
    };
    Ok(layout::page(&posted.visit, Tab::Workers, "Done", &[], body).into_response())
}
