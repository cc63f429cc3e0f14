//! Equivalents of other systems' features, name by name: each form of control flow as plain Rust, and the names of
//! functions, parameters and results.

#[doc = include_str!("coming_from/mastra.md")]
pub mod mastra {}

#[doc = include_str!("coming_from/vercel_workflow.md")]
pub mod vercel_workflow {}
