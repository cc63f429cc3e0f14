//! Where the parts of other systems are here, name by name: each form of control flow as the plain Rust that it is, and what
//! their functions, parameters and results are called.

#[doc = include_str!("coming_from/mastra.md")]
pub mod mastra {}

#[doc = include_str!("coming_from/vercel_workflow.md")]
pub mod vercel_workflow {}
