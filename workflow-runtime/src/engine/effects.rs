//! The effects of a turn on other runs and tables, in the form that the store accepts.

use std::borrow::Cow;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::inner::Inner;
use super::messages;
use super::parts::finished::awaits_itself;
use crate::codec::Payload;
use crate::definition::{AttemptFailure, adopt};
use crate::environment::Random;
use crate::error::{Code, Error, Result};
use crate::model::Deployment;
use crate::replay::{self, Carried, Continued, Event, Opening, StartedChild, Target};
use crate::store::{
    Asked, Attach, Binding, Child, Close, Continuation, Effects, First, Forward, Message, NewRun, Open, Outgoing,
    TokenLabel, Watch,
};
use crate::text::{excerpt, hex};

/// The reason of the cancel of a child whose parent no longer waits for it.
const GIVEN_UP: &str = "its parent has ended or has given it up";

impl Inner {
    /// The effects of a turn. `None` if there are none.
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
        let cancelled = given_up.iter().map(|(_, child)| child).chain(stopped);
        Ok(Some(Box::new(Effects {
            closes: closed.iter().map(|(op, token)| Close { token: token.clone(), op: *op }).collect(),
            opens: opened.iter().map(|opening| open(opening, now)).collect::<Result<_>>()?,
            children: children.iter().map(|child| self.child(child, now)).collect::<Result<_>>()?,
            unwatches: unwatched.iter().map(|(op, run)| (run.clone(), *op)).collect(),
            watches: watches.iter().map(|(op, run)| watch(*op, run, now)).collect::<Result<_>>()?,
            messages: cancelled.map(|child| self.cancel_message(child, now)).collect::<Result<_>>()?,
            state: state.as_ref().map(|state| Arc::from(state.as_str())),
            attributes: attributes.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
            notify: None,
            continuation: continued.as_ref().map(|continued| self.continuation(continued, now)).transpose()?,
        })))
    }

    fn child(&self, child: &StartedChild, now: u64) -> Result<Child> {
        let StartedChild { op, run, request, inherited, is_itself, known_digest } = child;
        let attributes = &request.attributes;
        let carried = Carried {
            inherited: inherited.as_deref().cloned(),
            attributes: attributes.keys().cloned().collect(),
            ..Carried::default()
        };
        let source = &request.definition.source;
        let args_digest = digest(&request.input);
        let set = attributes.iter().map(|(key, value)| (Arc::from(&**key), Some(Arc::from(&**value)))).collect();
        let effects = Effects { attributes: set, ..Effects::default() };
        let new = NewRun {
            id: run.clone(),
            workflow: Arc::from(source.id),
            fingerprint: Arc::from(source.fingerprint),
            args_digest,
            created_at: now,
            token: request.named.as_ref().map_or_else(|| self.random.number(), |named| named.token),
            // The same as the parent's, if that one is bound, too.
            required_deployment: request.definition.pinned.then(|| self.settings.deployment.clone()),
            depth: inherited.as_ref().map_or(0, |inherited| inherited.depth),
            effects: (!attributes.is_empty()).then(|| Box::new(effects)),
            chunks: Vec::new(),
            first: First::Message(messages::message(
                &started(&self.random, &request.input, carried.some()),
                now,
                None,
            )?),
        };
        let error = match is_itself {
            true => awaits_itself(run),
            false => Error::coded(Code::RunExists, format!("run `{run}` already exists"))
                .run(run)
                .expected(format!("no run with this id, or one of workflow `{}` with the same arguments", source.id))
                .found(format!("the call's arguments {}", excerpt(request.input.as_str())))
                .help("choose another id, or await the run that exists: `get_run(id)`")
                .into_fatal(),
        };
        let named = request.named.is_some();
        let was = request.definition.was.iter().copied();
        let attach = (named && !is_itself).then(|| Attach {
            workflows: std::iter::once(source.id).chain(was).map(Arc::from).collect(),
            digests: std::iter::once(args_digest).chain(*known_digest).collect(),
        });
        let started = Event::Completed { op: *op, value: Payload::null() };
        let confirmation = (named && request.detached).then(|| messages::message(&started, now, None)).transpose()?;
        Ok(Child {
            new,
            op: (!request.detached).then_some(*op),
            attach,
            confirmation,
            refusal: failure(*op, (request.adopt)(error), now)?,
        })
    }

    /// Looks up the runs whose ids a workflow has chosen for children: the arguments of an existing run may be the same in
    /// another order, which their digests do not show.
    pub(super) async fn find_children(&self, children: &mut [StartedChild]) {
        for child in children.iter_mut().filter(|child| child.request.named.is_some()) {
            let (request, digest) = (&child.request, digest(&child.request.input));
            // A run that cannot be read now is compared by the digests.
            let Ok(Some(row)) = self.row(&child.run).await else { continue };
            if row.args_digest == digest || row.has_not_begun() {
                continue;
            }
            if let Ok(Some(stored)) = self.stored_args(&row).await
                && request.input.same_value(&stored, request.definition.recode_args)
            {
                child.known_digest = Some(row.args_digest);
            }
        }
    }

    fn continuation(&self, continued: &Continued, now: u64) -> Result<Continuation> {
        let Continued { args, carried, payloads, forwards, deployment } = continued;
        let payload = |(token, value): &(Arc<str>, Payload)| {
            Ok((
                token.clone(),
                messages::message(&Event::Payload { op: messages::NO_OPERATION, value: value.clone() }, now, None)?,
            ))
        };
        Ok(Continuation {
            start: messages::message(&started(&self.random, args, Some(carried.clone())), now, None)?,
            payloads: payloads.iter().map(payload).collect::<Result<_>>()?,
            forwards: forwards.iter().map(forward).collect(),
            binding: match deployment {
                None => Binding::Kept,
                Some(Deployment::Any) => Binding::Released,
                Some(Deployment::Id(id)) => Binding::To(id.clone()),
                Some(Deployment::Current) => Binding::To(self.settings.deployment.clone()),
                // `find_latest` has found none.
                Some(Deployment::Latest) => Binding::Kept,
            },
        })
    }

    /// The cancel message to a child that its parent gives up.
    pub(super) fn cancel_message(&self, child: &Target, now: u64) -> Result<Outgoing> {
        let cancel = Event::Cancel { reason: GIVEN_UP.to_owned() };
        let Target { run, token } = child;
        Ok(Outgoing { run: run.clone(), token: *token, message: messages::message(&cancel, now, None)?, unstick: true })
    }
}

