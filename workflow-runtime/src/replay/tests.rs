//! Unit tests of the core: they deliver events and compare the commands that the core returns. Nothing is executed or
//! stored. Each run that a test drives is also replayed, from each of its turns: see `support::Driven`.

mod branches;
mod cancel;
mod children;
mod continuation;
mod divergences;
mod effects;
mod hooks;
mod limits;
mod nondeterminism;
mod patches;
mod random;
mod reopening;
mod rollbacks;
mod state;
mod steps;
mod streams;
mod support;
mod surplus;
mod suspensions;
mod timers;
mod watches;
