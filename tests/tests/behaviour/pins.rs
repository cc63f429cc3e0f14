//! Runs that are bound to a deployment.

use std::time::Duration;

use workflow_runtime::{
    Client, Code, Deployment, Engine, Error, IfExists, Result, Status, Waiting, hook, step, workflow,
};

use crate::support::{Lab, Place, soon};

#[step(id = "pins.note")]
async fn note(#[resource] lab: &Lab, name: String) -> Result<()> {
    lab.note(&name);
    Ok(())
}

#[workflow(id = "pins.plain")]
async fn plain(name: String) -> Result<()> {
    note(name).await
}

#[workflow(id = "pins.bound", pinned)]
async fn bound(name: String) -> Result<()> {
    hook::<()>().token(&name).await?;
    note(name).await
}

#[workflow(id = "pins.parent")]
async fn parent(name: String) -> Result<()> {
    plain(format!("{name} plain")).id(format!("{name} plain")).await?;
    bound(format!("{name} bound")).id(format!("{name} bound")).await
}

#[workflow(id = "pins.again", pinned)]
async fn again(left: u32) -> Result<()> {
    note(format!("{left} left")).await?;
    match left {
        0 => {
            hook::<()>().token("again").await?;
            Ok(())
        }
        _ => again(left - 1).continue_as_new().await,
    }
}

/// Each generation names the deployment of the next one: a word, an id, or nothing.
#[workflow(id = "pins.moves", pinned)]
async fn moves(mut to: Vec<String>) -> Result<()> {
    hook::<()>().token(format!("move {}", to.len())).await?;
    if to.is_empty() {
        return Ok(());
    }
    let next = to.remove(0);
    let call = moves(to).continue_as_new();
    match next.as_str() {
        "" => call.await,
        "any" => call.deployment(Deployment::Any).await,
        "current" => call.deployment(Deployment::Current).await,
        "latest" => call.deployment(Deployment::Latest).await,
        id => call.deployment(id).await,
    }
}

/// Continues in its first turn, which a start executes.
#[workflow(id = "pins.moves-at-once")]
async fn moves_at_once(to: String) -> Result<()> {
    match to.as_str() {
        "" => hook::<()>().token("moved").await,
        _ => moves_at_once(String::new()).continue_as_new().deployment(to).await,
    }
}

#[step(id = "pins.queued", queue = "pins")]
async fn queued(#[resource] lab: &Lab, name: String) -> Result<()> {
    lab.note(&name);
    Ok(())
}

#[workflow(id = "pins.queues", pinned)]
async fn queues(name: String) -> Result<()> {
    queued(name).await
}

async fn open(place: &Place, lab: &Lab, deployment: &str) -> Engine {
    place.builder(lab).deployment(deployment).evict_after(Duration::ZERO).open().await.unwrap()
}

async fn required(place: &Place, id: &str) -> Option<String> {
    let row = place.store().run(id).await.unwrap().unwrap();
    row.required_deployment.map(|deployment| deployment.to_string())
}

async fn client(place: &Place) -> Client {
    Engine::builder().store(place.store()).connect().await.unwrap()
}

fn run(client: &Client, id: &str) -> workflow_runtime::Run<(), Error> {
    client.get_run(id)
}

