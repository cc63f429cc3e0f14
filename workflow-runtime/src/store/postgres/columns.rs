//! Changes of runs, as arrays of a statement.

use super::db::Text;
use super::read::time;
use crate::store::{RowChange, RowError};

/// The errors of several rows of runs, by column.
pub(super) struct Errors<'e> {
    pub failing_since: Vec<Option<i64>>,
    pub classes: Vec<Option<Text<'e>>>,
    pub texts: Vec<Option<Text<'e>>>,
}

impl<'e> Errors<'e> {
    pub fn of(errors: impl Iterator<Item = Option<&'e RowError>> + Clone) -> Self {
        Errors {
            failing_since: errors.clone().map(|error| error?.failing_since.map(u64::cast_signed)).collect(),
            classes: errors.clone().map(|error| Some(Text(&error?.class))).collect(),
            texts: errors.map(|error| Some(Text(&error?.text))).collect(),
        }
    }
}

/// The changes of several rows of runs, by column. A row without a change has no status.
pub(super) struct ChangeColumns<'c> {
    pub statuses: Vec<Option<&'c str>>,
    pub wakes: Vec<Option<i64>>,
    pub starts: Vec<Option<i64>>,
    pub ends: Vec<Option<i64>>,
    pub stuck: Vec<Option<Text<'c>>>,
    pub refused: Vec<Option<Text<'c>>>,
    pub errors: Errors<'c>,
}

impl<'c> ChangeColumns<'c> {
    pub fn of(changes: impl Iterator<Item = Option<&'c RowChange>> + Clone) -> Self {
        let changes = || changes.clone();
        ChangeColumns {
            statuses: changes().map(|change| Some(change?.status.as_str())).collect(),
            wakes: changes().map(|change| change?.wake_at.map(time)).collect(),
            starts: changes().map(|change| change?.started_at.map(u64::cast_signed)).collect(),
            ends: changes().map(|change| change?.completed_at.map(u64::cast_signed)).collect(),
            stuck: changes().map(|change| change?.stuck.as_deref().map(Text)).collect(),
            refused: changes().map(|change| change?.refused_by.as_deref().map(Text)).collect(),
            errors: Errors::of(changes().map(|change| change?.error.as_ref())),
        }
    }
}
