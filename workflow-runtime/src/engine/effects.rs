//! What a turn does beside its run's own journal, as the store takes it.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{Inner, create, letters};
use crate::codec::Payload;
use crate::definition::{AttemptFailure, adopt};
use crate::error::{Code, Error, Result};
use crate::replay::{self, Carried, Continued, Event, Opening, StartedChild};
use crate::store::{
    Asked, Child, Close, Continuation, Effects, First, Forward, Letter, Message, NewRun, Open, TokenLabel, Watch,
};

/// Why a child is cancelled that nobody waits for any more.
const GIVEN_UP: &str = "its parent has ended or has given it up";

impl Inner {
    /// What a run asks for. Nothing if that is nothing.
    pub(super) fn effects(&self, effects: &replay::Effects) -> Result<Option<Box<Effects>>> {
        let replay::Effects {
            opened,
            closed,
            children,
            given_up,
            stopped,
            watches,
            unwatched,
            state,
            attributes,
            continued,
        } = effects;
        let is_empty = opened.is_empty()
            && closed.is_empty()
            && children.is_empty()
            && given_up.is_empty()
            && stopped.is_empty()
            && watches.is_empty()
            && unwatched.is_empty()
            && state.is_none()
            && attributes.is_empty()
            && continued.is_none();
        if is_empty {
            return Ok(None);
        }
        let now = self.clock.now();
        let cancelled = given_up.iter().map(|(_, run)| run).chain(stopped);
        Ok(Some(Box::new(Effects {
            closes: closed.iter().map(|(op, token)| Close { token: token.clone(), op: *op }).collect(),
            opens: opened.iter().map(|opening| open(opening, now)).collect::<Result<_>>()?,
            children: children.iter().map(|child| self.child(child, now)).collect::<Result<_>>()?,
            unwatches: unwatched.iter().map(|(op, run)| (run.clone(), *op)).collect(),
            watches: watches.iter().map(|(op, run)| watch(*op, run, now)).collect::<Result<_>>()?,
            messages: cancelled.map(|run| self.cancel_message(run, now)).collect::<Result<_>>()?,
            state: state.as_ref().map(|state| Arc::from(state.as_str())),
            attributes: attributes.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
            notify: None,
            continuation: continued.as_ref().map(|continued| self.continuation(continued, now)).transpose()?,
        })))
    }

    fn child(&self, child: &StartedChild, now: u64) -> Result<Child> {
        let StartedChild { op, run, request, inherited } = child;
        let carried = Carried { inherited: inherited.as_deref().cloned(), ..Carried::default() };
        let source = &request.definition.source;
        let new = NewRun {
            id: run.clone(),
            workflow: Arc::from(source.id),
            fingerprint: Arc::from(source.fingerprint),
            args_digest: Sha256::digest(request.input.as_str().as_bytes()).into(),
            created_at: now,
            token: self.random.number(),
            effects: None,
            chunks: Vec::new(),
            first: First::Letter(letters::letter(
                &create::started(&self.random, &request.input, carried.some()),
                now,
                None,
            )?),
        };
        let error = Error::coded(Code::RunExists, format!("there is a run `{run}` already")).run(run);
        Ok(Child {
            new,
            op: (!request.detached).then_some(*op),
            refusal: failure(*op, (request.adopt)(error.into_fatal()), now)?,
        })
    }

    fn continuation(&self, continued: &Continued, now: u64) -> Result<Continuation> {
        let Continued { args, carried, payloads, forwards } = continued;
        let payload = |(token, value): &(Arc<str>, Payload)| {
            Ok((
                token.clone(),
                letters::letter(&Event::Payload { op: letters::NO_OPERATION, value: value.clone() }, now, None)?,
            ))
        };
        Ok(Continuation {
            start: letters::letter(&create::started(&self.random, args, Some(carried.clone())), now, None)?,
            payloads: payloads.iter().map(payload).collect::<Result<_>>()?,
            forwards: forwards.iter().map(forward).collect(),
        })
    }

    /// The cancel of a child that its parent gives up.
    pub(super) fn cancel_message(&self, run: &Arc<str>, now: u64) -> Result<Message> {
        let cancel = Event::Cancel { reason: GIVEN_UP.to_owned() };
        Ok(Message { run: run.clone(), letter: letters::letter(&cancel, now, None)?, unstick: true })
    }
}

/// Tells an operation that it failed.
fn failure(op: u64, failure: AttemptFailure, now: u64) -> Result<Letter> {
    letters::letter(&Event::Failed { op, error: failure.error }, now, None)
}

fn open(opening: &Opening, now: u64) -> Result<Open> {
    let Opening { op, token, metadata, type_name, once, asked } = opening;
    let metadata = metadata.as_ref().map(|metadata| Arc::from(metadata.as_str()));
    let refusal = letters::letter(&Event::Conflict { op: *op, owner: String::new() }, now, None)?;
    let scope = asked.as_ref().map(|asked| asked.scope.clone());
    let asked = asked.as_ref().map(|asked| Asked { id: asked.id.clone(), step: asked.step.map(Arc::from) });
    let label = TokenLabel { type_name: type_name.clone(), metadata, once: *once, asked };
    Ok(Open { token: token.clone(), op: Some(*op), label, scope, refusal })
}

fn watch(op: u64, run: &Arc<str>, now: u64) -> Result<Watch> {
    let error = Error::coded(Code::RunNotFound, format!("there is no run `{run}` in this store")).run(run);
    let error = error.help("check the id that the handle was made from").into_fatal();
    let refusal = failure(op, adopt::<Error>(error), now)?;
    Ok(Watch { run: run.clone(), op, refusal })
}

fn forward(forward: &replay::Forward) -> Forward {
    Forward { op: forward.op, token: forward.address.clone(), to: forward.to }
}

/// Whether the store may have put something into the run's own inbox, or made another run due.
pub(super) fn may_have_news(effects: Option<&Effects>) -> bool {
    effects.is_some_and(|effects| {
        !effects.opens.is_empty()
            || !effects.children.is_empty()
            || !effects.watches.is_empty()
            || !effects.messages.is_empty()
            || effects.continuation.is_some()
    })
}
