//! What a run has begun and not ended, read from its journal without executing its code.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::event::Class;
use super::identity::Target;
use super::journal::{Command, End, Event, TurnRecord};

/// An operation without a result.
#[derive(Debug)]
pub(crate) struct Outstanding {
    /// A description.
    pub what: String,
    /// The child run that is cancelled with it.
    pub child: Option<Target>,
}

/// Adds the steps of a turn whose success must be undone if the run does not succeed, each with whether it has succeeded.
pub(crate) fn owes_rollback(owed: &mut BTreeMap<u64, bool>, turn: &TurnRecord) {
    for delivery in &turn.deliveries {
        match &delivery.event {
            Event::Failed { op, .. } | Event::Ended { op, end: End::Failed(_) | End::Cancelled(_) } => {
                owed.remove(op);
            }
            Event::Completed { op, .. } | Event::Ended { op, .. } => {
                if let Some(succeeded) = owed.get_mut(op) {
                    *succeeded = true;
                }
            }
            // The source of a fork undoes the steps that the source has executed.
            Event::Reopened { reopening, .. } => reopening.disarm(owed),
            _ => {}
        }
        owed.extend(delivery.commands.iter().filter_map(|command| match command {
            Command::Step { op, rollback: true, .. } => Some((*op, false)),
            _ => None,
        }));
    }
}

impl Outstanding {
    fn new(what: impl Into<String>) -> Self {
        Outstanding { what: what.into(), child: None }
    }
}

/// Adds a turn to the outstanding operations: this finds what a run waits for without executing its code.
pub(crate) fn outstanding(open: &mut BTreeMap<u64, Outstanding>, turn: &TurnRecord) {
    for delivery in &turn.deliveries {
        if let Class::Result(op) = delivery.event.class() {
            open.remove(&op);
        }
        for command in &delivery.commands {
            match command {
                Command::Step { op, step, run, .. } => {
                    let child = run.as_deref().map(|run| Target::from(Arc::from(run)));
                    open.insert(*op, Outstanding { what: format!("step `{step}`"), child });
                }
                Command::Timer { op, .. } => {
                    open.insert(*op, Outstanding::new("timer"));
                }
                Command::Hook { op, token, .. } => {
                    open.insert(*op, Outstanding::new(format!("hook `{token}`")));
                }
                Command::Child { op, workflow, run, detached, abandoned, own, .. } if !detached || own.is_some() => {
                    let what = format!("child run `{run}` of workflow `{workflow}`");
                    let target = || Target { run: Arc::from(&**run), token: own.map(|own| own.as_u128()) };
                    open.insert(*op, Outstanding { what, child: (!abandoned && !detached).then(target) });
                }
                Command::Watch { op, run } => {
                    open.insert(*op, Outstanding::new(format!("run `{run}`")));
                }
                Command::Cancel { op } => {
                    open.remove(op);
                }
                other => {
                    if let Some(op) = other.issues() {
                        open.insert(op, Outstanding::new(other.the()));
                    }
                }
            }
        }
    }
}
