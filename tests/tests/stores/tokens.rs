//! Tokens: `Effects::opens`, `Effects::closes` and `Write::Deliver`.

use workflow_runtime::store::{
    About, Child, Close, Deliver, DeliverAnswer, Effects, Fence, First, Message, NewRun, Open, RunKey, Status,
    TokenLabel, TokenRow, TokenState, Turn, TurnAnswer,
};

use crate::fixture::*;

fn open(token: &str, op: u64) -> Open {
    let label = TokenLabel { type_name: "T".into(), metadata: Some("{}".into()), ..TokenLabel::default() };
    let refusal = Message { arrived_at: 2_000, ..message("refused") };
    Open { token: token.into(), op: Some(op), label, scope: None, refusal }
}

fn opens(opens: Vec<Open>) -> Option<Box<Effects>> {
    Some(Box::new(Effects { opens, ..Effects::default() }))
}

fn closes(closes: Vec<Close>) -> Option<Box<Effects>> {
    Some(Box::new(Effects { closes, ..Effects::default() }))
}

fn promise(token: &str) -> Open {
    Open { op: None, label: TokenLabel::default(), ..open(token, 0) }
}

fn deliver(token: &str, message: Message, hold_until: Option<u64>) -> Deliver {
    Deliver { hold_until, ..delivery(token, message) }
}

async fn with_hook(fx: &Fixture, id: &str, token: &str, op: u64) -> RunKey {
    fx.create(NewRun { effects: opens(vec![open(token, op)]), ..new_run(id, taken_by(ADA)) }).await
}

/// The bodies of the inbox messages, each with what it is about.
async fn inbox(fx: &Fixture, run: RunKey) -> Vec<(String, Option<String>)> {
    let rows = fx.inbox(run).await.into_iter();
    rows.map(|row| {
        (
            String::from_utf8(row.body.to_vec()).unwrap(),
            row.about.map(|about| match about {
                About::Operation(op) => op.to_string(),
                About::Owner(run) => run.to_string(),
                About::Ended(op) => format!("the end that {op} waits for"),
                About::Token(token) => format!("token {token}"),
            }),
        )
    })
    .collect()
}

fn text(text: &str, about: Option<&str>) -> (String, Option<String>) {
    (text.to_owned(), about.map(str::to_owned))
}

pub async fn a_payload_for_a_token_reaches_its_operation(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = with_hook(&fx, "r", "t", 7).await;
    assert_eq!(fx.commit(deliver("t", message("x"), None)).await, DeliverAnswer::Committed);
    assert_eq!(inbox(&fx, key).await, [text("x", Some("7"))]);
    assert_eq!((fx.run("r").await.inbox_seq, fx.run("r").await.wake_at), (1, Some(0)));
    assert_eq!(fx.store.news(ADA).await.unwrap(), [key]);
    let row = fx.store.token("t").await.unwrap().unwrap();
    let label = TokenLabel { type_name: "T".into(), metadata: Some("{}".into()), ..TokenLabel::default() };
    assert_eq!(row, TokenRow { run: Some("r".into()), op: Some(7), label, state: TokenState::Open });
    assert_eq!(fx.store.token("nothing").await.unwrap(), None);
}

pub async fn a_delivery_with_a_known_key_is_dropped(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = with_hook(&fx, "r", "t", 7).await;
    for text in ["x", "again"] {
        assert_eq!(fx.commit(deliver("t", keyed(text, "k"), None)).await, DeliverAnswer::Committed);
    }
    assert_eq!(inbox(&fx, key).await, [text("x", Some("7"))]);
}

pub async fn a_token_belongs_to_one_operation_at_a_time(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = with_hook(&fx, "r", "t", 7).await;
    let other = with_hook(&fx, "other", "t", 3).await;
    assert_eq!(inbox(&fx, other).await, [text("refused", Some("r"))]);
    assert_eq!(fx.run("other").await.inbox_seq, 1);
    let again = Turn { row: Some(row(1, 2)), effects: opens(vec![open("t", 8)]), ..turn(key) };
    assert_eq!(fx.turn(again).await, TurnAnswer::Committed);
    assert_eq!(
        inbox(&fx, key).await,
        [text("refused", Some("r"))],
        "another operation of the same run is refused, too"
    );
    assert_eq!(fx.commit(deliver("t", message("x"), None)).await, DeliverAnswer::Committed);
    assert_eq!(inbox(&fx, key).await[1], text("x", Some("7")));
}

