//! `workflow_runtime::testing`: clocks that jump, mocks, and explorations.

use std::future::pending;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use futures::TryStreamExt;
use workflow_runtime::testing::{TestEngine, Variation, explore, fail_first};
use workflow_runtime::{Code, Error, Result, StepStatus, hook, now, random, sleep, step, step_info, timeout, workflow};

const DAY: Duration = Duration::from_secs(24 * 3600);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

struct Bank;

impl Bank {
    fn charge(&self, order: u64) -> Result<String> {
        Ok(format!("the bank took {order}"))
    }
}

#[step(retries = 5, backoff = "1h..1d")]
async fn charge(#[resource] bank: &Bank, order: u64, cents: u32) -> Result<String> {
    bank.charge(order + u64::from(cents))
}

#[step(id = "testing.refund")]
async fn refund(order: u64) -> Result<()> {
    Err(Error::fatal(format!("nobody refunds {order}")))
}

#[step(queue = "testing", retries = 1)]
fn render(page: String) -> Result<usize> {
    Ok(page.len())
}

#[step]
async fn pings() -> Result<u32> {
    Ok(1)
}

#[step(timeout = "30d", retries = 0)]
async fn slow(kind: String) -> Result<String> {
    Ok(kind)
}

struct Shop;

impl Shop {
    #[step]
    async fn close(day: u32) -> Result<u32> {
        Ok(day)
    }
}

#[workflow]
async fn patient(order: u64) -> Result<String> {
    sleep(YEAR).await;
    let receipt = charge(order, 5).await?;
    let answer = hook::<String>().token(format!("confirm-{order}")).await?;
    Ok(format!("{receipt}, {answer}"))
}

#[workflow]
async fn pay(order: u64) -> Result<String> {
    let receipt = charge(order, 5).rollback(move |_| refund(order)).await?;
    let pages = render(receipt.clone()).await?;
    Ok(format!("{receipt}, {pages} letters"))
}

#[workflow]
async fn ship(order: u64) -> Result<String> {
    sleep(DAY).await;
    Ok(format!("parcel {order}"))
}

#[workflow]
async fn sell(order: u64) -> Result<String> {
    ship(order).await
}

#[workflow]
async fn in_time(kind: String) -> Result<String> {
    let begun = now();
    let result = slow(kind).await;
    let days = now().duration_since(begun).unwrap_or_default().as_secs() / DAY.as_secs();
    Ok(format!("{} after {days} days", result.unwrap_or_else(|error| error.code().to_string())))
}

#[workflow]
async fn closes() -> Result<(u32, u32)> {
    Ok((Shop::close(3).await?, pings().await?))
}

#[workflow]
async fn asks() -> Result<String> {
    match timeout(3 * DAY, hook::<String>().token("asked").open()).await {
        Ok(answer) => answer,
        Err(_) => Ok("nobody has answered".into()),
    }
}

fn engine() -> workflow_runtime::testing::Builder {
    TestEngine::builder()
}

#[tokio::test]
async fn a_year_of_sleep_five_retries_and_a_hook_pass_at_once() -> Result<()> {
    let begun = std::time::Instant::now();
    let mock = fail_first(5, || Error::new("the bank is closed"), |(order, cents)| Ok(format!("{order}: {cents}")));
    let engine = engine().mock(charge, mock).open().await?;
    let run = engine.start(patient, 7).await?;
    engine.resume_hook("confirm-7", &"yes").hold_for(2 * YEAR).await?;
    let started = run.info().await?.created_at;
    assert_eq!((&run).await?, "7: 5, yes");
    let steps = run.steps().await?;
    assert_eq!(steps.iter().map(|step| (step.attempts, step.status)).collect::<Vec<_>>(), [(6, StepStatus::Completed)]);
    assert!(steps[0].started_at.duration_since(started).unwrap_or_default() >= YEAR);
    assert_eq!(engine.calls(charge), vec![(7, 5); 6]);
    eprintln!("{:?}", begun.elapsed());
    Ok(())
}

#[workflow]
async fn outlives_a_century() -> Result<u32> {
    sleep(100 * YEAR).await;
    timeout(YEAR, sleep(50 * YEAR)).await.unwrap_err();
    Ok(101)
}

