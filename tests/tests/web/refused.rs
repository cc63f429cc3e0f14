//! Which requests are refused, and do nothing.

use std::sync::{Arc, Mutex};

use axum::Router;
use workflow_runtime::web::{self, Action};
use workflow_runtime::{Engine, Status};

use crate::support::{OWN, get, post, request, serve};
use crate::world::{all, deployments, filled, is, naps};

/// Each route that takes a form, with a form that is right.
const WRITES: [(&str, &str); 13] = [
    ("/act", "do=cancel&r=naps"),
    ("/act", "do=wake&r=naps"),
    ("/act", "do=retry&r=fails"),
    ("/act", "do=delete&r=fails"),
    ("/deployment", "do=drain&id=v1"),
    ("/deployment", "do=undrain&id=v1"),
    ("/deployment", "do=promote&id=v1"),
    ("/deployment", "do=release&id=v1"),
    ("/bulk", "do=cancel&r=naps"),
    ("/start", "workflow=naps&as=json&json=null"),
    ("/fork", "run=fails&at=4"),
    ("/send", "token=listens&as=json&json={\"approved\":true,\"by\":\"Ada\"}"),
    ("/resume", "run=asks&of=0.0.1&as=json&json=\"yes\""),
];

fn open(engine: &Engine) -> Router {
    web::router(engine).access(|_| true).hosts(["127.0.0.1"]).into()
}

case! {
    async fn a_write_from_another_site_or_without_an_origin_or_for_another_host_is_refused() {
        let engine = filled("text").await;
        engine.start(naps, ()).id("bound").deployment("v1").await.expect("it is started");
        let (to, before) = (serve(open(&engine)).await, (all(&engine).await, deployments(&engine).await));
        let bad: [&[(&str, &str)]; 7] = [
            &[],
            &[("Sec-Fetch-Site", "cross-site")],
            &[("Sec-Fetch-Site", "same-site")],
            &[("Sec-Fetch-Site", "none")],
            &[("Origin", "https://evil.example")],
            &[("Origin", "null")],
            &[("Sec-Fetch-Site", "cross-site"), ("Origin", &format!("http://{to}"))],
        ];
        for (path, form) in WRITES {
            for headers in bad {
                let answer = request(to, "POST", path, headers, form).await;
                assert_eq!(answer.status, 403, "{path} {headers:?}: {}", answer.body);
            }
            let wrong_host = [OWN[0], ("Host", "evil.example")];
            assert_eq!(request(to, "POST", path, &wrong_host, form).await.status, 421, "{path}");
            // A link cannot write either.
            let by_link = request(to, "GET", &format!("{path}?{form}"), &OWN, "").await;
            assert_ne!(by_link.status, 303, "{path}");
        }
        assert_eq!((all(&engine).await, deployments(&engine).await), before);
        engine.shutdown().await.unwrap();
    }
}

case! {
    async fn a_page_that_is_read_only_refuses_each_write() {
        let engine = filled("text").await;
        engine.start(naps, ()).id("bound").deployment("v1").await.expect("it is started");
        let (to, before) = (serve(web::router(&engine).into()).await, (all(&engine).await, deployments(&engine).await));
        for (path, form) in WRITES {
            let answer = post(to, path, form).await;
            assert_eq!(answer.status, 403, "{path}: {}", answer.body);
        }
        assert_eq!((all(&engine).await, deployments(&engine).await), before);
        assert!(!get(to, "/workers").await.body.contains("deployment?do="));
        let page = get(to, "/runs").await.body;
        assert!(page.contains("read only") && !page.contains("checkbox"), "{page}");
        engine.shutdown().await.unwrap();
    }
}

case! {
    async fn each_handler_that_writes_asks_whether_this_request_may() {
        let engine = filled("text").await;
        engine.start(naps, ()).id("bound").deployment("v1").await.expect("it is started");
        let before = (all(&engine).await, deployments(&engine).await);
        for (path, form) in WRITES {
            // All but this one action is permitted, so that the page is not read-only.
            let action = form.split("do=").nth(1).and_then(|rest| rest.split('&').next()).unwrap_or(&path[1..]);
            let page = web::router(&engine).access(move |access| access.action.as_str() != action);
            let to = serve(page.into()).await;
            let answer = post(to, path, form).await;
            match path {
                "/act" => assert!(answer.body.contains("0 skipped, 1 failed"), "{path} {form}: {}", answer.body),
                _ => assert_eq!(answer.status, 403, "{path} {form}: {}", answer.body),
            }
        }
        assert_eq!((all(&engine).await, deployments(&engine).await), before);
        engine.shutdown().await.unwrap();
    }
}

