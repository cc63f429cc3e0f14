//! Payloads that a run had received, or had in its inbox, when it ended: a retry delivers them again.

use std::time::Duration;

use workflow_runtime::{Engine, Error, Result, Run, Status, Suspended, hook, sleep, step, suspend, workflow};

use crate::support::{Lab, Place, recorded, soon};

const DAY: Duration = Duration::from_secs(86_400);

#[step(retries = 0)]
async fn charges(#[resource] lab: &Lab) -> Result<usize> {
    lab.pass_gate("charges").await;
    Ok(lab.note("charges"))
}

#[step(retries = 0)]
async fn refunds(#[resource] lab: &Lab, _charge: usize) -> Result<()> {
    lab.note("refunds");
    Ok(())
}

/// Fails as often as the test has asked for.
#[step(retries = 0)]
async fn ships(#[resource] lab: &Lab) -> Result<()> {
    match lab.note("ships") > lab.count("may fail") {
        true => Ok(()),
        false => Err(Error::fatal("no van")),
    }
}

/// Takes payloads from one hook, and one more after the step that fails. The hook is opened before the charge or after it.
#[workflow]
async fn takes_from_one_hook(before: bool, count: usize) -> Result<Vec<u32>> {
    let early = before.then(|| hook::<u32>().token("t").open());
    charges().rollback(refunds).await?;
    let mut mail = early.unwrap_or_else(|| hook::<u32>().token("t").open());
    let mut taken = Vec::new();
    while taken.len() < count {
        taken.push((&mut mail).await?);
    }
    ships().await?;
    taken.push(mail.await?);
    Ok(taken)
}

/// The same with a hook for each payload.
#[workflow]
async fn takes_from_many_hooks(before: bool, count: usize) -> Result<Vec<u32>> {
    let mut early = before.then(|| hook::<u32>().token("t").open());
    charges().rollback(refunds).await?;
    let mut taken = Vec::new();
    while taken.len() < count {
        taken.push(early.take().unwrap_or_else(|| hook::<u32>().token("t").open()).await?);
    }
    ships().await?;
    taken.push(hook::<u32>().token("t").await?);
    Ok(taken)
}

/// Takes one payload from a hook that was opened before the charge, and the others from a hook behind a step. With `keeps`, all
/// are from the first hook after a retry.
#[workflow]
async fn takes_across_the_charge(keeps: bool) -> Result<Vec<u32>> {
    let mut mail = hook::<u32>().token("t").open();
    let number = charges().rollback(refunds).await?;
    if number > 1 {
        sleep(DAY).await;
    }
    let mut taken = vec![(&mut mail).await?];
    if number == 1 || !keeps {
        drop(mail);
        packs().await?;
        mail = hook::<u32>().token("t").open();
    }
    taken.push((&mut mail).await?);
    ships().await?;
    taken.push(mail.await?);
    Ok(taken)
}

#[step(retries = 0)]
async fn packs(#[resource] lab: &Lab) -> Result<()> {
    lab.note("packs");
    Ok(())
}

/// Takes from two tokens in turns.
#[workflow]
async fn takes_from_two_tokens() -> Result<Vec<u32>> {
    let mut early = hook::<u32>().token("early").open();
    charges().rollback(refunds).await?;
    let mut taken = vec![hook::<u32>().token("late").await?, (&mut early).await?];
    taken.push(hook::<u32>().token("late").await?);
    ships().await?;
    taken.push(early.await?);
    Ok(taken)
}

/// Takes the payloads in generations of their own, after a first that has failed.
#[workflow]
async fn takes_in_generations(left: u32, mut taken: Vec<u32>) -> Result<Vec<u32>> {
    if taken.is_empty() {
        charges().rollback(refunds).await?;
        let mut mail = hook::<u32>().token("t").open();
        let mut got = vec![(&mut mail).await?, (&mut mail).await?];
        ships().await?;
        // The retried run takes one here, and leaves the other to the next generation.
        taken.push(got.remove(0));
        drop(mail);
        return takes_in_generations(left - 1, got).continue_as_new().await;
    }
    taken.push(hook::<u32>().token("t").await?);
    Ok(taken)
}

