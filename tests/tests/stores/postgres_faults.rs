//! Which errors of PostgreSQL leave a commit in doubt.

use workflow_runtime::Code;
use workflow_runtime::store::{Answer, Claim, ClaimAnswer, CreateAnswer, Write};

use crate::fixture::*;

/// Makes the database refuse each new run with this SQLSTATE.
async fn refuse(fx: &Fixture, state: &str) {
    let trigger = format!(
        "DROP TRIGGER IF EXISTS refuse ON runs;
         CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '{state}'; END $$;
         CREATE TRIGGER refuse BEFORE INSERT ON runs EXECUTE FUNCTION refuse()"
    );
    fx.database().await.batch_execute(&trigger).await.unwrap();
}

case! {
    #[postgres]
    async fn errors_of_the_connection_leave_a_commit_in_doubt() {
        let fx = Fixture::postgres();
        let _right = fx.execute(ADA).await;
        let states = [
            // Errors of the connection, as of a pooler that has lost its own, and errors of distributed databases.
            ("08006", true), ("08P01", true), ("08007", true), ("40003", true), ("57P01", true),
            ("57014", false), ("53100", false), ("25006", false), ("40001", false), ("XX000", false),
        ];
        for (state, in_doubt) in states {
            refuse(&fx, state).await;
            let failed = fx.store.commit(&[Write::Create(new_run("r", taken_by(ADA)))]).await.unwrap_err();
            assert_eq!((failed.error.code(), failed.in_doubt), (Code::Store, in_doubt), "{state}: {:?}", failed.error);
        }
    }
}

case! {
    #[postgres]
    async fn a_large_group_is_written_completely_or_not_at_all() {
        let fx = Fixture::postgres();
        let _right = fx.execute(ADA).await;
        let database = fx.database().await;
        let group: Vec<Write> =
            (0..300).map(|number| Write::Create(new_run(&format!("run-{number:03}"), taken_by(ADA)))).collect();
        let refuse = "
            CREATE FUNCTION refuse_last() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF NEW.id = 'run-299' THEN RAISE EXCEPTION 'refused' USING ERRCODE = '53100'; END IF;
                RETURN NEW;
            END $$;
            CREATE TRIGGER refuse_last BEFORE INSERT ON runs FOR EACH ROW EXECUTE FUNCTION refuse_last()";
        database.batch_execute(refuse).await.unwrap();
        let failed = fx.store.commit(&group).await.unwrap_err();
        assert!(!failed.in_doubt, "an error of a full disk leaves no doubt: {failed:?}");
        let made = async || -> i64 { database.query_one("SELECT count(*) FROM runs", &[]).await.unwrap().get(0) };
        assert_eq!(made().await, 0);
        database.batch_execute("DROP TRIGGER refuse_last ON runs").await.unwrap();
        let outcomes = fx.group(&group).await;
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Answer::Create(CreateAnswer::Created(_)))), "{outcomes:?}");
        assert_eq!((outcomes.len(), made().await), (300, 300));
    }
}

// Simulates a claim that was under way when its connection broke: it comes from the same worker, through a store that
// does not know of the doubt.
case! {
    #[postgres]
    async fn a_claim_that_arrives_after_a_doubt_takes_nothing() {
        let fx = Fixture::postgres();
        let _right = fx.execute(ADA).await;
        fx.parked("a", ORDERS, 1).await;
        let late = fx.another();
        let again = Claim { limit: 9, again: true, ..claim(ADA, 1) };
        assert!(matches!(fx.commit(again).await, ClaimAnswer::Claimed(runs) if runs.len() == 1));
        fx.parked("b", ORDERS, 1).await;
        assert_eq!(commit(&*late, claim(ADA, 1)).await, ClaimAnswer::Fenced);
        assert_eq!(fx.run("b").await.fence.owner, 0);
        assert_eq!(fx.claim(ADA, 1).await.len(), 1, "the store that knows of the doubt claims the run");
    }
}