#[tokio::test]
async fn a_century_passes_at_once() -> Result<()> {
    assert_eq!(TestEngine::open().await?.start(outlives_a_century, ()).await?.await?, 101);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_already_paused_stays_paused() -> Result<()> {
    let engine = TestEngine::open().await?;
    assert_eq!(engine.start(sell, 7).await?.await?, "parcel 7");
    Ok(())
}

#[tokio::test]
async fn advance_moves_the_clock_and_reading_does_not() -> Result<()> {
    let engine = TestEngine::open().await?;
    let run = engine.start(ship, 7).await?;
    engine.advance(DAY - Duration::from_secs(1)).await;
    assert!(!run.status().await?.is_terminal());
    engine.advance(Duration::from_secs(1)).await;
    assert_eq!((&run).await?, "parcel 7");
    let info = run.info().await?;
    assert_eq!(
        info.completed_at.and_then(|end| end.duration_since(info.created_at).ok()).map(|time| time.as_secs()),
        Some(DAY.as_secs())
    );
    Ok(())
}

#[tokio::test]
async fn a_test_that_answers_before_the_timeout_is_in_time() -> Result<()> {
    let engine = TestEngine::open().await?;
    let run = engine.start(asks, ()).await?;
    engine.advance(2 * DAY).await;
    engine.resume_hook("asked", &"yes").await?;
    assert_eq!(run.await?, "yes");
    let run = engine.start(asks, ()).await?;
    assert_eq!(run.await?, "nobody has answered");
    Ok(())
}

#[tokio::test]
async fn mocks_replace_steps_of_queues_of_impls_and_with_ids_and_keep_their_rollbacks() -> Result<()> {
    let engine = engine()
        .mock(charge, |(order, _)| Ok(format!("mocked {order}")))
        .mock(render, |page| if page.ends_with('8') { Err(Error::fatal("no paper")) } else { Ok(3) })
        .mock(refund, |_| Ok(()))
        .mock(Shop::close, |day| Ok(day * 10))
        .mock(pings, |()| Ok(2))
        .deny_unmocked()
        .open()
        .await?;
    assert_eq!(engine.start(pay, 7).await?.await?, "mocked 7, 3 letters");
    assert_eq!(engine.start(closes, ()).await?.await?, (30, 2));
    assert!(engine.calls(refund).is_empty());
    assert!(engine.start(pay, 8).await?.await.is_err());
    assert_eq!(engine.calls(refund), [8]);
    assert_eq!(engine.calls(render), ["mocked 7", "mocked 8"]);
    Ok(())
}

#[tokio::test]
async fn a_mock_executes_inside_the_step_and_can_wait() -> Result<()> {
    let engine = engine()
        .mock_async(slow, |kind: String| async move {
            match kind.as_str() {
                "never" => pending().await,
                "late" => tokio::time::sleep(29 * DAY).await,
                _ => {}
            }
            Ok(format!("{kind} in attempt {}", step_info().map_or(0, |info| info.attempt)))
        })
        .open()
        .await?;
    assert_eq!(engine.start(in_time, "at once".into()).await?.await?, "at once in attempt 1 after 0 days");
    assert_eq!(engine.start(in_time, "late".into()).await?.await?, "late in attempt 1 after 29 days");
    assert_eq!(engine.start(in_time, "never".into()).await?.await?, "timeout after 30 days");
    Ok(())
}

#[tokio::test]
async fn a_mocked_child_is_still_a_run() -> Result<()> {
    let engine = engine().mock_workflow(ship, |order| Ok(format!("drone {order}"))).open().await?;
    let run = engine.start(sell, 7).await?;
    assert_eq!((&run).await?, "drone 7");
    assert_eq!(run.children().await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_step_without_a_mock_needs_its_resource_only_if_it_is_executed() -> Result<()> {
    let engine = engine().resource(Bank).mock(render, |_| Ok(0)).open().await?;
    assert_eq!(engine.start(pay, 7).await?.await?, "the bank took 12, 0 letters");
    drop(engine);
    let error = TestEngine::open().await?.start(pay, 7).await?.await.unwrap_err();
    assert_eq!(error.code(), Code::MissingResource, "{error}");
    Ok(())
}

#[tokio::test]
async fn a_step_without_a_mock_is_refused_by_name() -> Result<()> {
    let engine = engine().deny_unmocked().open().await?;
    let error = engine.start(closes, ()).await?.await.unwrap_err();
    assert_eq!(error.code(), Code::Unsupported);
    assert!(error.to_string().contains("step `testing::close`"), "{error}");
    Ok(())
}

/// A step whose argument has the name of a function that the attribute generates.
#[step]
async fn weigh(__body: u32) -> Result<u32> {
    Ok(__body)
}

#[workflow]
async fn weighs() -> Result<u32> {
    weigh(70).await
}

#[tokio::test]
async fn a_step_is_mocked_whatever_its_arguments_are_called() -> Result<()> {
    let engine = engine().mock(weigh, |weight| Ok(weight + 1)).open().await?;
    assert_eq!(engine.start(weighs, ()).await?.await?, 71);
    Ok(())
}

#[tokio::test]
async fn a_closure_in_place_of_the_step_is_refused() {
    let error = engine().mock(|day: u32| Shop::close(day), Ok).open().await.unwrap_err();
    assert_eq!(error.code(), Code::NotRegistered, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_of_several_threads_is_refused() {
    let error = TestEngine::open().await.unwrap_err();
    assert_eq!(error.code(), Code::Unsupported, "{error}");
}

#[step]
async fn waits_for_the_world() -> Result<u64> {
    // Another thread answers, so that the runtime is idle meanwhile.
    let (send, answer) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        let _ = send.send(7);
    });
    answer.await.map_err(|_| Error::new("no answer"))
}

#[workflow]
async fn asks_the_world() -> Result<u64> {
    timeout(DAY, waits_for_the_world()).await?
}

#[tokio::test]
async fn the_clock_does_not_move_while_a_step_without_a_mock_executes() -> Result<()> {
    let engine = TestEngine::open().await?;
    let run = engine.start(asks_the_world, ()).await?;
    assert_eq!((&run).await?, 7);
    let info = run.info().await?;
    assert!(info.completed_at.and_then(|end| end.duration_since(info.created_at).ok()).unwrap_or_default() < DAY);
    Ok(())
}

#[step(retries = 3)]
async fn never_ends() -> Result<()> {
    pending().await
}

#[workflow]
async fn hangs() -> Result<()> {
    never_ends().await
}

#[tokio::test]
async fn the_error_names_a_step_that_blocks_the_clock() -> Result<()> {
    let engine = TestEngine::open().await?;
    let error = engine.start(hangs, ()).await?.await.unwrap_err();
    assert_eq!(error.code(), Code::Timeout);
    assert!(error.to_string().contains("never_ends"), "{error}");
    Ok(())
}

#[workflow]
async fn leaves_behind() -> Result<u32> {
    let late = pings();
    let slow = slow("left".into());
    tokio::select! {
        biased;
        count = late => count,
        _ = slow => Ok(0),
    }
}

#[test]
fn the_panic_names_unawaited_work() {
    let test = |deny: bool| {
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let builder = engine().mock_async(slow, |_| pending());
                let engine = if deny { builder.deny_unawaited() } else { builder }.open().await.unwrap();
                assert_eq!(engine.start(leaves_behind, ()).await.unwrap().await.unwrap(), 1);
            });
        }
    };
    std::panic::catch_unwind(test(false)).unwrap();
    let panic = std::panic::catch_unwind(test(true)).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.contains("slow"), "{text}");
}

