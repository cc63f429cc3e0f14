//! `patched` and `deprecated_patch` over deploys: crashes, evictions, retries, forks and generations between them.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use workflow_runtime::{Code, Engine, Error, Result, Run, deprecated_patch, hook, patched, step, workflow};

use crate::support::{Lab, Place, soon};

/// The version of the code that executes a run, by the name of the run's deployment.
static VERSIONS: LazyLock<Mutex<HashMap<String, u32>>> = LazyLock::new(Mutex::default);

fn version(deployment: &str) -> u32 {
    VERSIONS.lock().unwrap()[deployment]
}

/// The deployments of one test, under a unique name.
struct Deployment {
    name: String,
    place: Place,
    lab: Lab,
}

impl Deployment {
    fn new(place: Place) -> Self {
        Deployment { name: uuid::Uuid::new_v4().to_string(), place, lab: Lab::new() }
    }

    /// Opens an engine with this version of the code.
    async fn open(&self, version: u32) -> Engine {
        VERSIONS.lock().unwrap().insert(self.name.clone(), version);
        self.place.open(&self.lab).await
    }

    /// The steps of a run in the order of their executions.
    fn executed(&self, id: &str) -> String {
        let prefix = format!("{id}/");
        let notes = self.lab.notes();
        notes.iter().filter_map(|note| note.strip_prefix(&prefix)).collect::<Vec<_>>().join(" ")
    }

    async fn is_in(&self, id: &str, step: &str) {
        soon(self.lab.executed(&format!("{id}/{step}"), 1)).await;
    }

    fn open_gates(&self, id: &str, steps: &[&str]) {
        steps.iter().for_each(|step| self.lab.open_gate(&format!("{id}/{step}")));
    }
}

#[step]
async fn work(#[resource] lab: &Lab, id: String, name: String) -> Result<String> {
    let name = format!("{id}/{name}");
    lab.note(&name);
    lab.pass_gate(&name).await;
    Ok(name)
}

/// Fails at its first execution.
#[step]
async fn fails_once(#[resource] lab: &Lab, id: String) -> Result<()> {
    let name = format!("{id}/once");
    if lab.note(&name) == 1 { Err(Error::fatal("at first")) } else { Ok(()) }
}

/// Four versions of a change: before it, patched, deprecated, and only the new code.
#[workflow]
async fn checkout(deployment: String, id: String) -> Result<()> {
    work(id.clone(), "first".into()).await?;
    match version(&deployment) {
        0 => {}
        1 => {
            if patched("audit") {
                work(id.clone(), "audit".into()).await?;
            }
        }
        2 => {
            deprecated_patch("audit");
            work(id.clone(), "audit".into()).await?;
        }
        _ => {
            work(id.clone(), "audit".into()).await?;
        }
    }
    work(id, "last".into()).await?;
    Ok(())
}

async fn start(deployment: &Deployment, engine: &Engine, id: &str, open: &[&str]) {
    deployment.open_gates(id, open);
    engine.start(checkout, (deployment.name.clone(), id.to_owned())).id(id).await.unwrap();
}

async fn is_stuck(engine: &Engine, id: &str, because: &str) {
    let run: Run<()> = engine.get_run(id);
    let error = soon(&run).await.unwrap_err();
    assert_eq!(error.code(), Code::Stuck, "{id}: {error:?}");
    assert!(format!("{error:?}").contains(because), "{id}: {error:?}");
}

