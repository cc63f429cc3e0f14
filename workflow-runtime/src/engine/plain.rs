//! Steps that are called outside a run, or inside another step.

use super::Client;
use super::ambient::ambient;
use super::attempt::timed_out;
use super::scope::{Scope, current};
use crate::definition::{AttemptResult, Bodies, Execution, Resources};
#[cfg(feature = "postgres")]
use crate::error::{Code, Error};
use crate::replay::StepRequest;

/// Executes a step outside any run, or inside another step: once, unrecorded.
/// `path` is the part of the key for a call that was made in a step.
pub(crate) async fn plain_attempt(request: StepRequest, path: Option<String>) -> AttemptResult {
    let definition = request.definition;
    let scope = Scope::of_inner(definition.source.id, path);
    let adopt = definition.adopt;
    let engine = match definition.requires.is_empty() {
        true => Ok(current().and_then(Result::ok)),
        false => ambient().await.map(Some),
    };
    let attempt = |engine: Option<Client>| match &engine {
        Some(engine) => {
            let engine = engine.inner();
            engine.settings.bodies.attempt(definition, &request.input, &engine.resources)
        }
        None => Bodies::default().attempt(definition, &request.input, &Resources::default()),
    };
    let execution = match engine.and_then(attempt) {
        Ok(execution) => execution,
        Err(error) => return Err(adopt(error)),
    };
    let attempt = match execution {
        Execution::Async(attempt) => match scope {
            Some(scope) => Box::pin(scope.enter(attempt)),
            None => attempt,
        },
        Execution::Blocking(attempt) => {
            let span = tracing::Span::current();
            let attempt = move || match scope {
                Some(scope) => scope.enter_sync(attempt),
                None => attempt(),
            };
            let attempt = tokio::task::spawn_blocking(move || span.in_scope(attempt));
            Box::pin(async move {
                attempt.await.unwrap_or_else(|error| match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(error) => Err(adopt(error.into())),
                })
            })
        }
        #[cfg(feature = "postgres")]
        Execution::Transaction(_) => {
            let error = Error::coded(Code::OutsideRun, "a step with `transaction` is executed outside a workflow")
                .operation(format!("step `{}`", request.definition.source.id))
                .help("call it in a `#[workflow]`: its transaction records it in the run")
                .into_fatal();
            return Err(adopt(error));
        }
    };
    match request.policy.timeout {
        None => attempt.await,
        Some(timeout) => {
            let late = |_| Err(adopt(timed_out(request.definition.source.id, timeout)));
            tokio::time::timeout(timeout, attempt).await.unwrap_or_else(late)
        }
    }
}
