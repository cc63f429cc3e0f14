//! The page of a run: its windows, its children, its tabs, what is hidden, and its size.

mod served;
mod shop;

use std::time::Duration;

use workflow_runtime::Engine;
use workflow_runtime::web::{self, Action};

use self::served::{Answer, Served};
use self::shop::*;

async fn soon<F: IntoFuture>(what: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), what.into_future()).await.expect("it does not come to its end")
}

/// A page is inert if no markup of a run is markup of the page, and no control character is in it.
#[track_caller]
fn assert_inert(answer: &Answer) {
    let lower = answer.body.to_lowercase();
    for wrong in ["<script>", "<img", "onerror=\"", "javascript:", " style="] {
        assert!(!lower.contains(wrong), "{wrong} is in {}: {}", answer.path, answer.body);
    }
    let is_steering = |letter: char| (letter.is_control() && letter != '\n') || letter == '\u{202e}';
    assert!(!answer.body.contains(is_steering), "a control character is in {}", answer.path);
}

case!(
    #[threads]
    async fn the_journal_has_a_row_with_bars_for_each_call() {
        let engine = Engine::open("memory:").await.unwrap();
        let run = soon(engine.start(order, 42).id("order-42")).await.unwrap();
        soon(async {
            while run.suspended().await.unwrap().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        let served = Served::new(web::router(&engine)).await;
        let page = served.get("/run?id=order-42").await;
        assert_eq!(page.status, 200);
        assert!(page.body.contains("Waits for a person to answer <code>approval</code>"), "{}", page.body);
        // Attempts, each with its error; equal steps side by side as one row; the child; the open question.
        for part in [
            "<b>charge</b>(42, 4200)",
            "class=\"att\"",
            "503 from the bank",
            "3 ok",
            "6 × <b>check_stock</b>",
            "<b>invoice</b>(42)",
            "<b>sleep</b>(",
            "<b>suspend</b>(&quot;Ship order 42?&quot;).label(approval)",
            "waits for a person",
            "class=\"now\"",
        ] {
            assert!(page.body.contains(part), "{part} is not in {}", page.body);
        }
        assert!(!page.body.contains(" style="), "the geometry is in attributes");
        assert_eq!(page.body.matches("<b>check_stock</b>").count(), 1);
        let order: Vec<_> = ["reserve", "charge", "check_stock", "invoice", "suspend"]
            .map(|name| page.body.find(&format!("<b>{name}</b>")).expect(name))
            .to_vec();
        assert!(order.is_sorted(), "{order:?}");
    }
);

case!(
    #[threads]
    async fn a_child_and_a_folded_row_unfold_in_place() {
        let engine = Engine::open("memory:").await.unwrap();
        let run = soon(engine.start(order, 43).id("order-43")).await.unwrap();
        soon(async {
            while run.suspended().await.unwrap().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        let served = Served::new(web::router(&engine)).await;
        let folded = served.get("/run?id=order-43").await;
        assert!(!folded.body.contains("<b>render_pdf</b>"));
        let child = folded.row_of("invoice");
        let unfolded = served.get(&format!("/run?id=order-43&open={child}")).await;
        assert!(unfolded.body.contains("<b>render_pdf</b>"), "{}", unfolded.body);
        assert!(unfolded.body.contains("aria-expanded=\"true\""));
        let six = folded.row_of("check_stock");
        let unfolded = served.get(&format!("/run?id=order-43&open={six}")).await;
        assert_eq!(unfolded.body.matches("<b>check_stock</b>").count(), 6);
    }
);

case!(
    #[threads]
    async fn the_details_of_a_row_have_whole_errors_and_values() {
        let engine = Engine::open("memory:").await.unwrap();
        soon(soon(engine.start(large, 200_000).id("large-1")).await.unwrap()).await.unwrap();
        let served = Served::new(web::router(&engine)).await;
        let page = served.get("/run?id=large-1").await;
        assert!(!page.body.contains("id=\"detail\""));
        let row = page.row_of("blob");
        let details = served.get(&format!("/run?id=large-1&row={row}")).await;
        assert!(details.body.contains("id=\"detail\""), "{}", details.body);
        assert!(details.body.contains("Download the whole value"));
        assert!(details.body.len() < 300 << 10, "{} bytes", details.body.len());
        let whole = served.get(&format!("/run?id=large-1&row={row}&as=output")).await;
        assert_eq!((whole.status, whole.json()), (200, serde_json::json!("x".repeat(200_000))));
        assert!(whole.head.contains("attachment"), "{}", whole.head);

        soon(soon(engine.start(fails, ()).id("fails-1")).await.unwrap()).await.unwrap_err();
        let page = served.get("/run?id=fails-1").await;
        let row = page.row_of("breaks");
        assert!(page.body.contains("class=\"dead\""), "{}", page.body);
        let details = served.get(&format!("/run?id=fails-1&row={row}")).await;
        assert!(details.body.contains(&"very ".repeat(100)), "the whole error is in the details");
        let errors = served.get("/run?id=fails-1&errors=1").await;
        assert!(errors.body.contains("<b>breaks</b>") && !errors.body.contains("<b>reserve</b>"), "{}", errors.body);
    }
);

case!(
    #[threads]
    async fn the_page_says_which_worker_holds_the_run_and_where_its_code_is() {
        let engine = Engine::open("memory:").await.unwrap();
        let run = soon(engine.start(order, 44).id("order-44")).await.unwrap();
        soon(async {
            while run.suspended().await.unwrap().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        let served = Served::new(web::router(&engine)).await;
        let page = served.get("/run?id=order-44").await;
        for part in [
            "It asked: Ship order 44?",
            "<dt>held by</dt>",
            &format!("pid {}", std::process::id()),
            "run/shop.rs:",
            "workflow show order-44",
            "data-copy",
        ] {
            assert!(page.body.contains(part), "{part} is not in {}", page.body);
        }
        let row = page.row_of("charge");
        let details = served.get(&format!("/run?id=order-44&row={row}")).await.body;
        let side = details.split("id=\"detail\"").nth(1).expect("the details");
        assert!(side.contains("run/shop.rs:"), "{side}");
        let steps = served.get("/run?id=order-44&tab=steps").await.body;
        assert_eq!(steps.matches("run/shop.rs:").count(), 1 + 9, "the workflow, eight steps and a child: {steps}");
    }
);

case!(
    #[threads]
    async fn an_integer_of_more_than_64_bits_is_shown_digit_for_digit() {
        let engine = Engine::open("memory:").await.unwrap();
        soon(soon(engine.start(wider, u128::MAX).id("wide")).await.unwrap()).await.unwrap();
        let served = Served::new(web::router(&engine)).await;
        let parts = ["&row=0", "&tab=state", "&tab=streams", "&tab=events&view=full"];
        let files = ["&as=state", "&as=stream&stream=log", "&row=0&as=output", "&as=jsonl"];
        for part in parts.into_iter().chain(files) {
            let page = served.get(&format!("/run?id=wide{part}")).await.body;
            assert!(page.contains(&u128::MAX.to_string()), "{part}: {page}");
        }
    }
);

case!(
    #[threads]
    async fn the_details_of_a_step_have_the_key_that_the_step_was_given() {
        let engine = Engine::open("memory:").await.unwrap();
        let run = soon(engine.start(keys, ()).id("keys/1")).await.unwrap();
        soon(run.clone()).await.unwrap_err();
        run.retry().await.unwrap();
        let last = soon(run).await.unwrap();
        assert_eq!(last, "keys%2F1/0/0/2", "its third operation");
        let served = Served::new(web::router(&engine)).await;
        for operation in 0..3 {
            let page = served.get(&format!("/run?id=keys%2F1&row={operation}")).await;
            let key = format!("keys%2F1/0/0/{operation}");
            // As the key of the step, and as its output.
            assert!(page.body.contains(&format!("<dt>idempotency key</dt><dd><code>{key}</code>")), "{}", page.body);
            assert!(page.body.contains(&format!("&quot;{key}&quot;")), "{}", page.body);
        }
    }
);

case!(
    #[threads]
    async fn hidden_and_decoded_payloads_are_so_in_every_tab_and_file() {
        let engine = Engine::open("memory:").await.unwrap();
        soon(soon(engine.start(secret, "hunter2".into()).id("secret-1")).await.unwrap()).await.unwrap();
        let open = Served::new(web::router(&engine)).await;
        let hidden = Served::new(web::router(&engine).hide_payloads()).await;
        let refused = Served::new(web::router(&engine).access(|access| access.action == Action::List)).await;
        let decoded = Served::new(web::router(&engine).decode_payloads(|_| "decoded".into())).await;
        let row = open.get("/run?id=secret-1").await.row_of("keep");
        let pages = [
            "/run?id=secret-1".to_owned(),
            format!("/run?id=secret-1&row={row}"),
            "/run?id=secret-1&tab=events".to_owned(),
            "/run?id=secret-1&tab=events&view=full".to_owned(),
            "/run?id=secret-1&tab=events&view=json".to_owned(),
            "/run?id=secret-1&tab=steps".to_owned(),
            "/run?id=secret-1&tab=streams".to_owned(),
            "/run?id=secret-1&tab=state".to_owned(),
            "/run?id=secret-1&as=jsonl".to_owned(),
        ];
        for path in &pages {
            let answer = open.get(path).await;
            assert_eq!(answer.status, 200, "{path}");
            assert!(answer.body.contains("hunter2"), "{path}: {}", answer.body);
            for served in [&hidden, &refused, &decoded] {
                let answer = served.get(path).await;
                assert_eq!(answer.status, 200, "{path}");
                assert!(!answer.body.contains("hunter2"), "{path}: {}", answer.body);
            }
            assert!(decoded.get(path).await.body.contains("decoded"), "{path}");
        }
        for path in [
            format!("/run?id=secret-1&row={row}&as=input"),
            format!("/run?id=secret-1&row={row}&as=output"),
            "/run?id=secret-1&as=state".to_owned(),
            "/run?id=secret-1&as=stream&stream=log".to_owned(),
        ] {
            assert!(open.get(&path).await.body.contains("hunter2"), "{path}");
            assert!(decoded.get(&path).await.body.contains("decoded"), "{path}");
            assert_eq!(refused.get(&path).await.status, 403, "{path}");
            assert!(!hidden.get(&path).await.body.contains("hunter2"), "{path}");
        }
    }
);

case!(
    #[threads]
    async fn markup_and_control_characters_of_a_run_are_inert() {
        let engine = Engine::open("memory:").await.unwrap();
        let id = format!("id-{MARKUP}");
        soon(soon(engine.start(evil, EVIL.into()).id(&id)).await.unwrap()).await.unwrap_err();
        let served = Served::new(web::router(&engine)).await;
        let id = served::encoded(&id);
        let first = served.get(&format!("/run?id={id}")).await;
        assert_eq!(first.status, 200, "{}", first.body);
        assert!(first.body.contains("&lt;script&gt;"), "{}", first.body);
        let tabs = [
            "",
            "&row=0",
            "&row=1",
            "&tab=events&view=full",
            "&tab=events&view=json",
            "&tab=steps",
            "&tab=streams",
            "&tab=state",
            "&tab=family",
            "&errors=1",
            "&tab=<script>",
            "&open=<script>",
            "&at=<script>",
            "&type=<script>",
        ];
        for tab in tabs {
            let answer = served.get(&format!("/run?id={id}{}", tab.replace('<', "%3C").replace('>', "%3E"))).await;
            assert_eq!(answer.status, 200, "{tab}");
            assert_inert(&answer);
        }
        let nobody = served.get(&format!("/run?id=no-{id}")).await;
        assert_eq!(nobody.status, 404);
        assert_inert(&nobody);
    }
);

case!(
    #[threads]
    async fn a_long_run_is_read_in_windows_of_bounded_size() {
        const STEPS: u64 = 5_000;
        let engine = Engine::open("memory:").await.unwrap();
        soon(soon(engine.start(long, STEPS).id("long-1")).await.unwrap()).await.unwrap();
        let served = Served::new(web::router(&engine)).await;
        let rows = |page: &Answer| page.body.matches("data-row=").count();
        let last = served.get("/run?id=long-1").await;
        assert!(last.body.len() < 300 << 10, "{} bytes", last.body.len());
        assert_eq!(rows(&last), 200);
        assert!(last.body.contains("data-row=\"4999\"") && last.body.contains("data-row=\"4800\""));
        assert!(last.body.contains("4,800 calls before"), "{}", last.body);
        // The whole run at a glance, each part of which is a link.
        assert!(last.body.matches("class=\"vol\"").count() > 50, "{}", last.body);
        assert!(last.body.contains("Calls 4,800 to 4,999 of 5,000"));
        for (from, first) in [("0", 0), ("1", 1), ("2500", 2_500), ("4999", 4_999)] {
            let page = served.get(&format!("/run?id=long-1&from={from}")).await;
            assert_eq!(page.status, 200);
            let expected = 200.min(STEPS - first);
            assert_eq!(rows(&page) as u64, expected, "from {from}");
            assert!(page.body.contains(&format!("data-row=\"{first}\"")), "from {from}");
            assert!(page.body.contains(&format!("data-row=\"{}\"", first + expected - 1)), "from {from}");
            assert!(!page.body.contains("not ended"), "each call of the window has ended");
        }
        let window = served.get("/run?id=long-1&from=100&to=109").await;
        assert_eq!(rows(&window), 10);
        let details = served.get("/run?id=long-1&row=3210").await;
        assert!(details.body.contains("operation 3210"), "{}", details.body);
        for wrong in
            ["from=abc", "from=99999999", "from=9&to=3", "row=99999999", "row=-1", "open=7.8.9", "generation=99"]
        {
            assert_eq!(served.get(&format!("/run?id=long-1&{wrong}")).await.status, 200, "{wrong}");
        }
    }
);

case!(
    #[threads]
    async fn the_events_are_paged_filtered_and_downloaded() {
        const STEPS: u64 = 300;
        let engine = Engine::open("memory:").await.unwrap();
        soon(soon(engine.start(long, STEPS).id("long-2")).await.unwrap()).await.unwrap();
        let served = Served::new(web::router(&engine)).await;
        // Started, two events a step, ended.
        let file = served.get("/run?id=long-2&as=jsonl").await;
        let indexes: Vec<u64> = file.body.lines().map(|line| served::json(line)["index"].as_u64().unwrap()).collect();
        assert_eq!(indexes, (0..2 * STEPS + 2).collect::<Vec<_>>());
        let mut path = Some("/run?id=long-2&tab=events".to_owned());
        let (mut pages, mut seen) = (0, Vec::new());
        while let Some(next) = path {
            let page = served.get(&next).await;
            seen.extend(page.cells("num dim"));
            path = page.next().map(|next| format!("/{next}"));
            pages += 1;
            assert!(pages < 20, "the pages end");
        }
        assert_eq!(seen, indexes.iter().map(u64::to_string).collect::<Vec<_>>());
        let failed = served.get("/run?id=long-2&tab=events&type=step_failed").await;
        assert!(failed.body.contains("No event of this type"), "{}", failed.body);
        let begun = served.get("/run?id=long-2&tab=events&type=started").await;
        assert_eq!(begun.cells("num dim"), ["0"]);
    }
);

case!(
    #[threads]
    async fn each_generation_has_its_own_journal() {
        let engine = Engine::open("memory:").await.unwrap();
        soon(soon(engine.start(again, 2).id("again-1")).await.unwrap()).await.unwrap();
        let served = Served::new(web::router(&engine)).await;
        let last = served.get("/run?id=again-1").await;
        assert!(last.body.contains("Generation <b>2</b> of 0 to 2"), "{}", last.body);
        assert!(last.body.contains("<b>reserve</b>(0)") && !last.body.contains("<b>reserve</b>(2)"));
        let first = served.get("/run?id=again-1&generation=0").await;
        assert!(first.body.contains("<b>reserve</b>(2)") && !first.body.contains("<b>reserve</b>(0)"));
        // Events are those of all generations.
        let events = served.get("/run?id=again-1&tab=events").await;
        assert_eq!(events.cells("num dim").len(), 3 * 4);
    }
);

case!(
    #[threads]
    async fn a_run_that_has_not_begun_has_a_page() {
        let engine = Engine::open("memory:").await.unwrap();
        let created = soon(engine.create_run(long).id("later-1")).await.unwrap();
        let served = Served::new(web::router(&engine)).await;
        let page = served.get("/run?id=later-1").await;
        assert!(page.body.contains("Nothing was called yet"), "{}", page.body);
        assert!(page.body.contains("Created, not started"), "{}", page.body);
        drop(created);
    }
);