on_each_store! {
    async fn a_change_is_deployed_in_three_steps_with_runs_in_flight_before_each(place: Place) {
        let site = Deployment::new(place);
        let engine = site.open(0).await;
        start(&site, &engine, "early", &["audit", "last"]).await;
        start(&site, &engine, "old", &["first", "audit"]).await;
        start(&site, &engine, "older", &["first", "audit"]).await;
        site.is_in("early", "first").await;
        site.is_in("old", "last").await;
        site.is_in("older", "last").await;
        drop(engine);

        // With the patch, the unfinished run continues without the new step, and later calls execute it.
        let engine = site.open(1).await;
        site.open_gates("early", &["first"]);
        site.open_gates("old", &["last"]);
        soon(engine.get_run::<(), Error>("early")).await.unwrap();
        soon(engine.get_run::<(), Error>("old")).await.unwrap();
        assert_eq!(site.executed("early"), "first first audit last");
        assert_eq!(site.executed("old"), "first last last");
        start(&site, &engine, "patched", &["first", "audit"]).await;
        site.is_in("patched", "last").await;
        drop(engine);

        // Deprecated: a run with the marker continues. A run that predates the patch is stuck until older code returns.
        let engine = site.open(2).await;
        let run: Run<()> = engine.get_run("older");
        let error = soon(&run).await.unwrap_err();
        assert_eq!(error.code(), Code::Stuck);
        assert!(format!("{error:?}").contains("predates patch `audit`"), "{error:?}");
        start(&site, &engine, "deprecated", &["first", "audit"]).await;
        site.is_in("deprecated", "last").await;
        drop((engine, run));

        // Removed: a replay skips the marker of the deprecated patch. A marker of the patch makes the run stuck.
        let engine = site.open(3).await;
        is_stuck(&engine, "patched", "patched(\"audit\")").await;
        site.open_gates("deprecated", &["last"]);
        soon(engine.get_run::<(), Error>("deprecated")).await.unwrap();
        assert_eq!(site.executed("deprecated"), "first audit last last");
        drop(engine);

        // Rolled back to the code with the patch, which can execute all of these runs.
        let engine = site.open(1).await;
        for (id, executed) in [("older", "first last"), ("patched", "first audit last")] {
            site.open_gates(id, &["last"]);
            let run: Run<()> = engine.get_run(id);
            run.retry().await.unwrap();
            soon(&run).await.unwrap();
            assert!(site.executed(id).starts_with(executed), "{id}: {}", site.executed(id));
        }
        assert!(!site.executed("older").contains("audit"));
        let journal = site.place.rows("patched").await;
        let formats: Vec<_> = journal.iter().map(|row| row.format).collect();
        assert_eq!(formats, [1, 2, 1, 1], "only the row with the marker has the newer format");
    }
}

#[workflow]
async fn in_rounds(deployment: String, id: String, token: String) -> Result<u32> {
    let mut rounds = hook::<u32>().token(token).open();
    let mut new = 0;
    for round in 0..3 {
        (&mut rounds).await?;
        let name = if version(&deployment) > 0 && patched("new-round") { "new" } else { "old" };
        new += u32::from(name == "new");
        work(id.clone(), format!("{name}{round}")).await?;
    }
    Ok(new)
}

/// Continues as new once.
#[workflow]
async fn by_generations(deployment: String, id: String, generation: u32) -> Result<()> {
    work(id.clone(), format!("begin{generation}")).await?;
    let name = if version(&deployment) > 0 && patched("new") { "new" } else { "old" };
    work(id.clone(), format!("{name}{generation}")).await?;
    let name = if version(&deployment) > 0 && patched("new") { "new" } else { "old" };
    work(id.clone(), format!("{name}-end{generation}")).await?;
    match generation {
        1 => Ok(()),
        _ => by_generations(deployment, id, generation + 1).continue_as_new().await,
    }
}

/// Fails once, behind the first call of `patched` and before the second.
#[workflow]
async fn fails_then_ends(deployment: String, id: String) -> Result<bool> {
    work(id.clone(), "first".into()).await?;
    let new = version(&deployment) > 0 && patched("new");
    work(id.clone(), if new { "new" } else { "old" }.into()).await?;
    fails_once(id.clone()).await?;
    let later = version(&deployment) > 0 && patched("new");
    assert_eq!(new, later);
    Ok(new)
}

/// Calls `patched` behind a failure, while another branch is still running.
#[workflow]
async fn asks_behind_a_failure(id: String) -> Result<bool> {
    let first = async {
        let failed = fails_once(id.clone()).await;
        let new = patched("new");
        failed.map(|()| new)
    };
    let (first, _) = tokio::join!(first, work(id.clone(), "last".into()));
    first
}

const GATES: [&str; 12] =
    ["first", "last", "new", "old", "begin0", "begin1", "old0", "new1", "old-end0", "new-end1", "old1", "old2"];

