//! Three versions of a program, over one database: each replaces the one before, and the deploy is rolled back.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::try_join_all;
use workflow_runtime::{Deployment, Result, Start, Workflow, workflow};

use super::child::{Child, was_killed};
use super::workers::{Results, Site};
use super::{blocking, full};

/// What the versions have, for one who only starts it.
#[workflow(id = "rolling::plain")]
async fn plain(_name: String) -> Result<Vec<String>> {
    Ok(Vec::new())
}

#[workflow(id = "rolling::changed")]
async fn changed(_name: String) -> Result<Vec<String>> {
    Ok(Vec::new())
}

#[workflow(id = "rolling::patched")]
async fn with_patches(_name: String) -> Result<Vec<String>> {
    Ok(Vec::new())
}

#[workflow(id = "rolling::pinned", pinned)]
async fn pinned(_name: String) -> Result<Vec<String>> {
    Ok(Vec::new())
}

/// The steps that a run of each version executes, by what they return.
const SHAPES: [(&str, &str); 3] = [("v1", "www"), ("v2", "wsww"), ("v3", "wswtw")];

/// Runs that are in flight, of each kind and of each round.
struct Fleet {
    site: Site,
    /// The ids of all runs.
    ids: Vec<String>,
    /// What the bound ones are bound to.
    bound: BTreeMap<String, String>,
    each: usize,
}

impl Fleet {
    async fn new() -> Self {
        // Three rounds of five kinds.
        let each = if full() { 67 } else { 4 };
        Fleet { site: Site::new("1s").await, ids: Vec::new(), bound: BTreeMap::new(), each }
    }

    fn open(&self, life: &str) -> Child {
        let mut child = self.site.program(env!("CARGO_BIN_EXE_rolling"), &self.site.url, life);
        blocking(|| child.wait_for("open"));
        child
    }

    /// Starts runs of each kind while these versions are alive, of which the last is the latest.
    async fn start(&mut self, round: &str, alive: &[&str]) {
        let mut ids = Vec::new();
        for n in 0..self.each {
            for kind in ["plain", "changed", "patched", "pinned", "latest"] {
                let id = format!("{round}-{kind}-{n}");
                let bound = match kind {
                    "pinned" => Some(alive[n % alive.len()]),
                    "latest" => alive.last().copied(),
                    _ => None,
                };
                self.bound.extend(bound.map(|version| (id.clone(), version.to_owned())));
                ids.push((kind, id));
            }
        }
        let client = &self.site.client;
        let start = async |(kind, id): &(&str, String)| match *kind {
            "plain" => open_hooks(client.start(plain, id.clone()), id).await.map(drop),
            "changed" => open_hooks(client.start(changed, id.clone()), id).await.map(drop),
            "patched" => open_hooks(client.start(with_patches, id.clone()), id).await.map(drop),
            "pinned" => {
                let start = client.start(pinned, id.clone()).deployment(self.bound[id].as_str());
                open_hooks(start, id).await.map(drop)
            }
            _ => {
                let start = client.start(pinned, id.clone()).deployment(Deployment::Latest);
                open_hooks(start, id).await.map(drop)
            }
        };
        try_join_all(ids.iter().map(start)).await.expect("the runs start");
        self.ids.extend(ids.into_iter().map(|(_, id)| id));
    }

    /// Resumes all runs of a round.
    async fn resume(&self, round: &str, hook: &str) {
        let ids = self.ids.iter().filter(|id| id.starts_with(round));
        let resumed = ids.map(|id| self.site.client.resume_hook(format!("{id} {hook}"), &()).into_future());
        try_join_all(resumed).await.expect("the hooks take them");
    }

