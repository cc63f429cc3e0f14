//! The behaviour of a start if a run with its id exists.

/// The behaviour of a start with an [id](crate::Start::id) if a run with this id already exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum IfExists {
    /// The start returns that run, if it has the same workflow and the same arguments; otherwise it is an error.
    #[default]
    Reuse,
    /// The start is an error.
    Reject,
    /// As [`Reuse`](IfExists::Reuse) while that run has not ended; afterwards the start is an error.
    ReuseUnfinished,
    /// A failed or cancelled run is [deleted](crate::Run::delete), and the start replaces it by a new one,
    /// with any arguments: atomically, so that a run with the id exists at all times. Otherwise as
    /// [`Reuse`](IfExists::Reuse).
    ReplaceFailed,
}
