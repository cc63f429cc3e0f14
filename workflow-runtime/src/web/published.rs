//! What the deployments have published, read once for several pages.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::Mutex;

use crate::engine::Client;
use crate::error::Result;
use crate::model::DeploymentInfo;

/// How long it is used.
const KEPT: Duration = Duration::from_secs(2);

/// A place in the code.
#[derive(Clone, PartialEq)]
pub(super) struct Place {
    pub file: String,
    pub line: u32,
}

/// What the deployment that was published last says of each.
#[derive(Default)]
pub(super) struct Published {
    workflows: BTreeMap<String, Place>,
    steps: BTreeMap<String, Place>,
    payloads: BTreeMap<String, Value>,
    deployments: Vec<DeploymentInfo>,
}

impl Published {
    pub fn workflow(&self, id: &str) -> Option<&Place> {
        self.workflows.get(id)
    }

    pub fn step(&self, id: &str) -> Option<&Place> {
        self.steps.get(id)
    }

    /// The deployments, the one that was published last at the end.
    pub fn deployments(&self) -> &[DeploymentInfo] {
        &self.deployments
    }

    /// The schema of a type of payloads.
    pub fn payload(&self, type_name: &str) -> Option<&Value> {
        self.payloads.get(type_name)
    }
}

/// What is shared, and until when.
#[derive(Default)]
pub(super) struct Catalogues(Mutex<Option<(Arc<Published>, Instant)>>);

impl Catalogues {
    /// What was published last, or shortly before.
    pub async fn published(&self, client: &Client) -> Result<Arc<Published>> {
        let mut shared = self.0.lock().await;
        if let Some((published, _)) = shared.as_ref().filter(|(_, until)| *until > Instant::now()) {
            return Ok(published.clone());
        }
        let mut deployments = client.deployments().await?;
        deployments.sort_by_key(|deployment| deployment.published_at);
        let mut published = Published::default();
        for catalogue in deployments.iter().map(|deployment| &deployment.catalogue) {
            let place = |file: &String, line| Place { file: file.clone(), line };
            let workflows = catalogue.workflows.iter();
            published.workflows.extend(workflows.map(|it| (it.id.clone(), place(&it.file, it.line))));
            published.steps.extend(catalogue.steps.iter().map(|it| (it.id.clone(), place(&it.file, it.line))));
            published.payloads.extend(catalogue.payloads.iter().cloned());
        }
        published.deployments = deployments;
        let published = Arc::new(published);
        *shared = Some((published.clone(), Instant::now() + KEPT));
        Ok(published)
    }
}
