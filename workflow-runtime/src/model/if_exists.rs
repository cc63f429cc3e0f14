//! What a start does if there is a run with its id.

/// What a start with an [id](crate::Start::id) comes to if there is a run with this id already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum IfExists {
    /// The start gives that run, if it is of the same workflow and the same arguments; otherwise it is an error.
    #[default]
    Reuse,
    /// The start is an error.
    Reject,
    /// As [`Reuse`](IfExists::Reuse) while that run has not ended; afterwards the start is an error.
    ReuseUnfinished,
    /// A run that has failed or was cancelled is [deleted](crate::Run::delete), and the start starts another one in its place,
    /// with whatever arguments: both at once, so that there always is a run with the id; otherwise as
    /// [`Reuse`](IfExists::Reuse).
    ReplaceFailed,
}