#[step]
async fn fetch(page: u32) -> Result<u32> {
    Ok(page * 10)
}

#[workflow]
async fn sums() -> Result<u32> {
    let (a, b, c) = tokio::try_join!(fetch(1), fetch(2), fetch(3))?;
    sleep(DAY).await;
    Ok(a + b + c + fetch(4).await?)
}

#[workflow]
async fn first_of_two() -> Result<u32> {
    tokio::select! {
        first = fetch(1) => first,
        second = fetch(2) => second,
    }
}

static COUNTED: AtomicU32 = AtomicU32::new(0);

#[workflow]
async fn counts() -> Result<u32> {
    let mine = COUNTED.fetch_add(1, Ordering::Relaxed);
    fetch(mine).await
}

static EXECUTED: AtomicU32 = AtomicU32::new(0);

#[step]
async fn counts_in_a_step() -> Result<u32> {
    Ok(EXECUTED.fetch_add(1, Ordering::Relaxed))
}

#[workflow]
async fn trusts_a_count() -> Result<u32> {
    counts_in_a_step().await
}

#[workflow]
async fn panics_late() -> Result<u32> {
    let page = fetch(1).await?;
    assert!(page == 0, "the page is {page}");
    Ok(page)
}

#[workflow]
async fn draws() -> Result<(u64, SystemTime)> {
    let first = (random(), now());
    fetch(1).await?;
    Ok(first)
}

#[tokio::test]
async fn an_exploration_of_a_sound_workflow_has_one_result() -> Result<()> {
    let is_full = std::env::var("WORKFLOW_SWEEP").is_ok_and(|sweep| sweep == "full");
    let seeds = if is_full { 10_000 } else { 50 };
    let explored = explore(sums, ()).engine(|| engine().mock(fetch, |page| Ok(page * 10))).seeds(seeds).await?;
    assert!(explored.crashes > 4 && explored.crashes <= explored.commits, "{explored}");
    assert_eq!(explored.executions as u64, 2 + explored.crashes as u64 + seeds, "{explored}");
    assert_eq!(explored.one()?, 100);
    assert!(explore(draws, ()).allow_real_steps().await?.one()?.0 > 0);
    Ok(())
}