/// The event that starts a run or its next generation.
pub(super) fn started(random: &Random, args: &Payload, carried: Option<Carried>) -> Event {
    let seed = random.number().to_le_bytes();
    Event::Started { seed: Cow::Owned(hex(&seed)), args: args.clone(), carried: carried.map(Box::new) }
}

fn digest(args: &Payload) -> [u8; 32] {
    Sha256::digest(args.as_str().as_bytes()).into()
}

/// The message that fails an operation.
fn failure(op: u64, failure: AttemptFailure, now: u64) -> Result<Message> {
    messages::message(&Event::Failed { op, error: failure.error }, now, None)
}

fn open(opening: &Opening, now: u64) -> Result<Open> {
    let Opening { op, token, metadata, type_name, once, asked } = opening;
    let metadata = metadata.as_ref().map(|metadata| Arc::from(metadata.as_str()));
    let refusal = messages::message(&Event::Conflict { op: *op, owner: String::new() }, now, None)?;
    let scope = asked.as_ref().map(|asked| asked.scope.clone());
    let asked = asked.as_ref().map(|asked| Asked { id: asked.id.clone(), step: asked.step.map(Arc::from) });
    let label = TokenLabel { type_name: type_name.clone(), metadata, once: *once, asked };
    Ok(Open { token: token.clone(), op: Some(*op), label, scope, refusal })
}

fn watch(op: u64, watched: &Target, now: u64) -> Result<Watch> {
    let Target { run, token } = watched;
    let error = Error::coded(Code::RunNotFound, format!("there is no run `{run}` in this store")).run(run);
    let error = error.help("check the id that the handle was made from").into_fatal();
    let refusal = failure(op, adopt::<Error>(error), now)?;
    Ok(Watch { run: run.clone(), op, token: *token, refusal })
}

fn forward(forward: &replay::Forward) -> Forward {
    Forward { op: forward.op, token: forward.address.clone(), to: forward.to }
}

/// Whether the store may have put a message into the run's own inbox, or made another run due.
pub(super) fn may_have_news(effects: Option<&Effects>) -> bool {
    effects.is_some_and(|effects| {
        !effects.opens.is_empty()
            || !effects.children.is_empty()
            || !effects.watches.is_empty()
            || !effects.messages.is_empty()
            || effects.continuation.is_some()
    })
}
