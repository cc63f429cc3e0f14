//! Runs that are created first and started later, by `create_run`.

use std::sync::Arc;

use super::create::not_created;
use super::inner::Inner;
use super::messages;
use super::new_run::{Asked, Bind};
use super::parts::missing::not_found;
use crate::codec::Payload;
use crate::definition::WorkflowDefinition;
use crate::error::{Code, Error, Result};
use crate::model::Status;
use crate::registry::registry;
use crate::replay::Event;
use crate::store::{CreateAnswer, First, NewRun, RunRow};

impl Inner {
    /// Creates a run that is started later, or finds the run of this workflow that has this id already. Returns its id.
    pub(crate) async fn create_for_later(
        &self,
        definition: &'static WorkflowDefinition,
        id: Option<String>,
    ) -> Result<Arc<str>> {
        self.check_open()?;
        registry().workflow(definition.source.id)?;
        let new = self.new_run(definition, Payload::null(), id, Asked::default())?;
        match self.send(&new, First::Later, None, Vec::new()).await? {
            CreateAnswer::Exists(row) => new.is_of(&row).map(|()| new.id),
            CreateAnswer::Created(_) => Ok(new.id),
            CreateAnswer::Fenced | CreateAnswer::Unknown => Err(not_created(&new.id)),
        }
    }

    /// Starts a run that was created for later, once.
    pub(crate) async fn begin(
        self: &Arc<Self>,
        definition: &'static WorkflowDefinition,
        id: &Arc<str>,
        args: Payload,
        asked: Asked,
    ) -> Result<()> {
        self.check_open()?;
        let output = self.takes_output(id, asked.output.clone());
        let bind = Bind::of(&asked);
        let mut new = self.new_run(definition, args, Some(id.to_string()), asked)?;
        self.bind(&mut new, bind).await?;
        let first = First::Begin(self.message(&new)?);
        let ahead = new.ahead.take();
        match self.send(&new, first, ahead, Vec::new()).await? {
            CreateAnswer::Unknown => Err(not_found(id)),
            CreateAnswer::Fenced => Err(not_created(id)),
            CreateAnswer::Exists(row) => {
                new.is_of(&row)?;
                let error = match row.status {
                    Status::Cancelled => Error::coded(Code::Cancelled, "the run was cancelled before it was started"),
                    status => {
                        Error::coded(Code::AlreadyStarted, format!("the run was started before, and is {status}"))
                            .help("a created run can be started once; await the existing run, or create another one")
                    }
                };
                Err(error.run(id).into_fatal())
            }
            CreateAnswer::Created(key) => {
                self.activations.miss();
                output.keep(key);
                Ok(())
            }
        }
    }

    /// Cancels a run that was created for later. Returns whether it had not been started.
    pub(super) async fn cancel_for_later(&self, row: &RunRow, reason: &str) -> Result<bool> {
        let now = self.clock.now();
        let cancel = messages::message(&Event::Cancel { reason: reason.to_owned() }, now, None)?;
        let run = NewRun {
            id: row.id.clone(),
            workflow: row.workflow.clone(),
            fingerprint: row.fingerprint.clone(),
            args_digest: row.args_digest,
            created_at: row.created_at,
            token: self.random.number(),
            required_deployment: row.required_deployment.clone(),
            depth: 0,
            effects: None,
            chunks: Vec::new(),
            first: First::Begin(cancel),
        };
        let begun = self.batcher.send(run).await;
        let begun = begun.map_err(|failed| failed.explain("the run", "cancelled", "cancel it again").run(&row.id))?;
        self.activations.miss();
        Ok(matches!(begun, CreateAnswer::Created(_)))
    }
}