pub async fn a_disposed_token_is_reported_and_can_be_opened_again(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = with_hook(&fx, "r", "t", 7).await;
    let close = |op| Close { token: "t".into(), op };
    fx.turn(Turn { row: Some(row(1, 2)), effects: closes(vec![close(6)]), ..turn(key) }).await;
    assert_eq!(
        fx.store.token("t").await.unwrap().unwrap().state,
        TokenState::Open,
        "only its own operation closes a token"
    );
    fx.turn(Turn { row: Some(row(2, 3)), effects: closes(vec![close(7)]), ..turn(key) }).await;
    assert_eq!(fx.commit(deliver("t", message("x"), None)).await, DeliverAnswer::Disposed);
    let other = with_hook(&fx, "other", "t", 3).await;
    assert_eq!(fx.commit(deliver("t", message("y"), None)).await, DeliverAnswer::Committed);
    assert_eq!(inbox(&fx, other).await, [text("y", Some("3"))]);
    assert_eq!(inbox(&fx, key).await, []);
}

pub async fn the_end_of_a_run_finishes_its_tokens(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = with_hook(&fx, "r", "t", 7).await;
    fx.turn(Turn { row: Some(row(1, 2)), change: Some(change(Status::Completed, None)), ..turn(key) }).await;
    assert_eq!(fx.commit(deliver("t", message("x"), None)).await, DeliverAnswer::Finished);
    assert_eq!(fx.commit(deliver("nothing", message("x"), None)).await, DeliverAnswer::Unknown);
    assert_eq!(inbox(&fx, key).await, []);
}

pub async fn a_payload_is_held_for_a_hook_that_is_opened_in_time(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    for (message, until) in [(keyed("x", "k"), 2_000), (keyed("again", "k"), 5_000), (message("late"), 1_999)] {
        assert_eq!(fx.commit(deliver("t", message, Some(until))).await, DeliverAnswer::Committed);
    }
    assert_eq!(
        fx.commit(deliver("t", message("y"), None)).await,
        DeliverAnswer::Unknown,
        "no run has opened the token"
    );
    assert_eq!(fx.store.token("t").await.unwrap().unwrap().run, None);
    let key = with_hook(&fx, "r", "t", 7).await;
    assert_eq!(inbox(&fx, key).await, [text("x", Some("7"))]);
    assert_eq!(fx.commit(deliver("t", keyed("once more", "k"), None)).await, DeliverAnswer::Committed);
    assert_eq!(inbox(&fx, key).await.len(), 1, "the key is known as long as the run exists");
}

pub async fn a_run_accepts_payloads_before_it_opens_the_hook(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let first = First::Message(message("begin"));
    fx.create(NewRun { effects: opens(vec![promise("t")]), ..new_run("r", first) }).await;
    for text in ["x", "y"] {
        assert_eq!(fx.commit(deliver("t", message(text), None)).await, DeliverAnswer::Committed);
    }
    let other = with_hook(&fx, "other", "t", 3).await;
    assert_eq!(inbox(&fx, other).await, [text("refused", Some("r"))], "the token is reserved for the other run");
    let key = fx.claim(ADA, 10).await[0].key;
    assert_eq!(inbox(&fx, key).await, [text("begin", None)]);
    let taken = Turn { row: Some(row(0, 2)), effects: opens(vec![open("t", 7)]), ..turn(key) };
    assert_eq!(fx.turn(taken.clone()).await, TurnAnswer::Committed);
    assert_eq!(fx.turn(taken).await, TurnAnswer::Committed, "a turn that is sent again changes nothing");
    assert_eq!(inbox(&fx, key).await, [text("begin", None), text("x", Some("7")), text("y", Some("7"))]);
}

