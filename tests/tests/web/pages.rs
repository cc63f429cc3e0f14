//! What pages show.

use workflow_runtime::{Status, web};

use crate::support::{get, post, serve};
use crate::world::{HOSTILE, all, approves, filled, is, naps};

pub const PAGES: [&str; 25] = [
    "/overview",
    "/runs",
    "/runs?view=running",
    "/runs?view=failing",
    "/runs?view=waiting",
    "/runs?view=stuck",
    "/runs?view=failed",
    "/runs?view=completed",
    "/runs?group=error",
    "/runs?view=failing&group=error",
    "/runs?group=workflow",
    "/runs?group=status",
    "/run?id=fails",
    "/run?id=retries",
    "/run?id=asks",
    "/people",
    "/workflows",
    "/workers",
    "/keys",
    "/bulk?do=cancel&r=naps",
    "/bulk?all=1&view=waiting&do=cancel",
    "/fork?run=fails",
    "/start?like=fails",
    "/send?token=listens",
    "/deployment?do=drain&id=v1",
];

/// Encodes a text for an address.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// No markup of a user, and no character that changes how others are shown.
fn is_inert(page: &str, path: &str) {
    for bad in ["<script>alert", "<img", "onerror=alert(2)>'\"", "javascript:"] {
        assert!(!page.contains(bad), "{path} has {bad}: {page}");
    }
    let control = page.chars().find(|letter| (letter.is_control() && *letter != '\n') || *letter == '\u{202e}');
    assert_eq!(control, None, "{path}");
    for inline in [" style=", "<style", " onclick=", "<script>"] {
        assert!(!page.contains(inline), "{path} has {inline}");
    }
}

case! {
    async fn markup_and_control_characters_are_inert_on_each_page() {
        let engine = filled(HOSTILE).await;
        // Ids without control characters are permitted, whatever else they have.
        let hostile_id = "<script>alert(1)</script>\"'&?/#%";
        engine.start(naps, ()).id(hostile_id).attribute("<img src=x>", HOSTILE).await.expect("it is started");
        let to = serve(web::router(&engine).access(|_| true).name(HOSTILE).into()).await;
        for path in PAGES {
            let answer = get(to, path).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.body);
            is_inert(&answer.body, path);
            let policy = answer.header("content-security-policy").unwrap_or_default();
            assert!(policy.contains("default-src 'self'") && policy.contains("frame-ancestors 'none'"), "{policy}");
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
        }
        let shown = get(to, "/run?id=fails").await.body;
        assert!(shown.contains("&lt;script&gt;alert(1)"), "{shown}");
        for path in ["run?id", "runs?workflow", "runs?attribute", "runs?contains", "runs?class", "send?token", "start?workflow"] {
            let path = format!("/{path}={}", encoded(HOSTILE));
            is_inert(&get(to, &path).await.body, &path);
        }
        let page = get(to, "/runs").await.body;
        let run = format!("/run?id={}", encoded(hostile_id));
        assert!(page.contains("run?id=%3Cscript%3Ealert") && get(to, &run).await.status == 200, "{page}");
        // The value of its box is the id, whatever the browser does with control characters.
        let form = format!("do=cancel&r={}", encoded(&encoded(hostile_id)));
        let done = post(to, "/act", &form).await;
        assert_eq!(done.status, 303, "{}", done.body);
        is(&engine, hostile_id, Status::Cancelled).await;
        engine.shutdown().await.unwrap();
    }
}

case! {
    async fn a_filter_is_counted_and_then_acted_on_once() {
        let engine = filled("text").await;
        for number in 0..60 {
            engine.start(naps, ()).id(format!("nap-{number}")).attribute("shop", "ulm").await.expect("it is started");
        }
        is(&engine, "nap-59", Status::Suspended).await;
        let to = serve(web::router(&engine).access(|_| true).into()).await;
        let first = get(to, "/runs?attribute=shop%3Dulm").await.body;
        assert_eq!(first.matches("data-row=").count(), 50, "{first}");
        let after = first.split("after=").nth(1).and_then(|rest| rest.split(['"', '&']).next()).expect("a next page");
        let second = get(to, &format!("/runs?attribute=shop%3Dulm&after={after}")).await.body;
        assert_eq!(second.matches("data-row=").count(), 10, "{second}");
        let plan = get(to, "/bulk?all=1&attribute=shop%3Dulm&do=cancel").await.body;
        assert!(plan.contains("Cancel 60 runs?") && plan.contains("--attribute shop=ulm"), "{plan}");
        assert!(all(&engine).await.iter().all(|(_, status)| *status != Status::Cancelled), "it was a dry run");
        // Runs that are created after the look do not belong to it.
        let before = plan.split("name=\"before\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a time");
        let later = engine.start(naps, ()).id("later").attribute("shop", "ulm").await.expect("it is started");
        let millis = |time: std::time::SystemTime| time.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
        let created = millis(later.info().await.unwrap().created_at);
        let done = post(to, "/act", &format!("all=1&attribute=shop%3Dulm&do=cancel&before={before}")).await;
        assert!(done.body.contains("60 cancel requested"), "{}", done.body);
        assert!(created >= before.parse().unwrap());
        is(&engine, "nap-0", Status::Cancelled).await;
        is(&engine, "later", Status::Suspended).await;
        // Deleting all that match needs their number.
        let form = "all=1&attribute=shop%3Dulm&status=cancelled&do=delete&expected=60";
        assert_eq!(post(to, "/act", &format!("{form}&count=6")).await.status, 400);
        assert_eq!(post(to, "/act", form).await.status, 400);
        engine.shutdown().await.unwrap();
    }
}

