//! The functions that a workflow calls besides its steps. Outside a workflow, each acts like the plain function of the
//! same name.

mod branch;
mod continuation;
mod hook;
mod identity;
pub(crate) mod invocation;
mod nondeterministic;
mod patch;
mod random;
mod request;
mod state;
pub(crate) mod step;
#[cfg(feature = "testing")]
pub(crate) mod step_fn;
pub(crate) mod suspend;
mod time;
mod timeout;
mod writer;

pub use self::branch::{JoinHandle, spawn};
pub use self::continuation::{ContinueAsNew, continue_as_new_suggested};
pub use self::hook::{Hook, HookBuilder, hook};
pub use self::identity::run_id;
pub use self::nondeterministic::{Nondeterministic, nondeterministic};
pub use self::patch::{deprecated_patch, patched};
pub use self::random::{random, uuid};
pub use self::request::request_context;
pub use self::state::{remove_attribute, set_attribute, set_state, state};
pub use self::time::{Sleep, now, sleep, sleep_until};
pub use self::timeout::{Elapsed, Timeout, timeout};
pub use self::writer::{WriteChunk, Writer, writer};