/// The retried run takes only one of the two payloads before it continues as new.
#[workflow]
async fn leaves_one_to_the_next_generation(begun: bool, mut taken: Vec<u32>) -> Result<Vec<u32>> {
    if begun {
        taken.push(hook::<u32>().token("t").await?);
        return Ok(taken);
    }
    let number = charges().rollback(refunds).await?;
    taken.push(hook::<u32>().token("t").await?);
    if number == 1 {
        hook::<u32>().token("t").await?;
    }
    ships().await?;
    leaves_one_to_the_next_generation(true, taken).continue_as_new().await
}

/// Waits for an answer beside the charge, and asks another question after it.
#[workflow]
async fn asks_beside(by_step: bool) -> Result<(u32, u32)> {
    let question = async {
        match by_step {
            true => asks().await,
            false => suspend(&"beside").label("beside").await,
        }
    };
    let charge = async { charges().rollback(refunds).await };
    let (beside, _) = tokio::try_join!(question, charge)?;
    let behind = suspend(&"behind").label("behind").await?;
    ships().await?;
    Ok((beside, behind))
}

#[step(retries = 0)]
async fn asks(#[resource] lab: &Lab) -> Result<u32> {
    lab.note("asks");
    suspend(&"beside").label("beside").await
}

#[workflow]
async fn takes_one(count: usize) -> Result<Vec<u32>> {
    let mut mail = hook::<u32>().token("t").open();
    let mut taken = Vec::new();
    while taken.len() < count {
        taken.push((&mut mail).await?);
    }
    Ok(taken)
}

/// Drops its first hook before that has returned a payload.
#[workflow]
async fn gives_one_up() -> Result<u32> {
    let given_up = hook::<u32>().token("t").open();
    sleep(DAY).await;
    drop(given_up);
    charges().rollback(refunds).await?;
    ships().await?;
    hook::<u32>().token("t").await
}

/// Fails at the first payload, as long as the charge is the first one.
#[workflow]
async fn rejects() -> Result<u32> {
    let number = charges().rollback(refunds).await?;
    let payload = hook::<u32>().token("t").await?;
    if number == 1 {
        return Err(Error::fatal("rejected"));
    }
    Ok(payload)
}

/// Opens its hook only after the step that fails.
#[workflow]
async fn takes_late() -> Result<Vec<u32>> {
    charges().await?;
    ships().await?;
    let mut mail = hook::<u32>().token("t").open();
    Ok(vec![(&mut mail).await?, mail.await?])
}

#[workflow]
async fn waits_for_a_drawn_token() -> Result<u32> {
    charges().rollback(refunds).await?;
    let mail = hook::<u32>().open();
    publishes(mail.token().to_owned()).await?;
    let payload = mail.await?;
    ships().await?;
    Ok(payload)
}

#[step]
async fn publishes(#[resource] lab: &Lab, token: String) -> Result<()> {
    lab.note(&format!("token {token}"));
    Ok(())
}

#[workflow]
async fn has_a_child() -> Result<Vec<u32>> {
    takes_from_many_hooks(false, 2).id("child").await
}

/// A lab whose charges pass, and whose shipments fail so many times.
fn lab(failures: usize) -> Lab {
    let lab = Lab::new();
    lab.open_gate("charges");
    (0..failures).for_each(|_| {
        lab.note("may fail");
    });
    lab
}

async fn open(place: &Place, lab: &Lab, evicts: bool) -> Engine {
    let builder = place.builder(lab).replay_every_turn();
    let builder = if evicts { builder.evict_after(Duration::ZERO) } else { builder };
    builder.open().await.unwrap()
}

/// Sends a payload under its own key, as soon as a hook has the token.
async fn send(engine: &Engine, token: &str, number: u32) {
    send_in("", engine, token, number).await;
}

/// The same in one of several rounds of a test: each has keys of its own.
async fn send_in(round: &str, engine: &Engine, token: &str, number: u32) {
    let key = format!("{round}{number}");
    let sends = async || engine.resume_hook(token, &number).idempotency_key(&*key).await;
    soon(async {
        while sends().await.is_err() {
            workflow_harness::pause().await;
        }
    })
    .await;
}

async fn is<T, E>(run: &Run<T, E>, status: Status) {
    soon(async {
        while run.status().await.unwrap() != status {
            workflow_harness::pause().await;
        }
    })
    .await;
}

