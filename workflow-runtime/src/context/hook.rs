//! Payloads from outside: a workflow opens a token, and whoever knows the token sends to it.

use std::collections::VecDeque;
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::Stream;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{self, Payload};
use crate::durable::{Durable, DurableStream};
use crate::error::{Code, Error, Result};
use crate::names::{self, TOKEN};
use crate::registry;
use crate::replay::{HookRequest, Operation, Received, Unawaited, current};

/// Waits for what somebody sends: a person's answer, another service's callback.
///
/// Awaited as it is it opens a hook with a token that is drawn at random, and gives the first payload. With
/// [`open`](HookBuilder::open) the hook is there at once, before anybody waits, and can be awaited again and again, or
/// used as a stream. It takes payloads until it is dropped.
///
/// ```
/// # use std::time::Duration;
/// # use serde::{Deserialize, Serialize};
/// # use workflow_runtime::{Engine, Result, hook, step, timeout, workflow};
/// #[derive(Serialize, Deserialize)]
/// struct Approval {
///     by: String,
/// }
///
/// # #[step] async fn mail(token: String) -> Result<()> { Ok(()) }
/// #[workflow]
/// async fn approve(order: u64) -> Result<String> {
///     let approval = hook::<Approval>().token(format!("order-{order}")).open();
///     mail(approval.token().to_owned()).await?;
///     match timeout(Duration::from_secs(7 * 24 * 3600), approval).await {
///         Ok(approval) => Ok(approval?.by),
///         Err(_elapsed) => Ok("nobody".into()),
///     }
/// }
///
/// # #[tokio::main]
/// # async fn main() -> Result<()> {
/// # let engine = Engine::open("memory:").await?;
/// let run = engine.start(approve, 1).opens("order-1").await?;
/// engine.resume_hook("order-1", &Approval { by: "Ada".into() }).await?;
/// assert_eq!(run.await?, "Ada");
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn hook<T>() -> HookBuilder<T>
where
    T: Serialize + DeserializeOwned + Send + 'static,
{
    let unawaited = Unawaited::new(Location::caller());
    HookBuilder { token: None, metadata: Ok(None), once: false, unawaited, is_ours: false, payload: PhantomData }
}

/// A hook that is not open yet: see [`hook`].
#[must_use = "a hook takes nothing before `.open()` or `.await`"]
pub struct HookBuilder<T> {
    token: Option<String>,
    metadata: Result<Option<Payload>>,
    once: bool,
    unawaited: Unawaited,
    /// Whether the token is one that the engine has made.
    is_ours: bool,
    payload: PhantomData<fn() -> T>,
}

impl<T> HookBuilder<T> {
    /// It is opened, or refused: dropping it is no mistake.
    pub(crate) fn hand_over(&mut self) {
        self.unawaited.disarm();
    }
}

impl<T> HookBuilder<T>
where
    T: Serialize + DeserializeOwned + Send + 'static,
{
    /// A token of one's own, instead of one that nobody can guess. At most 512 bytes, without control characters, and not
    /// beginning with `queue:`, `suspended/` or `webhook/`, which are reserved.
    ///
    /// A token belongs to one open hook at a time, in all runs of the store. A second hook with it gives
    /// [`Code::HookConflict`](crate::Code::HookConflict) when it is awaited, and the error's
    /// [`run_id`](crate::Error::run_id) is the run that has it.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Something for those who look the token up, such as what is to be approved.
    pub fn metadata<M: Serialize + ?Sized>(mut self, metadata: &M) -> Self {
        self.metadata = codec::encode("the hook's metadata", metadata).map(Some);
        self
    }

    /// Makes it that of a suspension: with a token that the engine has made, and closed with the first payload.
    pub(crate) fn suspension(self, token: String) -> Self {
        HookBuilder { token: Some(token), once: true, is_ours: true, ..self }
    }

    /// Opens it: from the end of this turn on it takes payloads.
    #[track_caller]
    pub fn open(self) -> Hook<T> {
        self.open_at(Arc::clone)
    }

    /// Opens it so that payloads reach it under another name than its token.
    #[track_caller]
    pub(crate) fn open_at(mut self, address: impl FnOnce(&Arc<str>) -> Arc<str>) -> Hook<T> {
        let site = Location::caller();
        self.hand_over();
        let Some(run) = current() else {
            let error = Error::coded(Code::OutsideRun, "a hook is opened outside a workflow")
                .operation(format!("at {site}"))
                .help("open it in a `#[workflow]`");
            return Hook { token: Arc::default(), state: State::Refused(error), refused: false, payload: PhantomData };
        };
        let refused =
            |error| Hook { token: Arc::default(), state: State::Refused(error), refused: false, payload: PhantomData };
        let metadata = match self.metadata {
            Ok(metadata) => metadata,
            Err(error) => return refused(error),
        };
        let drawn = self.token.is_none();
        let token: Arc<str> = match self.token {
            None => run.drawn_token(),
            Some(token) if self.is_ours => Arc::from(token),
            Some(token) => match names::check_own(TOKEN, &token) {
                Ok(()) => Arc::from(token),
                Err(error) => return refused(error),
            },
        };
        let (once, received) = (self.once, VecDeque::new());
        let (type_name, check) = registry::payload_type::<T>();
        let (token_of, address) = (token.clone(), address(&token));
        let request =
            HookRequest { token: token_of, address, drawn, metadata, type_name, check, once, received, yielded: false };
        match Operation::open(site, request) {
            Some(operation) => Hook { token, state: State::Open(operation), refused: false, payload: PhantomData },
            None => refused(Error::coded(Code::OutsideRun, "a hook is opened outside a workflow")),
        }
    }
}

