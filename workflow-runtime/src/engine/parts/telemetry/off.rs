//! Without the feature `otel`, all of this does nothing.

use std::borrow::Cow;
use std::sync::Arc;

use crate::codec::Payload;
use crate::model::Status;
use crate::replay::{Delivery, TurnRecord};

#[derive(Clone, Default)]
pub struct Telemetry {}

impl Telemetry {
    pub fn is_on(&self) -> bool {
        false
    }

    pub fn spans(&self, _run: &Arc<str>, _generation: u64, _again: bool) -> Spans {
        Spans {}
    }

    pub async fn flush(&self) {}
}

#[derive(Default)]
pub struct Spans {}

impl Spans {
    pub fn are_followed(&self) -> bool {
        false
    }

    pub fn recorded(&mut self, _record: &TurnRecord, _ended: bool) {}

    pub fn replayed(&mut self, _delivery: &Delivery) {}
}

#[derive(Clone)]
pub struct Metrics;

pub struct Scheduled;

pub struct Active;

impl Metrics {
    pub fn new() -> Self {
        Metrics
    }

    pub fn started(&self, _workflow: &'static str) {}

    pub fn ended(&self, _workflow: impl Into<Cow<'static, str>>, _status: Status) {}

    pub fn scheduled(&self, _step: &'static str, _queue: Option<&'static str>) -> Scheduled {
        Scheduled
    }

    pub fn waits(&self, _attempt: &Scheduled) -> Active {
        Active
    }

    pub fn begins(&self, _attempt: Scheduled) -> Active {
        Active
    }

    pub fn committed(&self, _writes: usize) {}
}

impl Active {
    pub fn ended(self, _error: Option<&Payload>) {}
}
