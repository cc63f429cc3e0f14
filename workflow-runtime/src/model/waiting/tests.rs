use std::time::{Duration, UNIX_EPOCH};

use serde_json::json;

use super::*;

fn noon() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_796_040_247_250)
}

fn retrying(name: Option<&str>, most: Option<u32>) -> Waiting {
    Waiting::Retrying {
        step: "charge".into(),
        name: name.map(str::to_owned),
        operation: 2,
        attempt: 3,
        attempts_max: most,
        error: "card declined".into(),
        next_at: noon(),
        run: None,
    }
}

fn executing(run: Option<&str>) -> Waiting {
    attempting(1, None, run)
}

fn attempting(attempt: u32, most: Option<u32>, run: Option<&str>) -> Waiting {
    Waiting::Executing {
        step: "charge".into(),
        name: None,
        operation: 2,
        attempt,
        attempts_max: most,
        dispatched_at: noon(),
        run: run.map(str::to_owned),
    }
}

fn each() -> Vec<(Waiting, &'static str)> {
    let id = || "order-1".to_owned();
    let child = |status| Waiting::Child { run: id(), workflow: "shop::pay".into(), status };
    let no_worker =
        |deployment: Option<&str>| Waiting::NoWorker { workflow: "pay".into(), deployment: deployment.map(Into::into) };
    vec![
        (
            Waiting::Stuck {
                code: "nondeterminism".into(),
                error: "expected step `ship`, found a sleep".into(),
                details: "expected step `ship`, found a sleep\n  help: restore it".into(),
            },
            "stuck: expected step `ship`, found a sleep",
        ),
        (no_worker(None), "no live worker has the workflow `pay`"),
        (no_worker(Some("v7")), "no live worker of the deployment `v7` has the workflow `pay`"),
        (
            Waiting::OtherWorkerExecutes {
                workflow: "pay".into(),
                executes: 17,
                deployment: None,
                candidates: vec![4, 5],
            },
            "process 17 executes and does not have the workflow `pay`; process 4, 5 has it and does not execute",
        ),
        (
            Waiting::OtherWorkerExecutes {
                workflow: "pay".into(),
                executes: 17,
                deployment: Some("v7".into()),
                candidates: vec![4],
            },
            "process 17 of the deployment `v7` executes and does not have the workflow `pay`; process 4 has it and does not \
             execute",
        ),
        (
            Waiting::StoreReplaced { process: 17 },
            "process 17 holds the lock of the database and has another file open, which this one has replaced",
        ),
        (Waiting::NotBegun, "created, and not started yet"),
        (Waiting::Delayed { until: noon() }, "not begun: it begins at 2026-11-30 12:04:07 UTC"),
        (Waiting::Due, "due: a worker has yet to take its next turn"),
        (executing(None), "executing step `charge` (attempt 1), dispatched at 2026-11-30 12:04:07 UTC"),
        (
            executing(Some("r-2")),
            "executing step `charge` (attempt 1), dispatched at 2026-11-30 12:04:07 UTC, by the run `r-2`",
        ),
        (
            attempting(2, Some(4), None),
            "executing step `charge` (attempt 2 of 4), dispatched at 2026-11-30 12:04:07 UTC",
        ),
        (retrying(None, None), "retrying step `charge` (attempt 3) at 2026-11-30 12:04:07 UTC: card declined"),
        (
            retrying(Some("visa"), Some(5)),
            "retrying step `charge` (visa) (attempt 3 of 5) at 2026-11-30 12:04:07 UTC: card declined",
        ),
        (
            Waiting::Queued { queue: "gpu".into(), step: "draw".into(), run: id() },
            "step `draw` waits for a free place in the queue `gpu`",
        ),
        (
            Waiting::QueueNotServed { queue: "gpu".into(), step: "draw".into(), run: id() },
            "no live worker serves the queue `gpu` of step `draw`",
        ),
        (
            child(Some(Status::Suspended)),
            "waiting for the child run `order-1` of the workflow `shop::pay`, which is suspended",
        ),
        (child(None), "waiting for the child run `order-1` of the workflow `shop::pay`, which does not exist"),
        (
            Waiting::Run { run: id(), status: Some(Status::Pending) },
            "waiting for the run `order-1`, which has not begun",
        ),
        (Waiting::Cycle { runs: vec!["a".into(), "b".into()] }, "runs wait for each other: `a` for `b` for `a`"),
        (
            Waiting::Hook { token: "approval".into(), metadata: Some(json!({ "by": "Ada" })), since: Some(noon()) },
            "waiting for a payload for the hook `approval`",
        ),
        (Waiting::Suspended { label: "ask".into(), step: None, run: None, since: None }, "suspended as `ask`"),
        (
            Waiting::Suspended { label: "ask".into(), step: Some("agent".into()), run: None, since: Some(noon()) },
            "step `agent` is suspended as `ask`",
        ),
        (Waiting::Timer { until: noon() }, "waiting until 2026-11-30 12:04:07 UTC"),
        (
            Waiting::BeforeRollback { to: Status::Cancelled, waits_for: Box::new(executing(None)) },
            "waits before rolling back after a cancel: executing step `charge` (attempt 1), dispatched at 2026-11-30 12:04:07 \
             UTC",
        ),
        (
            Waiting::RollingBack { to: Status::Failed, waits_for: Box::new(executing(None)) },
            "rolling back after a failure: executing step `charge` (attempt 1), dispatched at 2026-11-30 12:04:07 UTC",
        ),
        (Waiting::Ended { status: Status::Completed }, "ended: completed"),
    ]
}