#[tokio::test]
async fn an_exploration_finds_each_result_of_a_race() -> Result<()> {
    let explored = explore(first_of_two, ()).allow_real_steps().await?;
    assert!(explored.findings.is_empty(), "{explored}");
    let mut results: Vec<u32> = explored.results.iter().map(|(result, _)| *result.as_ref().unwrap()).collect();
    results.sort_unstable();
    assert_eq!(results, [10, 20], "{explored}");
    // The seed reproduces the result.
    let (found, seed) =
        explored.results.into_iter().find(|(_, variation)| matches!(variation, Variation::Order(_))).unwrap();
    let Variation::Order(seed) = seed else { unreachable!() };
    let again = explore(first_of_two, ()).allow_real_steps().seeds(seed).await?;
    let (again, _) = again.results.into_iter().find(|(_, variation)| *variation == Variation::Order(seed)).unwrap();
    assert_eq!(again.unwrap(), found.unwrap());
    Ok(())
}

#[tokio::test]
async fn an_exploration_finds_a_workflow_that_counts_in_a_static() -> Result<()> {
    let explored = explore(counts, ()).allow_real_steps().await?;
    assert!(explored.findings.iter().any(|finding| finding.error.code() == Code::Nondeterminism), "{explored}");
    Ok(())
}

#[tokio::test]
async fn an_exploration_finds_a_step_that_counts_in_a_static() -> Result<()> {
    let explored = explore(trusts_a_count, ()).allow_real_steps().await?;
    assert!(explored.results.len() > 1, "{explored}");
    Ok(())
}

#[tokio::test]
async fn an_exploration_finds_panics_and_runs_that_do_not_end() -> Result<()> {
    let explored = explore(panics_late, ()).allow_real_steps().seeds(1).await?;
    assert!(explored.results.is_empty(), "{explored}");
    assert!(explored.findings.iter().all(|finding| finding.error.to_string().contains("the page is 10")), "{explored}");
    let explored = explore(patient, 7).engine(|| engine().mock(charge, |_| Ok("paid".into()))).seeds(0).await?;
    assert_eq!(explored.findings[0].error.code(), Code::Timeout, "{explored}");
    Ok(())
}

#[tokio::test]
async fn an_exploration_can_send_payloads() -> Result<()> {
    let explored = explore(patient, 7)
        .engine(|| engine().mock(charge, |_| Ok("paid".into())))
        .with(|engine, _run| async move {
            engine.resume_hook("confirm-7", &"yes").hold_for(2 * YEAR).idempotency_key("k").await.unwrap();
        })
        .await?;
    assert_eq!(explored.one()?, "paid, yes");
    Ok(())
}

#[tokio::test]
async fn an_exploration_executes_no_step_without_a_mock_unless_it_is_allowed() -> Result<()> {
    let explored = explore(sums, ()).seeds(0).await?;
    assert_eq!(explored.one().unwrap_err().code(), Code::Unsupported);
    Ok(())
}

#[tokio::test]
async fn the_steps_and_events_of_a_run_can_be_read() -> Result<()> {
    let engine = TestEngine::open().await?;
    let run = engine.start(sums, ()).await?;
    (&run).await?;
    let steps = run.steps().await?;
    let inputs: Vec<_> = steps.iter().map(|step| step.input.to_string()).collect();
    assert_eq!(inputs, ["1", "2", "3", "4"]);
    let events: Vec<_> = run.events().so_far().try_collect().await?;
    assert!(events.len() > 8);
    Ok(())
}

#[step(id = "corpus::charge")]
async fn charges_an_order(order: u64, _cents: u32) -> Result<String> {
    Ok(format!("receipt-{order}"))
}

#[workflow(id = "corpus::order")]
async fn ships_after_three_days(order: u64) -> Result<String> {
    let receipt = charges_an_order(order, 4200).await?;
    sleep(Duration::from_secs(3 * 24 * 3600)).await;
    Ok(receipt)
}

#[tokio::test]
async fn the_workflow_of_the_journals_returns_the_receipt() {
    let engine = TestEngine::open().await.unwrap();
    assert_eq!(engine.start(ships_after_three_days, 7).await.unwrap().await.unwrap(), "receipt-7");
}

/// Recorded journals of the workflow above.
mod journals {
    workflow_runtime::testing::replay_corpus!("journals/");
}