case! {
    async fn a_wrong_answer_is_shown_again_with_what_is_wrong() {
        let engine = filled("text").await;
        let to = serve(web::router(&engine).access(|_| true).into()).await;
        let wrong = post(to, "/send", "token=listens&v.approved=&v.by=Eve").await;
        assert_eq!(wrong.status, 422);
        assert!(wrong.body.contains("it must not be empty") && wrong.body.contains("value=\"Eve\""), "{}", wrong.body);
        let wrong = post(to, "/send", "token=listens&as=json&json=%7B%22approved%22%3A1%7D").await;
        assert_eq!(wrong.status, 422, "{}", wrong.body);
        let wrong = post(to, "/start", "workflow=breaks&as=json&json=%7B").await;
        assert!(wrong.status == 422 && wrong.body.contains("it is no JSON"), "{}", wrong.body);
        is(&engine, "listens", Status::Suspended).await;
        engine.shutdown().await.unwrap();
    }
}

case! {
    async fn an_integer_that_would_be_changed_is_refused() {
        let engine = filled("text").await;
        let to = serve(web::router(&engine).access(|_| true).into()).await;
        let wide = u128::MAX.to_string();
        for (path, form) in [
            ("/start", format!("workflow=breaks&as=json&json=[{wide}]")),
            ("/send", format!("token=listens&as=json&json={{\"approved\":true,\"by\":\"Ada\",\"n\":{wide}}}")),
            ("/resume", format!("run=asks&of=0.0.1&as=json&json={wide}")),
            ("/fork", format!("run=fails&at=4&input={wide}")),
        ] {
            let refused = post(to, path, &form).await;
            let says = format!("the integer {wide} cannot be held exactly");
            assert!([200, 422].contains(&refused.status) && refused.body.contains(&says), "{path}: {}", refused.body);
        }
        is(&engine, "listens", Status::Suspended).await;
        is(&engine, "asks", Status::Suspended).await;
        engine.shutdown().await.unwrap();
    }
}

case! {
    async fn a_suspension_is_answered_by_the_fields_of_its_type() {
        let engine = filled("text").await;
        engine.start(approves, "Ship it?".to_owned()).id("approves").await.expect("it is started");
        is(&engine, "approves", Status::Suspended).await;
        let to = serve(web::router(&engine).access(|_| true).into()).await;
        let form = get(to, "/resume?run=approves").await.body;
        assert!(form.contains("name=\"v.approved\"") && form.contains("name=\"v.by\""), "{form}");
        assert!(get(to, "/people").await.body.matches("name=\"v.by\"").count() == 2, "that of the hook, and this one");
        let of = form.split("name=\"of\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("an id");
        let wrong = post(to, "/resume", &format!("run=approves&of={of}&v.approved=&v.by=Eve")).await;
        assert_eq!(wrong.status, 422);
        assert!(wrong.body.contains("it must not be empty") && wrong.body.contains("value=\"Eve\""), "{}", wrong.body);
        let wrong = post(to, "/resume", &format!("run=approves&of={of}&as=json&json=7")).await;
        assert_eq!(wrong.status, 422, "{}", wrong.body);
        is(&engine, "approves", Status::Suspended).await;
        let right = post(to, "/resume", &format!("run=approves&of={of}&v.approved=true&v.by=Ada")).await;
        assert_eq!(right.status, 303, "{}", right.body);
        is(&engine, "approves", Status::Completed).await;
        engine.shutdown().await.unwrap();
    }
}

case! {
    async fn the_workflows_have_the_durations_of_their_newest_runs() {
        let engine = filled("text").await;
        let to = serve(web::router(&engine).into()).await;
        let page = get(to, "/workflows").await.body;
        let row = |id: &str| page.split("data-row=").find(|row| row.starts_with(&format!("\"{id}\""))).expect("a row").to_owned();
        let breaks = row("breaks");
        assert_eq!(breaks.matches("of the newest 1 that have ended").count(), 2, "{breaks}");
        assert!(!row("naps").contains("that have ended"), "it has not ended");
        engine.shutdown().await.unwrap();
    }
}

case! {
    async fn payloads_are_hidden_decoded_and_cut() {
        let long = format!("secret{}", "x".repeat(100_000));
        let engine = filled(&long).await;
        let shown = serve(web::router(&engine).into()).await;
        let page = get(shown, "/people").await.body;
        assert!(page.contains("secretxxx") && page.contains("The first 64.0 KiB of 97.7 KiB"), "{page}");
        let hidden = serve(web::router(&engine).access(|_| true).hide_payloads().into()).await;
        let decoded = serve(web::router(&engine).access(|_| true).decode_payloads(|_| "decoded".into()).into()).await;
        for path in ["/people", "/start?like=asks", "/fork?run=fails", "/resume?run=asks"] {
            for to in [hidden, decoded] {
                let page = get(to, path).await.body;
                assert!(!page.contains("secretxxx"), "{path}: {page}");
            }
        }
        assert!(get(decoded, "/people").await.body.contains("decoded"));
        engine.shutdown().await.unwrap();
    }
}
