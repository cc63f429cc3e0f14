//! What a user, a disk or another program can get wrong: each is a clear error with a stable code, and nothing that was
//! acknowledged is lost by it.

mod files;
mod handles;
mod ids;
mod large;
mod replaced;
mod rows;
mod secrets;
mod support;
mod values;