    /// Waits until the runs have executed what they can, and no worker has one that is due.
    async fn settle(&self) {
        let due = "SELECT count(*) = 0 FROM runs WHERE completed_at IS NULL AND status <> 'stuck' AND (owner > 0 OR owner < -1
            OR (wake_at <= extract(epoch FROM now()) * 1000
                AND coalesce(required_deployment, '') IN (SELECT '' UNION ALL SELECT deployment FROM workers)))";
        self.site.until(due).await;
    }

    async fn gone(&self, deployment: &str) {
        let gone = format!("SELECT count(*) = 0 FROM workers WHERE deployment = '{deployment}'");
        self.site.until(&gone).await;
    }

    async fn stuck(&self) -> BTreeSet<String> {
        let rows = self.site.database.query("SELECT id FROM runs WHERE status = 'stuck'", &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    fn kill(&self, children: &mut [Child]) {
        blocking(|| children.iter_mut().for_each(|child| assert!(was_killed(child.kill()))));
    }
}

/// A start whose hooks take payloads before the run has reached them.
fn open_hooks<W: Workflow>(start: Start<W>, id: &str) -> Start<W> {
    start.id(id).opens(format!("{id} one")).opens(format!("{id} two"))
}

fn shape(tokens: &[String]) -> String {
    tokens.iter().map(|token| token.chars().next().filter(|kind| "st".contains(*kind)).unwrap_or('w')).collect()
}

/// The executions that a result names: a token follows the word of its step.
fn executions(tokens: &[String]) -> Vec<String> {
    tokens.iter().map(|token| token.rsplit(' ').next().unwrap_or_default().to_owned()).collect()
}

case! {
    #[postgres]
    async fn a_rolling_deploy_of_three_versions_and_its_rollback_lose_no_run() {
        let mut fleet = Fleet::new().await;
        let first = fleet.open("v1-a");
        fleet.start("one", &["v1"]).await;
        let second = fleet.open("v2-a");
        fleet.start("two", &["v1", "v2"]).await;
        let third = fleet.open("v3-a");
        fleet.start("three", &["v1", "v2", "v3"]).await;
        fleet.resume("one", "one").await;
        fleet.resume("two", "one").await;

        // The old builds are killed and replaced, one after the other, while runs move.
        fleet.kill(&mut [first]);
        let fourth = fleet.open("v3-b");
        fleet.resume("three", "one").await;
        fleet.gone("v1").await;
        fleet.kill(&mut [second]);
        fleet.gone("v2").await;
        fleet.resume("two", "two").await;
        fleet.settle().await;
        let stuck_in_three = fleet.stuck().await;

        // The deploy is rolled back: the third version goes, and the others return.
        let back = [fleet.open("v2-b"), fleet.open("v1-b")];
        fleet.kill(&mut [third, fourth]);
        fleet.gone("v3").await;
        fleet.start("back", &["v2", "v1"]).await;
        fleet.resume("back", "one").await;
        fleet.resume("one", "two").await;
        fleet.settle().await;
        let stuck_in_back = fleet.stuck().await;

        let again = fleet.open("v3-c");
        for (round, hook) in [("three", "two"), ("back", "two")] {
            fleet.resume(round, hook).await;
        }
        let site = &fleet.site;
        site.until("SELECT count(*) = 0 FROM runs WHERE completed_at IS NULL").await;
        let results = site.results(&fleet.ids).await;
        assert_eq!(results.len(), 4 * 5 * fleet.each, "a run is lost");

        let mut groups: BTreeMap<usize, Results> = BTreeMap::new();
        let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
        for (id, tokens) in &results {
            let (shape, executions) = (shape(tokens), executions(tokens));
            let kind = id.split('-').nth(1).unwrap();
            *counts.entry((kind.to_owned(), shape.clone())).or_default() += 1;
            let version = SHAPES.iter().find(|(_, of_version)| *of_version == shape).map(|(version, _)| *version);
            match kind {
                "plain" => assert_eq!(shape, "www", "{id}"),
                "patched" => assert!(["www", "wsww", "wwtw", "wswtw"].contains(&&*shape), "{id}: {shape}"),
                "changed" => assert!(version.is_some(), "{id} mixes versions: {shape}"),
                _ => {
                    let bound = &fleet.bound[id];
                    assert_eq!(version, Some(&**bound), "{id}: {shape}");
                    let beginning = format!("{bound}-");
                    assert!(executions.iter().all(|life| life.starts_with(&beginning)), "{id}, {bound}: {executions:?}");
                }
            }
            if stuck_in_three.contains(id) {
                assert!(kind == "changed" && shape != "wswtw", "{id} was stuck beside the third version: {shape}");
            }
            if stuck_in_back.contains(id) {
                let fits = ["www", "wsww"].contains(&&*shape);
                assert!(!fits && ["changed", "patched"].contains(&kind), "{id} was stuck beside the others: {shape}");
            }
            groups.entry(executions.len()).or_default().insert(id.clone(), executions);
        }
        println!("{counts:#?}");
        println!("stuck beside the third: {}, beside the others: {}", stuck_in_three.len(), stuck_in_back.len());
        assert!(!stuck_in_three.is_empty(), "no run met code that does not fit");
        for (links, results) in groups {
            assert_eq!(site.check(&results, u32::try_from(links).unwrap(), &[]).await, 0);
        }
        for mut child in back.into_iter().chain([again]) {
            child.close();
            blocking(|| child.end_well());
        }
    }
}
