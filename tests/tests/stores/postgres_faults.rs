//! What the errors of a database say of a commit.

use workflow_runtime::Code;
use workflow_runtime::store::{Outcome, Write};

use crate::fixture::*;

/// Makes the database answer every new run with an error.
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
    async fn some_errors_leave_it_open_whether_a_commit_was_made() {
        let fx = Fixture::postgres();
        let _right = fx.execute(ADA).await;
        let states = [
            // Of the connection, as a pooler says that lost its own; and of databases that are several machines.
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
    async fn a_large_group_is_in_doubt_if_a_part_of_it_is_refused() {
        let fx = Fixture::postgres();
        let _right = fx.execute(ADA).await;
        let database = fx.database().await;
        // The first with this error, the last with that one.
        let refuse = async |first: &str, last: &str| {
            let trigger = format!(
                "CREATE OR REPLACE FUNCTION refuse_two() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN
                    IF NEW.id = 'run-000' THEN RAISE EXCEPTION 'refused' USING ERRCODE = '{first}'; END IF;
                    IF NEW.id = 'run-199' THEN RAISE EXCEPTION 'refused' USING ERRCODE = '{last}'; END IF;
                    RETURN NEW;
                END $$;
                CREATE OR REPLACE TRIGGER refuse_two BEFORE INSERT ON runs FOR EACH ROW EXECUTE FUNCTION refuse_two()"
            );
            database.batch_execute(&trigger).await.unwrap();
        };
        let group = |from: usize, to: usize| -> Vec<Write> {
            (from..to).map(|number| Write::Create(new_run(&format!("run-{number:03}"), taken_by(ADA)))).collect()
        };
        // Of a full disk nothing is written; 40003 does not say.
        for (first, last, from, to, in_doubt) in [
            ("53100", "53100", 0, 200, false),
            ("53100", "40003", 0, 200, true),
            ("40003", "53100", 0, 200, true),
            ("53100", "53100", 1, 200, true),
            ("53100", "53100", 0, 199, true),
        ] {
            refuse(first, last).await;
            let failed = fx.store.commit(&group(from, to)).await.unwrap_err();
            assert_eq!(failed.in_doubt, in_doubt, "{first} {last} {from}..{to}: {failed:?}");
        }
        database.batch_execute("DROP TRIGGER refuse_two ON runs").await.unwrap();
        let outcomes = fx.group(&group(0, 200)).await;
        assert_eq!(outcomes.len(), 200);
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Created(_))), "{outcomes:?}");
        let made: i64 = database.query_one("SELECT count(*) FROM runs", &[]).await.unwrap().get(0);
        assert_eq!(made, 200);
    }
}