on_each_store! {
    async fn all_rounds_of_a_loop_take_one_branch_across_evictions(place: Place) {
        let site = Deployment::new(place);
        let open = async |version| {
            VERSIONS.lock().unwrap().insert(site.name.clone(), version);
            let builder = site.place.builder(&site.lab).replay_every_turn();
            builder.evict_after(Duration::ZERO).open().await.unwrap()
        };
        let tokens = ["one", "two"].map(|name| format!("{name}/{}", site.name));
        let engine = open(0).await;
        for (id, token) in ["one", "two"].into_iter().zip(&tokens) {
            site.open_gates(id, &GATES);
            site.open_gates(id, &["new0", "new1", "new2"]);
            engine.start(in_rounds, (site.name.clone(), id.to_owned(), token.clone())).id(id).await.unwrap();
        }
        engine.resume_hook(&tokens[0], &0).await.unwrap();
        site.is_in("one", "old0").await;
        drop(engine);
        let engine = open(1).await;
        for round in 0..3 {
            for (id, token, name) in [("one", &tokens[0], "old"), ("two", &tokens[1], "new")] {
                if (id, round) != ("one", 0) {
                    engine.resume_hook(token, &round).await.unwrap();
                }
                site.is_in(id, &format!("{name}{round}")).await;
            }
        }
        let ends = [("one", 0), ("two", 3)];
        for (id, new) in ends {
            assert_eq!(soon(engine.get_run::<u32, Error>(id)).await.unwrap(), new, "{id}: {}", site.executed(id));
        }
    }

    async fn a_new_generation_takes_the_new_branch(place: Place) {
        let site = Deployment::new(place);
        let engine = site.open(0).await;
        site.open_gates("run", &["begin0", "old-end0", "begin1", "new1", "new-end1"]);
        engine.start(by_generations, (site.name.clone(), "run".to_owned(), 0)).id("run").await.unwrap();
        site.is_in("run", "old0").await;
        drop(engine);
        let engine = site.open(1).await;
        site.open_gates("run", &["old0"]);
        soon(engine.get_run::<(), Error>("run")).await.unwrap();
        assert_eq!(site.executed("run"), "begin0 old0 old0 old-end0 begin1 new1 new-end1");
    }

    async fn a_retry_and_a_fork_keep_the_answer_unless_they_begin_before_the_call(place: Place) {
        let site = Deployment::new(place);
        let engine = site.open(0).await;
        site.open_gates("run", &["first", "new"]);
        engine.start(fails_then_ends, (site.name.clone(), "run".to_owned())).id("run").await.unwrap();
        site.is_in("run", "old").await;
        drop(engine);
        let engine = site.open(1).await;
        site.open_gates("run", &["old"]);
        let run: Run<bool> = engine.get_run("run");
        assert!(soon(&run).await.unwrap_err().to_string().contains("at first"));
        run.retry().await.unwrap();
        assert!(!soon(&run).await.unwrap());
        assert_eq!(site.executed("run"), "first old old once once");

        let steps = run.steps().await.unwrap();
        let behind = run.fork(steps[2].event).await.unwrap();
        assert!(!soon(&behind).await.unwrap(), "the fork keeps the answer that it has inherited");
        let before = run.fork(steps[0].event).await.unwrap();
        assert!(soon(&before).await.unwrap(), "the fork calls `patched` for the first time");
        assert_eq!(site.executed("run"), "first old old once once once first new once");
    }

    async fn a_retry_repeats_a_failure_that_was_followed_only_by_a_patch_call(place: Place) {
        let site = Deployment::new(place);
        let engine = site.open(1).await;
        let run = engine.start(asks_behind_a_failure, "run".to_owned()).id("run").await.unwrap();
        site.is_in("run", "last").await;
        crate::support::recorded(&site.place, "run", "patch").await;
        site.open_gates("run", &["last"]);
        assert!(soon(&run).await.unwrap_err().to_string().contains("at first"));
        run.retry().await.unwrap();
        assert!(soon(&run).await.unwrap());
    }

    async fn patched_is_true_outside_a_workflow_and_in_a_step(place: Place) {
        assert!(patched("new"));
        deprecated_patch("new");
        let site = Deployment::new(place);
        let engine = site.open(1).await;
        assert!(engine.start(asks_in_a_step, ()).await.unwrap().await.unwrap());
    }

    async fn an_invalid_patch_name_is_refused(place: Place) {
        let site = Deployment::new(place);
        let engine = site.open(1).await;
        let error = engine.start(names_it_badly, ()).id("bad").await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidName, "{error:?}");
        let text = format!("{error:?}");
        assert!(text.contains("the name of a patch") && text.contains("patches.rs:"), "{text}");
        assert!(engine.get_run::<(), Error>("bad").status().await.is_err(), "the run was not started");
    }
}

#[step]
async fn asks() -> Result<bool> {
    deprecated_patch("new");
    Ok(patched("new"))
}

#[workflow]
async fn asks_in_a_step() -> Result<bool> {
    asks().await
}

#[workflow]
async fn names_it_badly() -> Result<()> {
    if patched("") {
        asks().await?;
    }
    Ok(())
}
