//! Why a run is stuck.

use serde::{Deserialize, Serialize};

use crate::error::{Code, Error};
use crate::model::{Status, Waiting};
use crate::store::{RowChange, RunRow};

/// Why a run is stuck, as it is stored in its row.
#[derive(Serialize, Deserialize)]
pub(crate) struct Stuck {
    pub error: Error,
}

impl Stuck {
    /// The change of the row that parks a run.
    pub fn park(error: Error) -> RowChange {
        let stuck = Stuck { error };
        // A struct of texts always encodes; if it did not, the status would still say that the run is stuck.
        let stuck = serde_json::to_string(&stuck).unwrap_or_default();
        RowChange {
            status: Status::Stuck,
            wake_at: None,
            started_at: None,
            completed_at: None,
            stuck: Some(stuck.into()),
            error: None,
            refused_by: None,
        }
    }

    /// The reason that a stuck run's row gives.
    pub fn reason(row: &RunRow) -> Waiting {
        let error = Stuck::cause(row);
        let details = format!("{:?}", Stuck::error(row));
        Waiting::Stuck { code: error.code().as_str().to_owned(), error: error.to_string(), details }
    }

    /// The error in a stuck run's row.
    pub fn error(row: &RunRow) -> Error {
        Stuck::cause(row).context("the run is stuck").with_code(Code::Stuck).run(&row.id)
    }

    fn cause(row: &RunRow) -> Error {
        let stuck = row.stuck.as_deref().and_then(|stuck| serde_json::from_str::<Stuck>(stuck).ok());
        stuck.map_or_else(|| Error::coded(Code::Stuck, "the reason is not readable"), |stuck| stuck.error)
    }
}
