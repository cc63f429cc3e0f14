//! What the errors of a database say of a commit.

use workflow_runtime::Code;
use workflow_runtime::store::Write;

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
