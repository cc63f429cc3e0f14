//! Mistakes of users, failing disks and interference by other programs: each is a clear error with a stable code and
//! loses nothing that was acknowledged.

mod files;
mod handles;
mod ids;
mod large;
mod replaced;
mod rows;
mod secrets;
mod support;
mod values;