impl<T> IntoFuture for HookBuilder<T>
where
    T: Serialize + DeserializeOwned + Send + 'static,
{
    type Output = Result<T>;
    type IntoFuture = Hook<T>;

    #[track_caller]
    fn into_future(self) -> Hook<T> {
        self.open()
    }
}

/// An open hook: a future of the next payload, and a stream of all. See [`hook`].
///
/// Dropping it closes its token. What was sent to it and not given by then goes to the next hook that the run (or a later
/// [generation](crate::Invocation::continue_as_new) of it) opens with the same token, if this one has given a payload: so
/// `loop { hook::<T>().token(t).await? }` loses nothing. While the run has no open hook with the token a sender gets
/// [`Code::HookDisposed`](crate::Code::HookDisposed). What was sent to a hook that was dropped before it gave anything, as by a
/// [`timeout`](crate::timeout), stays with the run, unread.
///
/// # Errors
///
/// [`Code::HookConflict`](crate::Code::HookConflict) if the token is another hook's; as a stream it ends with that. A payload that does not fit the type
/// is not delivered: it stays with the run, unread, and the hook stays open.
#[must_use = "a hook that is dropped is closed"]
pub struct Hook<T> {
    token: Arc<str>,
    state: State,
    /// Whether it has given an error as a stream: that is its end.
    refused: bool,
    payload: PhantomData<fn() -> T>,
}

enum State {
    Open(Operation),
    Refused(Error),
}

impl<T> Hook<T> {
    /// What to send payloads to.
    pub fn token(&self) -> &str {
        &self.token
    }
}

impl<T: DeserializeOwned> Hook<T> {
    fn poll_payload(&mut self, context: &mut Context<'_>) -> Poll<Result<T>> {
        let operation = match &mut self.state {
            State::Open(operation) => operation,
            State::Refused(error) => return Poll::Ready(Err(error.clone())),
        };
        match ready!(operation.receive(context)) {
            Err(error) => Poll::Ready(Err(error)),
            Ok(Received::Payload(value)) => match codec::decode("the payload of a hook", &value) {
                Ok(payload) => Poll::Ready(Ok(payload)),
                // It was looked at when it was delivered: the type has changed since. No value to go on with.
                Err(error) => {
                    operation.run().fail(error.operation(format!("hook `{}`", self.token)));
                    Poll::Pending
                }
            },
            Ok(Received::Conflict(owner)) => Poll::Ready(Err(Error::coded(
                Code::HookConflict,
                match owner == *operation.run().run_id() {
                    true => format!("the token `{}` belongs to another hook of this run", self.token),
                    false => format!("the token `{}` belongs to run `{owner}`", self.token),
                },
            )
            .run(owner)
            .help("use another token, or wait until that run has ended or dropped its hook"))),
        }
    }
}

impl<T: DeserializeOwned> Future for Hook<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        self.poll_payload(context)
    }
}

impl<T: DeserializeOwned> Stream for Hook<T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        if self.refused {
            return Poll::Ready(None);
        }
        let payload = ready!(self.poll_payload(context));
        self.refused = payload.is_err();
        Poll::Ready(Some(payload))
    }
}

impl<T: DeserializeOwned> Durable for Hook<T> {}
impl<T: DeserializeOwned> DurableStream for Hook<T> {}