#[test]
fn each_reason_is_a_sentence_and_json_that_is_read_again() {
    for (waiting, sentence) in each() {
        assert_eq!(waiting.to_string(), sentence);
        let json = serde_json::to_value(&waiting).unwrap();
        assert!(json["reason"].is_string(), "{json}");
        assert_eq!(serde_json::from_value::<Waiting>(json).unwrap(), waiting);
    }
}

#[test]
fn the_json_of_a_reason_does_not_change() {
    let json = json!({
        "reason": "retrying", "step": "charge", "name": null, "operation": 2, "attempt": 3, "attempts_max": 5,
        "error": "card declined", "next_at": "2026-11-30T12:04:07.250Z", "run": null,
    });
    assert_eq!(serde_json::to_value(retrying(None, Some(5))).unwrap(), json);
    let json = json!({
        "reason": "suspended", "label": "ask", "step": null, "run": null, "since": "2026-11-30T12:04:07.250Z",
    });
    let asks = |since| Waiting::Suspended { label: "ask".into(), step: None, run: None, since };
    assert_eq!(serde_json::to_value(asks(Some(noon()))).unwrap(), json);
    let earlier = json!({ "reason": "suspended", "label": "ask", "step": null, "run": null });
    assert_eq!(serde_json::from_value::<Waiting>(earlier).unwrap(), asks(None), "of a version without the time");
    let json = json!({ "reason": "child", "run": "a", "workflow": "w", "status": "suspended" });
    let child = Waiting::Child { run: "a".into(), workflow: "w".into(), status: Some(Status::Suspended) };
    assert_eq!(serde_json::to_value(child).unwrap(), json);
}

#[test]
fn a_reason_of_a_later_version_is_read() {
    let later = json!({ "reason": "limit", "name": "openai", "position": 17 });
    assert_eq!(serde_json::from_value::<Waiting>(later).unwrap(), Waiting::Unknown);
}

#[test]
fn texts_of_users_cannot_change_a_terminal() {
    let hook = Waiting::Hook { token: "\u{1b}[2J\nstuck".into(), metadata: None, since: None };
    assert!(!hook.to_string().contains(char::is_control), "{hook}");
}