case! {
    async fn the_same_forms_are_accepted_from_the_page_itself() {
        let engine = filled("text").await;
        let to = serve(open(&engine)).await;
        // The id of the suspension is in the form of the page.
        let form = get(to, "/resume?run=asks").await.body;
        let of = form.split("name=\"of\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("an id");
        let resumed = post(to, "/resume", &format!("run=asks&of={of}&as=json&json=\"yes\"")).await;
        assert_eq!(resumed.status, 303, "{}", resumed.body);
        is(&engine, "asks", Status::Completed).await;
        let sent = post(to, "/send", "token=listens&v.approved=true&v.by=Ada").await;
        assert_eq!(sent.status, 303, "{}", sent.body);
        is(&engine, "listens", Status::Completed).await;
        let origin = [("Origin", format!("http://{to}"))];
        let origin: Vec<(&str, &str)> = origin.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let cancelled = request(to, "POST", "/act", &origin, "do=cancel&r=naps&reason=done").await;
        assert_eq!(cancelled.status, 303, "{}", cancelled.body);
        is(&engine, "naps", Status::Cancelled).await;
        let started = post(to, "/start", "workflow=naps&as=json&json=null&id=again").await;
        assert_eq!(started.header("location"), Some("run?id=again"), "{}", started.body);
        let deleted = post(to, "/act", "do=delete&r=fails").await;
        assert_eq!(deleted.status, 303, "{}", deleted.body);
        assert!(!all(&engine).await.iter().any(|(id, _)| id == "fails"));
        engine.shutdown().await.unwrap();
    }
}

case! {
    async fn a_deployment_is_drained_promoted_and_released_after_a_look() {
        let engine = filled("text").await;
        engine.start(naps, ()).id("bound").deployment("v1").await.expect("it is started");
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let to_log = log.clone();
        let page = web::router(&engine).access(|access| access.action != Action::Promote || access.target != Some("v1"));
        let page = page.audit(move |audit| {
            let result = if audit.error.is_some() { "refused" } else { "done" };
            to_log.lock().unwrap().push(format!("{} {} {result}", audit.action.as_str(), audit.target));
        });
        let to = serve(page.into()).await;
        let list = get(to, "/workers").await.body;
        assert!(list.contains("deployment?do=drain&amp;id=v1") && !list.contains("do=promote"), "{list}");
        let look = get(to, "/deployment?do=drain&id=v1").await.body;
        assert!(look.contains("1 live worker") && look.contains("1 run") && look.contains("drain v1"), "{look}");
        assert_eq!(deployments(&engine).await, [("v1".to_owned(), false, false, 1)], "it was a look");
        assert_eq!(post(to, "/deployment", "do=drain&id=v1").await.header("location"), Some("workers"));
        assert_eq!(deployments(&engine).await, [("v1".to_owned(), true, false, 1)]);
        assert!(get(to, "/deployment?do=drain&id=v1").await.body.contains("There is nothing to do"));
        assert_eq!(post(to, "/deployment", "do=undrain&id=v1").await.status, 303);
        assert_eq!(get(to, "/deployment?do=promote&id=v1").await.status, 403);
        assert_eq!(post(to, "/deployment", "do=promote&id=v1").await.status, 403);
        let released = post(to, "/deployment", "do=release&id=v1").await;
        assert!(released.status == 200 && released.body.contains("1 run of <code>v1</code> released"), "{}", released.body);
        assert_eq!(deployments(&engine).await, [("v1".to_owned(), false, false, 0)]);
        let unknown = post(to, "/deployment", "do=drain&id=v2").await;
        assert!(unknown.status == 404 && unknown.body.contains("there is no deployment `v2`"), "{}", unknown.body);
        assert_eq!(get(to, "/deployment?do=drain&id=v2").await.status, 404);
        let expected = ["drain v1 done", "undrain v1 done", "promote v1 refused", "release v1 done", "drain v2 refused"];
        assert_eq!(*log.lock().unwrap(), expected);
        engine.shutdown().await.unwrap();
    }
}

case! {
    async fn each_action_is_permitted_by_itself_and_reported() {
        let engine = filled("text").await;
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let to_log = log.clone();
        let page = web::router(&engine)
            .access(|access| match access.action {
                Action::List => access.header("x-user") == Some("ada"),
                Action::Wake => access.target != Some("retries"),
                _ => false,
            })
            .audit(move |audit| {
                let result = if audit.error.is_some() { "refused" } else { "done" };
                to_log.lock().unwrap().push(format!("{} {} {result}", audit.action.as_str(), audit.target));
            });
        let to = serve(page.into()).await;
        assert_eq!(get(to, "/runs").await.status, 403);
        assert_eq!(get(to, "/live").await.status, 403);
        let ada = [OWN[0], ("x-user", "ada")];
        assert_eq!(request(to, "GET", "/runs", &ada, "").await.status, 200);
        let done = request(to, "POST", "/act", &ada, "do=wake&r=naps&r=retries").await;
        assert!(done.status == 200 && done.body.contains("1 woken, 0 skipped, 1 failed"), "{}", done.body);
        request(to, "POST", "/act", &ada, "do=cancel&r=asks").await;
        assert_eq!(*log.lock().unwrap(), ["wake naps done", "wake retries refused", "cancel asks refused"]);
        is(&engine, "naps", Status::Completed).await;
        // Payloads may not be seen, in the form for a run like this one either.
        let form = request(to, "GET", "/people", &ada, "").await.body;
        assert!(form.contains("Payloads are hidden here"), "{form}");
        engine.shutdown().await.unwrap();
    }
}

case! {
    async fn a_form_that_is_too_large_is_refused() {
        let engine = filled("text").await;
        let to = serve(web::router(&engine).access(|_| true).body_limit(1_000).into()).await;
        let form = format!("workflow=naps&as=json&json={}", "1".repeat(2_000));
        assert_eq!(post(to, "/start", &form).await.status, 413);
        engine.shutdown().await.unwrap();
    }
}