pub async fn payloads_for_a_reserved_token_stay_with_the_run_when_it_ends(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = fx.create(NewRun { effects: opens(vec![promise("t")]), ..new_run("r", taken_by(ADA)) }).await;
    fx.commit(deliver("t", message("x"), None)).await;
    fx.turn(Turn { row: Some(row(1, 2)), change: Some(change(Status::Failed, None)), ..turn(key) }).await;
    assert_eq!(inbox(&fx, key).await, [text("x", Some("token t"))]);
    assert_eq!(fx.commit(deliver("t", message("y"), None)).await, DeliverAnswer::Finished);
}

pub async fn a_stale_owner_opens_and_closes_nothing(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = with_hook(&fx, "r", "t", 7).await;
    let stale = Fence { owner: ADA, epoch: 0 };
    let closes = vec![Close { token: "t".into(), op: 7 }];
    let effects = Effects { opens: vec![open("u", 8)], closes, ..Effects::default() };
    let turn = Turn { row: Some(row(1, 2)), fence: stale, effects: Some(Box::new(effects)), ..turn(key) };
    assert_eq!(fx.turn(turn).await, TurnAnswer::Fenced);
    assert_eq!(fx.store.token("t").await.unwrap().unwrap().state, TokenState::Open);
    assert_eq!(fx.store.token("u").await.unwrap(), None);
}

fn once(token: &str, op: u64) -> Open {
    let open = open(token, op);
    Open { label: TokenLabel { once: true, ..open.label }, ..open }
}

pub async fn a_token_for_one_payload_is_taken_by_the_first(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = fx.create(NewRun { effects: opens(vec![once("t", 7)]), ..new_run("r", taken_by(ADA)) }).await;
    assert_eq!(fx.commit(deliver("t", keyed("x", "k"), None)).await, DeliverAnswer::Committed);
    assert_eq!(fx.commit(deliver("t", keyed("y", "l"), None)).await, DeliverAnswer::Taken);
    assert_eq!(
        fx.commit(deliver("t", keyed("x", "k"), None)).await,
        DeliverAnswer::Committed,
        "the first payload was sent again"
    );
    assert_eq!(inbox(&fx, key).await, [text("x", Some("7"))]);
    let again = Turn { row: Some(row(1, 2)), effects: opens(vec![once("t", 8)]), ..turn(key) };
    assert_eq!(fx.turn(again).await, TurnAnswer::Committed);
    assert_eq!(fx.commit(deliver("t", keyed("z", "m"), None)).await, DeliverAnswer::Committed);
    assert_eq!(inbox(&fx, key).await, [text("x", Some("7")), text("z", Some("8"))]);
}

pub async fn a_token_for_one_payload_accepts_the_first_of_a_group(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = fx.create(NewRun { effects: opens(vec![once("t", 7)]), ..new_run("r", taken_by(ADA)) }).await;
    let outcomes = fx.group(&[deliver("t", keyed("x", "k"), None), deliver("t", keyed("y", "l"), None)]).await;
    assert_eq!(outcomes, [DeliverAnswer::Committed, DeliverAnswer::Taken]);
    assert_eq!(inbox(&fx, key).await, [text("x", Some("7"))]);
}

pub async fn a_token_for_one_payload_is_taken_by_a_held_payload(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    assert_eq!(fx.commit(deliver("t", keyed("x", "k"), Some(9_000))).await, DeliverAnswer::Committed);
    let key = fx.create(NewRun { effects: opens(vec![once("t", 7)]), ..new_run("r", taken_by(ADA)) }).await;
    assert_eq!(fx.commit(deliver("t", keyed("y", "l"), None)).await, DeliverAnswer::Taken);
    assert_eq!(inbox(&fx, key).await, [text("x", Some("7"))]);
}