/// Resumes a hook as soon as it is there.
async fn resume(client: &Client, token: &str) {
    soon(async {
        while client.resume_hook(token, &()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

async fn generation(client: &Client, id: &str, generation: u64) {
    soon(async {
        while run(client, id).info().await.unwrap().generation < generation {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

async fn waits_for(client: &Client, id: &str, deployment: &str) {
    soon(async {
        loop {
            let reason = run(client, id).waiting().await.unwrap().into_iter().next();
            if matches!(&reason, Some(Waiting::NoWorker { deployment: Some(it), .. }) if it == deployment) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

on_each_store! {
    async fn a_run_of_a_pinned_workflow_waits_for_its_deployment_until_it_is_released(place: Place) {
        let (lab, client) = (Lab::new(), client(&place).await);
        let one = open(&place, &lab, "v1").await;
        for id in ["a", "b"] {
            one.start(bound, id.to_owned()).id(id).await.unwrap();
            assert_eq!(required(&place, id).await.as_deref(), Some("v1"));
        }
        one.shutdown().await.unwrap();
        let two = open(&place, &lab, "v2").await;
        for id in ["a", "b"] {
            client.resume_hook(id, &()).await.unwrap();
            waits_for(&client, id, "v1").await;
        }
        let listed = client.deployments().await.unwrap().into_iter().find(|it| it.id == "v1").unwrap();
        assert_eq!((listed.workers, listed.runs), (0, 2));
        // What another deployment claims meanwhile is not theirs.
        soon(two.start(plain, "other".to_owned()).await.unwrap()).await.unwrap();
        assert_eq!(lab.notes(), ["other"]);
        assert!(client.release_run("a").await.unwrap());
        assert!(!client.release_run("a").await.unwrap());
        soon(run(&client, "a")).await.unwrap();
        assert_eq!(run(&client, "b").status().await.unwrap(), Status::Suspended);
        assert_eq!((client.release("v1").await.unwrap(), client.release("v1").await.unwrap()), (1, 0));
        soon(run(&client, "b")).await.unwrap();
        two.shutdown().await.unwrap();
    }

    async fn the_latest_deployment_is_determined_once(place: Place) {
        let (lab, client) = (Lab::new(), client(&place).await);
        let start = async |id: &str| client.start(bound, id.to_owned()).id(id).deployment(Deployment::Latest).await;
        assert_eq!(start("none").await.unwrap_err().code(), Code::DeploymentNotFound);
        let one = open(&place, &lab, "v1").await;
        start("a").await.unwrap();
        assert_eq!(required(&place, "a").await.as_deref(), Some("v1"));
        one.shutdown().await.unwrap();
        let two = open(&place, &lab, "v2").await;
        // The same run, although its deployment is gone and another one is the latest.
        assert_eq!(start("a").await.unwrap().id(), "a");
        start("b").await.unwrap();
        assert_eq!((required(&place, "a").await.as_deref(), required(&place, "b").await.as_deref()), (Some("v1"), Some("v2")));
        client.drain("v2").await.unwrap();
        assert_eq!(start("c").await.unwrap_err().code(), Code::DeploymentNotFound);
        client.undrain("v2").await.unwrap();
        start("c").await.unwrap();
        two.shutdown().await.unwrap();
    }

    async fn a_start_for_another_deployment_is_left_to_it(place: Place) {
        let (lab, client) = (Lab::new(), client(&place).await);
        let one = open(&place, &lab, "v1").await;
        let start = |id: &str| one.start(plain, id.to_owned()).id(id).deployment("v2");
        let refused = start("a").await.unwrap_err();
        assert_eq!(refused.code(), Code::DeploymentNotFound);
        assert!(format!("{refused:?}").contains("live deployments: `v1`"), "{refused:?}");
        assert_eq!(run(&client, "a").info().await.unwrap_err().code(), Code::RunNotFound, "nothing was written");
        start("a").wait_for_deployment().await.unwrap();
        waits_for(&client, "a", "v2").await;
        soon(one.start(plain, "other".to_owned()).await.unwrap()).await.unwrap();
        assert_eq!((lab.notes(), run(&client, "a").status().await.unwrap()), (vec!["other".to_owned()], Status::Pending));
        one.shutdown().await.unwrap();
        let two = open(&place, &lab, "v2").await;
        soon(run(&client, "a")).await.unwrap();
        two.shutdown().await.unwrap();
    }

    async fn the_current_deployment_of_a_client_must_have_a_worker(place: Place) {
        let (lab, client) = (Lab::new(), client(&place).await);
        let one = open(&place, &lab, "v1").await;
        let start = || client.start(bound, "a".to_owned()).id("a");
        let refused = start().await.unwrap_err();
        assert_eq!(refused.code(), Code::DeploymentNotFound);
        assert!(format!("{refused:?}").contains("WORKFLOW_DEPLOYMENT"), "{refused:?}");
        let same = Engine::builder().store(place.store()).deployment("v1").connect().await.unwrap();
        same.start(bound, "a".to_owned()).id("a").await.unwrap();
        assert_eq!(required(&place, "a").await.as_deref(), Some("v1"));
        // A run that exists is found first.
        start().await.unwrap();
        same.start(bound, "b".to_owned()).id("b").deployment(Deployment::Any).await.unwrap();
        assert_eq!(required(&place, "b").await, None);
        one.shutdown().await.unwrap();
    }

    async fn a_drained_deployment_takes_only_runs_that_are_bound_to_it(place: Place) {
        let (lab, client) = (Lab::new(), client(&place).await);
        let one = open(&place, &lab, "v1").await;
        assert_eq!(client.drain("v0").await.unwrap_err().code(), Code::DeploymentNotFound);
        one.drain("v1").await.unwrap();
        assert!(client.workers().await.unwrap()[0].is_draining);
        client.start(plain, "any".to_owned()).id("any").await.unwrap();
        soon(client.start(plain, "bound".to_owned()).deployment("v1").await.unwrap()).await.unwrap();
        assert_eq!(lab.notes(), ["bound"]);
        let reasons = run(&client, "any").waiting().await.unwrap();
        assert!(matches!(&reasons[0], Waiting::NoWorker { deployment: None, .. }), "{reasons:?}");
        one.shutdown().await.unwrap();
        // It is still drained when it is opened again.
        let one = open(&place, &lab, "v1").await;
        soon(client.start(plain, "again".to_owned()).deployment("v1").await.unwrap()).await.unwrap();
        assert_eq!(lab.notes(), ["bound", "again"]);
        client.undrain("v1").await.unwrap();
        soon(run(&client, "any")).await.unwrap();
        one.shutdown().await.unwrap();
    }

    async fn children_and_continuations_keep_what_they_are_bound_to(place: Place) {
        let (lab, client) = (Lab::new(), client(&place).await);
        let one = open(&place, &lab, "v1").await;
        one.start(parent, "p".to_owned()).id("p").deployment("v1").await.unwrap();
        one.start(again, 2).id("again").await.unwrap();
        for token in ["p bound", "again"] {
            resume(&client, token).await;
        }
        for (id, expected) in [("p", Some("v1")), ("p plain", None), ("p bound", Some("v1")), ("again", Some("v1"))] {
            assert_eq!(required(&place, id).await.as_deref(), expected, "{id}");
        }
        let ended = run(&client, "p");
        soon(&ended).await.unwrap();
        let fork = ended.fork(0).id("fork").await.unwrap();
        assert_eq!(required(&place, fork.id()).await, None);
        let fork = ended.fork(0).id("bound fork").deployment(Deployment::Latest).await.unwrap();
        assert_eq!(required(&place, fork.id()).await.as_deref(), Some("v1"));
        one.shutdown().await.unwrap();
    }
}

on_each_store! {
    async fn a_run_that_continues_as_new_may_name_another_deployment(place: Place) {
        let (lab, client) = (Lab::new(), client(&place).await);
        let one = open(&place, &lab, "v1").await;
        let steps = [("any", None), ("", None), ("current", Some("v1")), ("", Some("v1")), ("any", None), ("latest", Some("v1")), ("v2", Some("v2"))];
        one.start(moves, steps.iter().map(|(to, _)| (*to).to_owned()).collect()).id("r").await.unwrap();
        assert_eq!(required(&place, "r").await.as_deref(), Some("v1"));
        for (done, (to, expected)) in steps.into_iter().enumerate() {
            resume(&client, &format!("move {}", steps.len() - done)).await;
            generation(&client, "r", done as u64 + 1).await;
            assert_eq!(required(&place, "r").await.as_deref(), expected, "{done} {to}");
        }
        waits_for(&client, "r", "v2").await;
        one.shutdown().await.unwrap();
        let two = open(&place, &lab, "v2").await;
        resume(&client, "move 0").await;
        soon(run(&client, "r")).await.unwrap();
        two.shutdown().await.unwrap();
    }

    async fn a_run_that_continues_as_new_stays_bound_if_no_deployment_is_the_latest(place: Place) {
        let (lab, client) = (Lab::new(), client(&place).await);
        let one = open(&place, &lab, "v1").await;
        one.start(moves, vec!["latest".to_owned()]).id("r").await.unwrap();
        client.drain("v1").await.unwrap();
        resume(&client, "move 1").await;
        generation(&client, "r", 1).await;
        assert_eq!(required(&place, "r").await.as_deref(), Some("v1"));
        resume(&client, "move 0").await;
        soon(run(&client, "r")).await.unwrap();
        one.shutdown().await.unwrap();
    }

    async fn the_first_turn_may_name_another_deployment_and_no_id_that_none_can_have(place: Place) {
        let (lab, client) = (Lab::new(), client(&place).await);
        let one = open(&place, &lab, "v1").await;
        one.start(moves_at_once, "v2".to_owned()).id("r").await.unwrap();
        generation(&client, "r", 1).await;
        assert_eq!(required(&place, "r").await.as_deref(), Some("v2"));
        waits_for(&client, "r", "v2").await;
        let refused = soon(one.start(moves_at_once, "a\nb".to_owned()).await.unwrap()).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidName);
        one.shutdown().await.unwrap();
    }

    async fn steps_of_queues_are_bound_to_no_deployment(place: Place) {
        let (lab, client) = (Lab::new(), client(&place).await);
        let one = open(&place, &lab, "v1").await;
        one.start(queues, "queued".to_owned()).id("r").await.unwrap();
        let call = soon(async {
            loop {
                if let Some(call) = run(&client, "r").children().await.unwrap().pop() {
                    return call;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        assert_eq!((required(&place, "r").await.as_deref(), required(&place, &call).await), (Some("v1"), None));
        one.shutdown().await.unwrap();
        let two = place.builder(&lab).deployment("v2").queue("pins", 1).open().await.unwrap();
        soon(lab.executed("queued", 1)).await;
        waits_for(&client, "r", "v1").await;
        two.shutdown().await.unwrap();
        let one = open(&place, &lab, "v1").await;
        soon(run(&client, "r")).await.unwrap();
        one.shutdown().await.unwrap();
    }
}

case! {
    #[postgres]
    async fn the_promoted_deployment_is_the_latest() {
        let (place, lab) = (Place::postgres(), Lab::new());
        let client = client(&place).await;
        let (one, two) = (open(&place, &lab, "v1").await, open(&place, &lab, "v2").await);
        let latest = async |id: &str| {
            let start = client.start(plain, id.to_owned()).id(id).deployment(Deployment::Latest);
            soon(start.if_exists(IfExists::Reject).await.unwrap()).await.unwrap();
            required(&place, id).await.unwrap()
        };
        assert_eq!(latest("a").await, "v2");
        client.promote("v1").await.unwrap();
        assert_eq!(latest("b").await, "v1");
        // Another worker of the old deployment does not make it the latest one.
        client.promote("v2").await.unwrap();
        let three = open(&place, &lab, "v1").await;
        assert_eq!(latest("c").await, "v2");
        client.drain("v2").await.unwrap();
        assert_eq!(latest("d").await, "v1");
        for engine in [one, two, three] {
            engine.shutdown().await.unwrap();
        }
    }
}
