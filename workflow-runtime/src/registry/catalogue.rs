//! The catalogue of this build, which is published to other processes.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use sha2::{Digest, Sha256};

use super::{Registry, registry};
use crate::definition::Described;
use crate::model::{Catalogue, CatalogueStep, CatalogueWorkflow};
use crate::text::hex;

/// The catalogue of this build, encoded, and its digest.
pub(crate) fn encoded() -> &'static (Arc<str>, [u8; 32]) {
    static ENCODED: OnceLock<(Arc<str>, [u8; 32])> = OnceLock::new();
    ENCODED.get_or_init(|| {
        // A struct of texts and JSON always encodes; if it did not, the build would be listed without definitions.
        let text = serde_json::to_string(&catalogue(registry())).unwrap_or_default();
        let digest = Sha256::digest(&text).into();
        (text.into(), digest)
    })
}

/// The id of the deployment of this build, if no other one is set: it changes with the code of workflows and steps.
pub(crate) fn derived_deployment() -> &'static Arc<str> {
    static DERIVED: OnceLock<Arc<str>> = OnceLock::new();
    DERIVED.get_or_init(|| {
        let mut hash = Sha256::new();
        let (workflows, steps) = definitions(registry());
        let sources = workflows.into_iter().map(|it| (it.id, it.fingerprint));
        for (id, fingerprint) in sources.chain(steps.into_iter().map(|it| (it.id, it.fingerprint))) {
            hash.update(id);
            hash.update([0]);
            hash.update(fingerprint);
            hash.update([0]);
        }
        hex(&hash.finalize()[..6]).into()
    })
}

fn definitions(registry: &Registry) -> (Vec<CatalogueWorkflow>, Vec<CatalogueStep>) {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let workflows = registry.workflows().map(|it| CatalogueWorkflow {
        id: it.source.id.to_owned(),
        was: owned(it.was),
        pinned: it.pinned,
        fingerprint: it.source.fingerprint.to_owned(),
        file: it.source.file.to_owned(),
        line: it.source.line,
        arguments: Vec::new(),
        result_schema: None,
    });
    let steps = registry.steps().map(|it| CatalogueStep {
        id: it.source.id.to_owned(),
        fingerprint: it.source.fingerprint.to_owned(),
        file: it.source.file.to_owned(),
        line: it.source.line,
        queue: it.queue.map(str::to_owned),
        arguments: Vec::new(),
        result_schema: None,
    });
    let (mut workflows, mut steps): (Vec<_>, Vec<_>) = (workflows.collect(), steps.collect());
    workflows.sort_by(|a, b| (&a.id, &a.fingerprint, a.line).cmp(&(&b.id, &b.fingerprint, b.line)));
    steps.sort_by(|a, b| (&a.id, &a.fingerprint, a.line).cmp(&(&b.id, &b.fingerprint, b.line)));
    (workflows, steps)
}

fn catalogue(registry: &Registry) -> Catalogue {
    let (mut workflows, mut steps) = definitions(registry);
    let arguments = |described: &Described| {
        let names = described.arguments.iter().map(|name| (*name).to_owned());
        names.zip((described.argument_schemas)()).collect()
    };
    let described: BTreeMap<_, _> =
        registry.workflows().map(|it| ((it.source.id, it.source.line), &it.described)).collect();
    for workflow in &mut workflows {
        let Some(described) = described.get(&(&*workflow.id, workflow.line)) else { continue };
        (workflow.arguments, workflow.result_schema) = (arguments(described), (described.result_schema)());
    }
    let described: BTreeMap<_, _> =
        registry.steps().map(|it| ((it.source.id, it.source.line), &it.described)).collect();
    for step in &mut steps {
        let Some(described) = described.get(&(&*step.id, step.line)) else { continue };
        (step.arguments, step.result_schema) = (arguments(described), (described.result_schema)());
    }
    let queues = registry.queues().into_iter().map(str::to_owned).collect();
    Catalogue { workflows, steps, queues, payloads: registry.payload_schemas() }
}
