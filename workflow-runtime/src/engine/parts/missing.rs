//! The errors of what is not there.

use crate::error::{Code, Error};
use crate::text::excerpt;

pub fn events_removed(id: &str, event: u64, first: u64) -> Error {
    Error::coded(
        Code::EventsRemoved,
        format!("event {event} of the run was removed, with the journal of its generation"),
    )
    .run(id)
    .expected(format!("an index from {first}, of the first event that is kept"))
    .found(event)
    .help(
        "`Retention::generations` says how many generations of a run are kept; `run.events()` begins with what is kept",
    )
    .into_fatal()
}

pub fn not_found(id: &str) -> Error {
    Error::coded(Code::RunNotFound, format!("there is no run `{}` in this store", excerpt(id)))
        .run(id)
        .help("check the id and the store's URL; a run exists once `start(..).await` has returned")
}
