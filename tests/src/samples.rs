//! The runs of the stores in `tests/samples`, each parked in another way. The program `write_sample` writes them, and
//! later builds must open them.
//!
//! The stores name the workflows and steps below by their paths. Never move, rename or change anything here: add a new
//! kind of parked run beside the others.

#[macro_use]
#[path = "../tests/shared/forward.rs"]
mod forward;
mod again;
mod more;
mod park_more;
#[path = "../tests/shared/server_clock.rs"]
mod server_clock;
mod workflows;
mod world;
mod write;

pub use self::again::*;
pub use self::more::*;
pub use self::workflows::*;
pub use self::world::{OPENED, WRITTEN, World};
pub use self::write::{COUNTED, COUNTED_HOUR, POSTGRES, SCHEMA, SQLITE, write};
