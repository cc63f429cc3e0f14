//! What a user, a disk or another program can get wrong: each is a clear error with a stable code, and nothing that was
//! acknowledged is lost by it.

mod files;
mod handles;
mod ids;
mod large;
mod rows;
mod support;
mod values;