pub async fn the_open_tokens_of_a_run_and_its_descendants_are_listed(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = with_hook(&fx, "r", "b", 7).await;
    with_hook(&fx, "other", "c", 7).await;
    let child = Child {
        new: new_run("child", First::Message(message("begin"))),
        op: Some(9),
        attach: None,
        confirmation: None,
        refusal: message("refused"),
    };
    let effects = Effects { children: vec![child], closes: vec![], opens: vec![open("d", 8)], ..Effects::default() };
    fx.turn(Turn { row: Some(row(1, 2)), effects: Some(Box::new(effects)), ..turn(key) }).await;
    let close = closes(vec![Close { token: "d".into(), op: 8 }]);
    let child = fx.claim(ADA, 9_000).await.into_iter().find(|row| &*row.id == "child").unwrap();
    let opens =
        Turn { row: Some(row(0, 9)), effects: opens(vec![open("a", 1)]), fence: child.fence, ..turn(child.key) };
    assert_eq!(fx.turn(opens).await, TurnAnswer::Committed);
    let before = fx.store.open_tokens(key).await.unwrap();
    let names = |tokens: &[(std::sync::Arc<str>, TokenRow)]| -> Vec<(String, Option<String>)> {
        tokens.iter().map(|(name, row)| (name.to_string(), row.run.as_deref().map(str::to_owned))).collect()
    };
    let of = |name: &str, run: &str| (name.to_owned(), Some(run.to_owned()));
    assert_eq!(names(&before), [of("a", "child"), of("b", "r"), of("d", "r")]);
    fx.turn(Turn { row: Some(row(2, 3)), effects: close, ..turn(key) }).await;
    assert_eq!(names(&fx.store.open_tokens(key).await.unwrap()), [of("a", "child"), of("b", "r")]);
    let grandchild = Child {
        new: new_run("grandchild", First::Message(message("begin"))),
        op: Some(9),
        attach: None,
        confirmation: None,
        refusal: message("refused"),
    };
    let effects = Effects { children: vec![grandchild], ..Effects::default() };
    let starts =
        Turn { row: Some(row(1, 10)), effects: Some(Box::new(effects)), fence: child.fence, ..turn(child.key) };
    assert_eq!(fx.turn(starts).await, TurnAnswer::Committed);
    let grandchild = fx.claim(ADA, 9_000).await.into_iter().find(|row| &*row.id == "grandchild").unwrap();
    let opens = Effects { opens: vec![open("e", 1)], ..Effects::default() };
    let (fence, effects) = (grandchild.fence, Some(Box::new(opens)));
    fx.turn(Turn { row: Some(row(0, 11)), effects, fence, ..turn(grandchild.key) }).await;
    let all = [of("a", "child"), of("b", "r"), of("e", "grandchild")];
    assert_eq!(names(&fx.store.open_tokens(key).await.unwrap()), all);
    assert_eq!(names(&fx.store.open_tokens(child.key).await.unwrap()), [of("a", "child"), of("e", "grandchild")]);
    assert_eq!(fx.store.open_tokens(9_999).await.unwrap(), []);
}

/// One run has 20,000 children. By the statistics each run has so many, and a plan that joins all of them is the cheapest.
pub async fn the_open_tokens_of_a_run_are_read_without_the_children_of_others(fx: Fixture) {
    const READS: i64 = 20;
    let _right = fx.execute(ADA).await;
    let database = fx.database().await;
    let insert = "INSERT INTO runs (id, workflow, fingerprint, args_digest, token, created_at, generation, status, owner, epoch,
            inbox_seq, recoveries, parent)
        SELECT 'child ' || n, 'w', 'f', '\\x00', '\\x00', 0, 0, 'suspended', 0, 0, 0, 0, 'parent' FROM generate_series(1, 20000) AS n";
    database.execute(insert, &[]).await.unwrap();
    database.batch_execute("ANALYZE runs").await.unwrap();
    let key = with_hook(&fx, "r", "t", 7).await;
    let sql = "SELECT idx_scan, seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables
        WHERE relname = 'runs' AND schemaname = current_schema()";
    let read = async || {
        let row = database.query_one(sql, &[]).await.unwrap();
        (row.get::<_, i64>(0), row.get::<_, i64>(1))
    };
    let (mut reads, before) = (0, read().await);
    // The server reports what a connection has done when it does something later.
    let rows = loop {
        assert_eq!(fx.store.open_tokens(key).await.unwrap().len(), 1);
        reads += 1;
        let (scans, rows) = read().await;
        if reads >= READS && scans >= before.0 + READS {
            break rows - before.1;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert!(rows < 10 * reads, "{reads} reads have read {rows} rows");
}
