//! The parts of an engine: each has its own data, and its own lock if it needs one, and does not use [`Inner`](super::inner::Inner).

pub mod activations;
pub mod active_run;
pub mod batcher;
pub mod callbacks;
pub mod clock;
pub mod entry;
pub mod finished;
pub mod home;
pub mod life;
pub mod mailbox;
pub mod missing;
pub mod news;
pub mod outputs;
pub mod pages;
pub mod queues;
pub mod replay_queue;
pub mod resend;
pub mod right;
pub mod roster;
pub mod row_error;
pub mod signal;
pub mod stuck;
pub mod telemetry;
pub mod timers;
pub mod waiters;
pub mod write_queue;
