//! What the engine calls.

use std::sync::Arc;

use crate::engine::Inner;
use crate::model::Status;

impl Inner {
    pub(in crate::engine) fn export_end(self: &Arc<Self>, _run: &Arc<str>, _generation: u64, _status: Status) {}

    pub(in crate::engine) async fn count_end(&self, _run: &str, _status: Status) {}

    pub(in crate::engine) fn watch_queues(self: &Arc<Self>) {}
}
