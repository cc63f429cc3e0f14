//! The resource of the tests' steps: counts executions and holds gates.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use super::Schedule;

/// Counts executions by name and holds gates by name. Each test has its own lab, so that tests can run concurrently.
#[derive(Clone, Default)]
pub struct Lab(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    executed: HashMap<String, watch::Sender<usize>>,
    gates: HashMap<String, watch::Sender<bool>>,
    notes: Vec<String>,
    schedule: Option<Schedule>,
}

impl Lab {
    pub fn new() -> Self {
        Self::default()
    }

    /// A lab whose steps ask a schedule for their [`turn`](Lab::turn).
    pub fn scheduled(schedule: &Schedule) -> Self {
        let lab = Self::default();
        lab.0.lock().unwrap().schedule = Some(schedule.clone());
        lab
    }

    /// Waits until the schedule gives a step its turn.
    pub async fn turn(&self) {
        let schedule = self.0.lock().unwrap().schedule.clone();
        schedule.expect("the lab has a schedule").turn("step").await;
    }

    /// Notes an execution, and returns its number, from 1.
    pub fn note(&self, name: &str) -> usize {
        let mut inner = self.0.lock().unwrap();
        inner.notes.push(name.to_owned());
        let counter = inner.executed.entry(name.to_owned()).or_insert_with(|| watch::channel(0).0);
        counter.send_modify(|count| *count += 1);
        *counter.borrow()
    }

    pub fn count(&self, name: &str) -> usize {
        self.0.lock().unwrap().executed.get(name).map_or(0, |counter| *counter.borrow())
    }

    /// All notes, in order.
    pub fn notes(&self) -> Vec<String> {
        self.0.lock().unwrap().notes.clone()
    }

    /// Waits until `name` was executed `times` times.
    pub async fn executed(&self, name: &str, times: usize) {
        let mut counter = {
            let mut inner = self.0.lock().unwrap();
            inner.executed.entry(name.to_owned()).or_insert_with(|| watch::channel(0).0).subscribe()
        };
        counter.wait_for(|count| *count >= times).await.unwrap();
    }

    pub fn open_gate(&self, name: &str) {
        let mut inner = self.0.lock().unwrap();
        inner.gates.entry(name.to_owned()).or_insert_with(|| watch::channel(false).0).send_replace(true);
    }

    /// Waits for the gate of this name.
    pub async fn pass_gate(&self, name: &str) {
        let mut gate = {
            let mut inner = self.0.lock().unwrap();
            inner.gates.entry(name.to_owned()).or_insert_with(|| watch::channel(false).0).subscribe()
        };
        gate.wait_for(|open| *open).await.unwrap();
    }
}
