//! What pages show.

use workflow_runtime::{Error, Status, Waiting, web};

use crate::support::{get, post, serve, soon};
use crate::world::{HOSTILE, all, approves, family, filled, is, naps};

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
        let before = before.parse::<u128>().expect("a time");
        let millis = |time: std::time::SystemTime| time.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
        soon(async { while millis(std::time::SystemTime::now()) <= before { workflow_harness::pause().await } }).await;
        let later = engine.start(naps, ()).id("later").attribute("shop", "ulm").await.expect("it is started");
        let created = millis(later.info().await.unwrap().created_at);
        assert!(created >= before);
        let done = post(to, "/act", &format!("all=1&attribute=shop%3Dulm&do=cancel&before={before}")).await;
        assert!(done.body.contains("60 cancel requested"), "{}", done.body);
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

case! {
    async fn it_is_said_how_many_wait_for_a_person_and_since_when() {
        let engine = filled("text").await;
        let to = serve(web::router(&engine).access(|_| true).into()).await;
        for (path, sentence) in [
            ("/run?id=asks", "Waits for a person to answer <code>approval</code> since <time"),
            ("/run?id=listens", "Waits for a payload to hook <code>listens</code> since <time"),
            ("/runs", "Waits for a person to answer <code>approval</code> since <time"),
        ] {
            let page = get(to, path).await.body;
            assert!(page.contains(sentence), "{path}: {page}");
        }
        let people = get(to, "/people").await.body;
        assert_eq!(people.matches("<span class=\"mid nw\">since <time").count(), 2, "a question and a hook: {people}");
        // The number is beside the name of the page, on every page.
        for path in ["/runs", "/workflows", "/run?id=naps"] {
            let page = get(to, path).await.body;
            let link = page.split("href=\"people\"").nth(1).and_then(|rest| rest.split("</a>").next()).expect("a link");
            assert!(link.contains(">1</span>"), "{path}: {link}");
        }
        engine.shutdown().await.unwrap();
    }
}

case! {
    async fn a_run_that_fails_is_not_called_running_and_is_retried_beside_its_sentence() {
        let engine = filled("the bank is closed").await;
        let to = serve(web::router(&engine).access(|_| true).into()).await;
        let page = get(to, "/run?id=retries").await.body;
        assert!(page.contains("<dt>status</dt><dd>failing</dd>"), "{page}");
        // The attempt and the greatest number of attempts: in the sentence, beside the call, and in the list.
        let sentence = page.split("data-live=\"why\"").nth(1).and_then(|rest| rest.split("</p>").next()).expect("a sentence");
        assert!(sentence.contains("Retries <code>") && sentence.contains(", attempt 2 of 101"), "{sentence}");
        assert!(page.contains("Failing since <time"), "{page}");
        assert!(page.contains("<li class=\"try good\">2 of 101 in "), "{page}");
        let list = get(to, "/runs?view=failing").await.body;
        assert!(list.contains("c-attempt\">2 of 101</td>"), "{list}");
        let button = page.split("Retry now…").next().and_then(|before| before.rsplit("href=\"").next()).expect("a button");
        assert!(button.starts_with("bulk?do=wake&amp;r=retries") && !page.contains("Wake up…"), "{button} of {page}");
        let plan = get(to, "/bulk?do=wake&r=retries").await.body;
        assert!(plan.contains("are tried again now"), "{plan}");
        assert_eq!(post(to, "/act", "do=wake&r=retries").await.status, 303);
        let run = engine.get_run::<(), Error>("retries");
        soon(async {
            while !matches!(run.waiting().await.unwrap()[..], [Waiting::Retrying { attempt: 3, .. }]) {
                workflow_harness::pause().await;
            }
        })
        .await;
        engine.shutdown().await.unwrap();
    }
}

case! {
    async fn runs_with_the_same_error_are_shown_by_its_text_and_retried_together() {
        let engine = filled("the bank answers 503").await;
        let to = serve(web::router(&engine).access(|_| true).into()).await;
        let page = get(to, "/runs?view=failing&group=error").await.body;
        assert!(page.contains(">the bank answers 503</a>"), "{page}");
        let button = page.split(">Retry 1 now…<").next().and_then(|before| before.rsplit("href=\"").next()).expect("a button");
        let plan = get(to, &format!("/{}", button.trim_end_matches('"').replace("&amp;", "&"))).await;
        assert!(plan.body.contains("Wake up 1 run?"), "{button}: {}", plan.body);
        assert!(plan.body.contains("--failing --error-class"), "the command is for the same runs: {}", plan.body);
        let read_only = serve(web::router(&engine).into()).await;
        assert!(!get(read_only, "/runs?view=failing&group=error").await.body.contains("Retry 1"));
        engine.shutdown().await.unwrap();
    }
}

case! {
    async fn a_run_that_waits_for_a_child_says_what_the_child_does_and_counts_it() {
        let engine = filled("text").await;
        engine.start(family, ()).id("above").await.expect("it is started");
        is(&engine, "above", Status::Suspended).await;
        is(&engine, "below", Status::Suspended).await;
        let to = serve(web::router(&engine).access(|_| true).into()).await;
        for path in ["/runs", "/run?id=above"] {
            let page = get(to, path).await.body;
            assert!(page.contains("<code>below</code></a>, which sleeps until"), "{path}: {page}");
        }
        let page = get(to, "/run?id=above").await.body;
        for tab in ["Timeline", "Family"] {
            assert!(page.contains(&format!("{tab} <span class=\"n\">1</span>")), "{tab}: {page}");
        }
        let page = get(to, "/run?id=fails").await.body;
        assert!(page.contains("Streams <span class=\"n\">1</span>") && page.contains(">Family</a>"), "{page}");
        engine.shutdown().await.unwrap();
    }
}
