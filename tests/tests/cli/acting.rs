//! The commands that change runs, on SQLite and PostgreSQL.

use serde::{Deserialize, Serialize};
use workflow_runtime::{Client, Code, Engine, Error, Result, Status, hook, suspend, workflow};

use crate::support::{Place, soon};
use crate::world::{approval, asks, checkout, nap};

#[derive(Deserialize, Serialize, schemars::JsonSchema)]
struct Verdict {
    approved: bool,
    by: String,
}

workflow_runtime::payload!(Verdict);

#[workflow(id = "judges")]
async fn judges() -> Result<String> {
    let first: Verdict = hook().token("judge-1").await?;
    let second: Verdict = suspend("Do you agree?").label("second").await?;
    Ok(format!("{} {}, {} {}", first.by, first.approved, second.by, second.approved))
}

/// Defines a test for SQLite and PostgreSQL.
macro_rules! on_both {
    ($(async fn $name:ident($place:ident: Place) $body:block)*) => {
        $(mod $name {
            use super::*;

            async fn test($place: Place) $body

            case!(@ sqlite, Nothing, || workflow_harness::threads(test(Place::sqlite())));
            case!(@ postgres, Postgres, || workflow_harness::threads(test(Place::postgres())));
        })*
    };
}

async fn status(client: &Client, id: &str) -> Status {
    client.get_run::<(), Error>(id).status().await.expect("the run exists")
}

async fn reaches(client: &Client, id: &str, wanted: Status) {
    soon(async {
        while status(client, id).await != wanted {
            workflow_harness::pause().await;
        }
    })
    .await;
}

