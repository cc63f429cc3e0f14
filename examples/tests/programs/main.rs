//! The programs, each as a child process that is killed and executed again.

#[cfg(unix)]
mod agent;
#[cfg(feature = "http")]
mod approvals;
mod common;
mod crash;
#[cfg(unix)]
mod digest;
mod kit;
mod onboarding;
mod pipeline;
mod quickstart;
mod saga;
mod subscription;
#[cfg(feature = "http")]
mod webhooks;
