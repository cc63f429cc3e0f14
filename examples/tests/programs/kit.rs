//! The workflows of the short programs, tested with `workflow_runtime::testing`: this module compiles each program with
//! its tests, which are in `src/bin/tests`. Those of `approvals`, `crash` and `digest` are in these programs.

#![expect(dead_code, reason = "a test does not call `main`")]

#[path = "../../src/bin/agent.rs"]
mod agent;
#[cfg(feature = "postgres")]
#[path = "../../src/bin/cluster.rs"]
mod cluster;
#[path = "../../src/bin/onboarding.rs"]
mod onboarding;
#[path = "../../src/bin/pipeline.rs"]
mod pipeline;
#[path = "../../src/bin/quickstart.rs"]
mod quickstart;
#[path = "../../src/bin/saga.rs"]
mod saga;
#[path = "../../src/bin/subscription.rs"]
mod subscription;
#[cfg(feature = "http")]
#[path = "../../src/bin/webhooks.rs"]
mod webhooks;