on_both! {
    async fn a_cancel_returns_before_a_worker_executes_it_and_waits_if_asked(place: Place) {
        let client = Client::connect(&place.url).await.unwrap();
        client.start(nap, ()).id("a").await.unwrap();
        client.start(nap, ()).id("b").await.unwrap();
        assert_eq!(place.run("cancel a").ok(), "a  cancel requested\n");
        assert_eq!(status(&client, "a").await, Status::Pending);
        let late = place.run("cancel b --wait --timeout 50ms");
        assert_eq!(late.code, 8, "{late:?}");
        let engine = Engine::open(&place.url).await.unwrap();
        reaches(&client, "a", Status::Cancelled).await;
        assert_eq!(place.run("result a").code, 6);
        client.start(nap, ()).id("c").await.unwrap();
        assert_eq!(place.run("cancel c --wait --reason enough").ok(), "c  cancelled\n");
        let again = place.run("cancel c");
        assert_eq!((again.code, again.out.as_str()), (3, "c  skipped: it is cancelled\n"));
        assert_eq!(place.run("cancel nobody").code, 4);
        engine.shutdown().await.unwrap();
    }

    async fn an_integer_that_would_be_changed_is_refused(place: Place) {
        let engine = Engine::open(&place.url).await.unwrap();
        engine.start(approval, "8".to_owned()).id("approval-8").await.unwrap();
        let wide = u128::MAX;
        for command in [
            format!("start checkout {wide}"),
            format!("send approve-8 {wide}"),
            format!("resume approval-8 --value {wide}"),
            format!("fork approval-8 --at 1 --input {wide}"),
        ] {
            let refused = place.run(&command);
            let says = format!("the integer {wide} cannot be held exactly");
            assert!(refused.code == 2 && refused.err.contains(&says), "{command}: {refused:?}");
        }
        assert_eq!(status(&engine, "approval-8").await, Status::Suspended);
        engine.shutdown().await.unwrap();
    }

    async fn answers_reach_hooks_and_suspensions(place: Place) {
        let engine = Engine::open(&place.url).await.unwrap();
        let approved = engine.start(approval, "7".to_owned()).id("approval-7").await.unwrap();
        assert_eq!(place.run("send approve-7 true --key k").ok(), "approve-7  accepted\n");
        assert!(soon(approved).await.unwrap());
        let asked = engine.start(asks, ()).id("asks-1").await.unwrap();
        reaches(&engine, "asks-1", Status::Suspended).await;
        assert_eq!(place.run("resume asks-1 --value false").ok(), "asks-1  resumed\n");
        assert!(!soon(asked).await.unwrap());
        assert_eq!(place.run("send approve-8 true").code, 4);
        assert_eq!(place.run("send approve-7 notjson").code, 2);
        assert_eq!(place.run_with("send approve-9 - --hold-for 1h", "true").ok(), "approve-9  accepted\n");
        let held = engine.start(approval, "9".to_owned()).await.unwrap();
        assert!(soon(held).await.unwrap());
        engine.shutdown().await.unwrap();
    }

    async fn a_payload_is_checked_against_the_schema_that_another_program_has_published(place: Place) {
        let engine = Engine::open(&place.url).await.unwrap();
        let run = engine.start(judges, ()).id("judges-1").await.unwrap();
        let refused = |ended: crate::support::Ended, what: &str, path: &str| {
            assert!(ended.code == 1 && ended.err.contains(&format!("the payload does not fit {what}")), "{ended:?}");
            assert!(ended.err.contains(path) && ended.err.contains("--unchecked"), "{ended:?}");
        };
        let wrong = place.run(r#"send judge-1 '{"approved": "yes", "by": "Ada"}'"#);
        refused(wrong, "the hook `judge-1`", "payload.approved");
        // It is accepted, and the engine leaves it unread.
        assert_eq!(place.run(r#"send judge-1 '{"approved": "yes"}' --unchecked"#).ok(), "judge-1  accepted\n");
        assert_eq!(place.run(r#"send judge-1 '{"approved": true, "by": "Ada"}'"#).ok(), "judge-1  accepted\n");
        soon(async { while run.suspended().await.unwrap().is_empty() { workflow_harness::pause().await } }).await;
        let wrong = place.run(r#"resume judges-1 --value '{"approved": false, "by": 7}'"#);
        refused(wrong, "the suspension `second`", "payload.by");
        assert_eq!(place.run(r#"resume judges-1 --value '{"approved": false, "by": "Bob"}'"#).ok(), "judges-1  resumed\n");
        assert_eq!(soon(run).await.unwrap(), "Ada true, Bob false");
        engine.shutdown().await.unwrap();
    }

    async fn runs_are_retried_forked_woken_and_deleted(place: Place) {
        let engine = Engine::open(&place.url).await.unwrap();
        let failed = engine.start(checkout, 2).id("order-2").await.unwrap();
        soon(failed).await.unwrap_err();
        let failed = place.run("result order-2");
        assert_eq!((failed.code, failed.out.as_str()), (5, ""));
        assert_eq!(place.run("retry order-2").ok(), "order-2  retried\n");
        assert_eq!(place.run("result order-2 --timeout 60s").code, 5);
        let event = place.run("steps order-2 -o ids").ok();
        let forked = place.run(&format!("fork order-2 --at {} --id fork-1", event.trim()));
        assert_eq!(forked.ok(), "fork-1\n");
        assert_eq!(place.run("result fork-1 --timeout 60s").code, 5);
        engine.start(nap, ()).id("nap-1").await.unwrap();
        reaches(&engine, "nap-1", Status::Suspended).await;
        assert_eq!(place.run("wake nap-1").ok(), "nap-1  woken\n");
        assert_eq!(place.run("result nap-1 --timeout 60s").ok(), "null\n");
        assert_eq!(place.run("delete nap-1").ok(), "nap-1  deleted\n");
        assert_eq!(place.run("show nap-1").code, 4);
        engine.shutdown().await.unwrap();
    }

    async fn the_main_commands_read(place: Place) {
        crate::world::filled(&Place { directory: tempfile::tempdir().unwrap(), url: place.url.clone() }).await;
        let failed = place.run("ls --status failed -o ids").ok();
        assert_eq!(failed, "order-3\norder-2\n");
        assert_eq!(place.run("count -o json").json()["total"], 11);
        assert_eq!(place.run("show approval-7 -o json").json()["hooks"][0]["token"], "approve-7");
        assert_eq!(place.run("events order-1 0 -o ids").ok(), "0\n");
        assert_eq!(place.run("ls --group-by error -o json").json()["groups"][0]["runs"], 2);
        assert_eq!(place.run("result order-1").ok(), "\"receipt-1\"\n");
    }
}

case!(
    #[threads]
    async fn cancelling_an_ended_run_is_reported() {
        let place = Place::sqlite();
        let engine = Engine::open(&place.url).await.unwrap();
        let run = engine.start(checkout, 1).await.unwrap();
        let result: Result<String> = soon(run.clone()).await;
        result.unwrap();
        assert!(!run.request_cancel("late").await.unwrap());
        assert_eq!(engine.get_run::<(), Error>("no").request_cancel("x").await.unwrap_err().code(), Code::RunNotFound);
        assert_eq!(run.request_cancel("x".repeat(600)).await.unwrap_err().code(), Code::Limit);
        engine.shutdown().await.unwrap();
    }
);
