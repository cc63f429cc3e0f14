//! The runs of the stores that are kept in `tests/samples`, each parked in another way: what the program `write_sample` writes
//! and later builds must open.
//!
//! The kept stores name the workflows and steps below by their paths. So nothing here is ever moved, renamed or changed: a
//! new kind of parked run is added beside the others.

#[macro_use]
#[path = "../tests/shared/forward.rs"]
mod forward;
#[path = "../tests/shared/serverless.rs"]
mod serverless;
mod workflows;
mod world;
mod write;

pub use self::workflows::*;
pub use self::world::{OPENED, WRITTEN, World};
pub use self::write::{POSTGRES, SCHEMA, SQLITE, write};
