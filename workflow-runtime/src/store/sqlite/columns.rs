//! Values in the form of columns.

use crate::store::{NEVER, RowChange};

/// A time that may be [`NEVER`].
pub(super) fn time(time: u64) -> i64 {
    time.min(NEVER).cast_signed()
}

/// Since when a run fails, by the change of its row.
pub(super) fn failing_since(change: &RowChange) -> Option<i64> {
    change.error.as_ref()?.failing_since.map(u64::cast_signed)
}
