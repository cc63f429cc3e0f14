//! Checks the pending inputs of a replayed run, without executing a step.

use super::core::Core;
use super::journal::{End, Event};
use super::kind::Kind;
use crate::error::{Code, Error};
use crate::text::excerpt;

impl Core {
    /// Delivers a start that waits in the inbox, and verifies that this build can read everything that was recorded for
    /// the operations without a result: the arguments of steps, and the payloads and results in the inbox.
    ///
    /// # Errors
    ///
    /// The error with which the run would get stuck, or its step would fail.
    pub fn check(&mut self, inbox: impl IntoIterator<Item = (u64, Event)>) -> Result<(), Error> {
        for (at, event) in inbox {
            match event {
                Event::Started { .. } => {
                    self.deliver(at, event)?;
                }
                Event::Payload { op, value } => {
                    let hook = |kind: &Kind| match kind {
                        Kind::Hook(hook) => Some((hook.token.clone(), hook.check)),
                        _ => None,
                    };
                    if let Some((token, check)) = self.shared().with_open(op, hook).flatten() {
                        check(&value).map_err(|error| {
                            error.context(format!("a payload for the hook `{}` is in its inbox", excerpt(&token)))
                        })?;
                    }
                }
                Event::Ended { op, end: End::Completed(value) } => {
                    let child = |kind: &Kind| match kind {
                        Kind::Child(child) => Some(child.definition),
                        _ => None,
                    };
                    if let Some(child) = self.shared().with_open(op, child).flatten()
                        && (child.recode_output)(&value).is_none()
                    {
                        let id = child.source.id;
                        return Err(Error::coded(
                            Code::Payload,
                            format!("the recorded result of child workflow `{id}` does not decode as its result type"),
                        )
                        .found(excerpt(value.as_str()))
                        .help("keep the type able to decode recorded results, for example with `#[serde(default)]`"));
                    }
                }
                _ => {}
            }
        }
        for (definition, input) in self.shared().open_steps() {
            definition
                .check()
                .and_then(|()| (definition.check_args)(&input))
                .map_err(|error| error.operation(format!("step `{}`", definition.source.id)))?;
        }
        Ok(())
    }
}
