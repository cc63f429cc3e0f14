//! Without the feature `otel` nothing is exported or counted.

use std::sync::Arc;

use super::inner::Inner;
use crate::model::Status;

impl Inner {
    pub(super) fn export_end(self: &Arc<Self>, _run: &Arc<str>, _generation: u64, _status: Status) {}

    pub(super) async fn count_end(&self, _run: &str, _status: Status) {}

    pub(super) fn watch_queues(self: &Arc<Self>) {}
}
