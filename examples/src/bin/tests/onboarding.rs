use workflow_runtime::testing::{Builder, TestEngine, explore};

use super::*;

fn engine() -> Builder {
    TestEngine::builder().mock(send, |_| Ok(())).mock(delete_account, |_| Ok(())).deny_unmocked().deny_unawaited()
}

fn subjects(engine: &TestEngine) -> Vec<String> {
    engine.calls(send).into_iter().map(|(_, subject)| subject).collect()
}

#[tokio::test]
async fn a_user_who_does_not_confirm_gets_two_reminders_and_is_deleted_after_nine_days() -> Result<()> {
    let engine = engine().open().await?;
    let run = engine.start(onboarding, "bob".into()).await?;
    engine.advance(9 * DAY - DAY / 2).await;
    assert_eq!(
        (subjects(&engine), engine.calls(delete_account)),
        (vec!["welcome".into(), REMINDER.into(), REMINDER.into()], vec![])
    );
    assert!(matches!(run.await?, Outcome::Deleted));
    assert_eq!(engine.calls(delete_account), ["bob"]);
    Ok(())
}

#[tokio::test]
async fn a_user_who_confirms_after_a_reminder_gets_a_tip_a_day_later() -> Result<()> {
    let engine = engine().open().await?;
    let run = engine.start(onboarding, "ada".into()).await?;
    engine.advance(4 * DAY).await;
    engine.resume_hook("confirm-ada", &()).await?;
    engine.advance(DAY / 2).await;
    assert_eq!(subjects(&engine), ["welcome", REMINDER]);
    assert!(matches!(run.await?, Outcome::Confirmed { reminders: 1 }));
    assert_eq!(subjects(&engine), ["welcome", REMINDER, "a tip for your first week"]);
    Ok(())
}

#[tokio::test]
async fn no_crash_changes_what_becomes_of_a_user() -> Result<()> {
    assert!(matches!(explore(onboarding, "bob".into()).engine(engine).await?.one()?, Outcome::Deleted));
    let confirmed = explore(onboarding, "ada".into()).engine(engine).with(async |engine, _run| {
        let confirmation = engine.resume_hook("confirm-ada", &()).hold_for(DAY).idempotency_key("the link in the mail");
        confirmation.await.expect("the run accepts the confirmation");
    });
    assert!(matches!(confirmed.await?.one()?, Outcome::Confirmed { reminders: 0 }));
    Ok(())
}
