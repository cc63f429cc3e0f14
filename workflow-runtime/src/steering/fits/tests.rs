use std::sync::Arc;
use std::time::UNIX_EPOCH;

use super::*;
use crate::model::{Catalogue, CatalogueWorkflow, Schema, Status};
use crate::store::Fence;

fn row(refused_by: Option<&str>, required: Option<&str>) -> RunRow {
    RunRow {
        key: 7,
        id: "order-7".into(),
        workflow: "shop::order".into(),
        fingerprint: "old".into(),
        args_digest: [0; 32],
        parent: None,
        depth: 0,
        generation: 0,
        status: Status::Stuck,
        fence: Fence { owner: 0, epoch: 1 },
        wake_at: None,
        inbox_seq: 0,
        recoveries: 0,
        created_at: 0,
        started_at: None,
        completed_at: None,
        stuck: None,
        error: None,
        refused_by: refused_by.map(Arc::from),
        required_deployment: required.map(Arc::from),
        first_generation: 0,
        first_event: 0,
        continuations: 0,
    }
}

fn deployment(id: &str, workflow: &str, was: &[&str], fingerprint: &str, workers: usize) -> DeploymentInfo {
    let workflow = CatalogueWorkflow {
        id: workflow.into(),
        was: was.iter().map(|was| (*was).to_owned()).collect(),
        pinned: false,
        fingerprint: fingerprint.into(),
        file: "src/shop.rs".into(),
        line: 1,
        arguments: Vec::new(),
        result_schema: None,
    };
    DeploymentInfo {
        id: id.into(),
        published_at: UNIX_EPOCH,
        activated_at: None,
        is_draining: id.contains("drained"),
        is_promoted: false,
        workers,
        runs: 0,
        catalogue: Catalogue { workflows: vec![workflow], ..Catalogue::default() },
        schema: Schema,
    }
}

fn fits(row: &RunRow, deployments: &[DeploymentInfo]) -> Vec<String> {
    of(row, deployments).iter().map(Fit::to_string).collect()
}

#[test]
fn a_deployment_with_the_code_of_the_start_fits_unless_it_has_refused_the_run() {
    let deployments = [
        deployment("v 1", "shop::order", &[], "old", 0),
        deployment("v2 drained", "shop::orders::order", &["shop::order"], "old", 1),
        deployment("v3", "shop::order", &[], "new", 1),
        deployment("v4", "shop::refund", &[], "old", 1),
    ];
    let both = ["deployment `v 1`, which has no live worker", "deployment `v2 drained`, which is drained"];
    assert_eq!(fits(&row(Some("v3 0123456789ab"), None), &deployments), both);
    assert_eq!(fits(&row(Some("v 1 0123456789ab\nv3 0123456789ab"), None), &deployments), both[1..]);
    assert_eq!(fits(&row(None, Some("v 1")), &deployments), both[..1], "it is bound to this deployment");
    assert_eq!(fits(&row(None, Some("v3")), &deployments), Vec::<String>::new());
}

#[test]
fn the_remedy_is_what_the_error_says_of_its_place_and_how_to_fix_it() {
    let details = "the run is stuck\n  because: a step was inserted\n  operation: at src/shop.rs:51\n  expected: step `ship`\n  \
                   found: sleep\n  help: write `if patched(\"pause\")`: it is recorded\n  code: stuck";
    let stuck = Waiting::Stuck { code: "nondeterminism".into(), error: "differs".into(), details: details.into() };
    let expected = [
        ("operation", "at src/shop.rs:51"),
        ("expected", "step `ship`"),
        ("found", "sleep"),
        ("help", "write `if patched(\"pause\")`: it is recorded"),
    ];
    assert_eq!(remedy(&stuck), expected);
    assert_eq!(remedy(&Waiting::NotBegun), []);
}