/// The suspension with a label, once the run has it.
async fn suspended<T, E>(run: &Run<T, E>, label: &str) -> Suspended {
    soon(async {
        loop {
            let found = run.suspended().await.unwrap().into_iter().find(|suspended| suspended.label == label);
            match found {
                Some(found) => return found,
                None => workflow_harness::pause().await,
            }
        }
    })
    .await
}

/// Retries a failed run while no engine executes, and opens an engine that continues it.
async fn retried(place: &Place, lab: &Lab, engine: Engine, id: &str, evicts: bool) -> Engine {
    engine.shutdown().await.unwrap();
    drop(engine);
    let client = place.builder(lab).connect().await.unwrap();
    client.get_run::<(), Error>(id).retry().await.unwrap();
    drop(client);
    open(place, lab, evicts).await
}

on_each_store! {
    async fn a_retry_delivers_payloads_again_that_came_after_an_undone_result(place: Place) {
        let variants = [false, true].into_iter().flat_map(|before| [(before, false), (before, true)]);
        for (number, (before, many)) in variants.enumerate() {
            let (lab, evicts, round) = (lab(1), number % 2 == 1, format!("before {before}, many {many} "));
            let engine = open(&place, &lab, evicts).await;
            let run = match many {
                false => engine.start(takes_from_one_hook, (before, 2)).id("r").await.unwrap(),
                true => engine.start(takes_from_many_hooks, (before, 2)).id("r").await.unwrap(),
            };
            send_in(&round, &engine, "t", 1).await;
            send_in(&round, &engine, "t", 2).await;
            is(&run, Status::Failed).await;
            let engine = retried(&place, &lab, engine, "r", evicts).await;
            soon(lab.executed("ships", 2)).await;
            // Neither the repetitions nor the payloads before are delivered once more.
            send_in(&round, &engine, "t", 2).await;
            send_in(&round, &engine, "t", 3).await;
            send_in(&round, &engine, "t", 1).await;
            let run: Run<Vec<u32>> = engine.get_run("r");
            assert_eq!(soon(&run).await.unwrap(), [1, 2, 3], "{round}");
            assert_eq!((lab.count("charges"), lab.count("refunds")), (2, 1));
            run.delete().await.unwrap();
            engine.shutdown().await.unwrap();
        }
    }

    async fn a_second_retry_delivers_them_again(place: Place) {
        for before in [false, true] {
            let (lab, round) = (lab(3), format!("before {before} "));
            let mut engine = open(&place, &lab, true).await;
            let run = engine.start(takes_from_many_hooks, (before, 2)).id("r").await.unwrap();
            send_in(&round, &engine, "t", 1).await;
            send_in(&round, &engine, "t", 2).await;
            is(&run, Status::Failed).await;
            for failures in 1..=3 {
                assert_eq!(lab.count("refunds"), failures);
                engine = retried(&place, &lab, engine, "r", failures == 2).await;
                if failures < 3 {
                    is(&engine.get_run::<Vec<u32>, Error>("r"), Status::Failed).await;
                }
            }
            send_in(&round, &engine, "t", 3).await;
            let run: Run<Vec<u32>> = engine.get_run("r");
            assert_eq!(soon(&run).await.unwrap(), [1, 2, 3], "{round}");
            run.delete().await.unwrap();
            engine.shutdown().await.unwrap();
        }
    }

    async fn a_payload_after_the_retry_is_delivered_after_those_of_a_later_hook(place: Place) {
        for (keeps, stops) in [(false, false), (false, true), (true, true)] {
            let (lab, round) = (lab(1), format!("keeps {keeps}, stops {stops} "));
            let engine = open(&place, &lab, stops).await;
            let run = engine.start(takes_across_the_charge, keeps).id("r").await.unwrap();
            send_in(&round, &engine, "t", 1).await;
            soon(lab.executed("packs", 1)).await;
            send_in(&round, &engine, "t", 2).await;
            is(&run, Status::Failed).await;
            let mut engine = retried(&place, &lab, engine, "r", stops).await;
            // The first hook is open again, and has the first payload.
            send_in(&round, &engine, "t", 3).await;
            is(&engine.get_run::<Vec<u32>, Error>("r"), Status::Suspended).await;
            if stops {
                engine.shutdown().await.unwrap();
                engine = open(&place, &lab, true).await;
            }
            engine.get_run::<(), Error>("r").wake_up().await.unwrap();
            let run: Run<Vec<u32>> = engine.get_run("r");
            assert_eq!(soon(&run).await.unwrap(), [1, 2, 3], "{round}");
            run.delete().await.unwrap();
            engine.shutdown().await.unwrap();
        }
    }

    async fn payloads_for_several_tokens_keep_their_order(place: Place) {
        let lab = lab(1);
        let engine = open(&place, &lab, false).await;
        let run = engine.start(takes_from_two_tokens, ()).id("r").await.unwrap();
        send(&engine, "late", 1).await;
        send(&engine, "early", 2).await;
        send(&engine, "early", 4).await;
        send(&engine, "late", 3).await;
        is(&run, Status::Failed).await;
        let engine = retried(&place, &lab, engine, "r", true).await;
        let run: Run<Vec<u32>> = engine.get_run("r");
        assert_eq!(soon(&run).await.unwrap(), [1, 2, 3, 4]);
    }

    async fn a_payload_that_waits_for_its_hook_outlasts_continue_as_new(place: Place) {
        let lab = lab(1);
        let engine = open(&place, &lab, false).await;
        let run = engine.start(leaves_one_to_the_next_generation, (false, Vec::new())).id("r").await.unwrap();
        send(&engine, "t", 1).await;
        send(&engine, "t", 2).await;
        is(&run, Status::Failed).await;
        let engine = retried(&place, &lab, engine, "r", true).await;
        let run: Run<Vec<u32>> = engine.get_run("r");
        assert_eq!(soon(&run).await.unwrap(), [1, 2]);
        assert_eq!(run.info().await.unwrap().generation, 2);
    }

    async fn payloads_of_a_retried_run_pass_to_its_next_generation(place: Place) {
        let lab = lab(1);
        let engine = open(&place, &lab, true).await;
        let run = engine.start(takes_in_generations, (2, Vec::new())).id("r").await.unwrap();
        send(&engine, "t", 1).await;
        send(&engine, "t", 2).await;
        is(&run, Status::Failed).await;
        let engine = retried(&place, &lab, engine, "r", false).await;
        send(&engine, "t", 3).await;
        let run: Run<Vec<u32>> = engine.get_run("r");
        assert_eq!(soon(&run).await.unwrap(), [2, 3]);
    }

    async fn a_retry_answers_a_kept_suspension_again_and_asks_later_ones_anew(place: Place) {
        for by_step in [false, true] {
            let lab = Lab::new();
            lab.note("may fail");
            let engine = open(&place, &lab, false).await;
            let run = engine.start(asks_beside, by_step).id("r").await.unwrap();
            let beside = suspended(&run, "beside").await;
            lab.open_gate("charges");
            recorded(&place, "r", "completed").await;
            run.resume(&1).of(&*beside.id).await.unwrap();
            run.resume(&2).of(suspended(&run, "behind").await.id).await.unwrap();
            is(&run, Status::Failed).await;
            let engine = retried(&place, &lab, engine, "r", by_step).await;
            let run: Run<(u32, u32)> = engine.get_run("r");
            let behind = suspended(&run, "behind").await;
            let open: Vec<_> = run.suspended().await.unwrap().into_iter().map(|suspended| suspended.label).collect();
            assert_eq!(open, ["behind"], "the answered one is not open");
            run.resume(&3).of(behind.id).await.unwrap();
            assert_eq!(soon(&run).await.unwrap(), (1, 3), "by a step: {by_step}");
            run.delete().await.unwrap();
            engine.shutdown().await.unwrap();
        }
    }

    async fn a_payload_that_a_cancelled_run_had_not_received_is_delivered_after_a_retry(place: Place) {
        for evicts in [false, true] {
            let (lab, round) = (lab(0), format!("evicts {evicts} "));
            let engine = open(&place, &lab, evicts).await;
            let run = engine.start(takes_one, 3).id("r").await.unwrap();
            send_in(&round, &engine, "t", 1).await;
            recorded(&place, "r", "payload").await;
            engine.shutdown().await.unwrap();
            drop((engine, run));
            let client = place.builder(&lab).connect().await.unwrap();
            client.resume_hook("t", &2).await.unwrap();
            client.get_run::<(), Error>("r").request_cancel("too early").await.unwrap();
            // The cancel is delivered first.
            let engine = open(&place, &lab, evicts).await;
            let run: Run<Vec<u32>> = engine.get_run("r");
            is(&run, Status::Cancelled).await;
            run.retry().await.unwrap();
            send_in(&round, &engine, "t", 3).await;
            assert_eq!(soon(&run).await.unwrap(), [1, 2, 3]);
            run.delete().await.unwrap();
            engine.shutdown().await.unwrap();
        }
    }

    async fn a_payload_for_a_hook_that_was_not_opened_before_the_failure_is_delivered_after_a_retry(place: Place) {
        let lab = Lab::new();
        lab.note("may fail");
        let engine = open(&place, &lab, false).await;
        let run = engine.start(takes_late, ()).id("r").opens("t").await.unwrap();
        send(&engine, "t", 1).await;
        lab.open_gate("charges");
        is(&run, Status::Failed).await;
        let engine = retried(&place, &lab, engine, "r", true).await;
        send(&engine, "t", 2).await;
        let run: Run<Vec<u32>> = engine.get_run("r");
        assert_eq!(soon(&run).await.unwrap(), [1, 2]);
    }

    async fn a_payload_of_a_hook_that_was_given_up_stays_unread_after_a_retry(place: Place) {
        let lab = lab(1);
        let engine = open(&place, &lab, false).await;
        let run = engine.start(gives_one_up, ()).id("r").await.unwrap();
        is(&run, Status::Suspended).await;
        engine.shutdown().await.unwrap();
        drop((engine, run));
        let client = place.builder(&lab).connect().await.unwrap();
        client.get_run::<(), Error>("r").wake_up().await.unwrap();
        client.resume_hook("t", &1).await.unwrap();
        let engine = open(&place, &lab, false).await;
        let run: Run<u32> = engine.get_run("r");
        is(&run, Status::Failed).await;
        assert_eq!(place.inbox("r").await, 1);
        run.retry().await.unwrap();
        send(&engine, "t", 2).await;
        assert_eq!(soon(&run).await.unwrap(), 2);
        assert_eq!(place.inbox("r").await, 1);
    }

    async fn the_payload_with_which_a_workflow_failed_is_delivered_again(place: Place) {
        let lab = lab(0);
        let engine = open(&place, &lab, false).await;
        let run = engine.start(rejects, ()).id("r").await.unwrap();
        send(&engine, "t", 7).await;
        is(&run, Status::Failed).await;
        let engine = retried(&place, &lab, engine, "r", true).await;
        let run: Run<u32> = engine.get_run("r");
        assert_eq!(soon(&run).await.unwrap(), 7);
    }

    async fn a_hook_with_a_random_token_is_another_hook_after_a_retry(place: Place) {
        let lab = lab(1);
        let engine = open(&place, &lab, false).await;
        let run = engine.start(waits_for_a_drawn_token, ()).id("r").await.unwrap();
        let drawn = || lab.notes().iter().filter_map(|note| Some(note.strip_prefix("token ")?.to_owned())).collect();
        let tokens = async |count: usize| -> Vec<String> {
            soon(async {
                loop {
                    let tokens: Vec<String> = drawn();
                    if tokens.len() == count {
                        return tokens;
                    }
                    workflow_harness::pause().await;
                }
            })
            .await
        };
        send(&engine, &tokens(1).await[0], 1).await;
        is(&run, Status::Failed).await;
        run.retry().await.unwrap();
        let tokens = tokens(2).await;
        assert_ne!(tokens[0], tokens[1]);
        send(&engine, &tokens[1], 2).await;
        assert_eq!(soon(&run).await.unwrap(), 2);
    }

    async fn a_child_that_is_retried_with_its_parent_receives_its_payloads_again(place: Place) {
        let lab = lab(1);
        let engine = open(&place, &lab, false).await;
        let run = engine.start(has_a_child, ()).id("r").await.unwrap();
        send(&engine, "t", 1).await;
        send(&engine, "t", 2).await;
        is(&run, Status::Failed).await;
        let engine = retried(&place, &lab, engine, "r", true).await;
        send(&engine, "t", 3).await;
        let run: Run<Vec<u32>> = engine.get_run("r");
        assert_eq!(soon(&run).await.unwrap(), [1, 2, 3]);
    }
}
