//! `webhooks`, killed after it has accepted an event.
#![cfg(feature = "http")]

mod common;

use std::collections::BTreeSet;
use std::process::Command;

use common::{kill_at, lines};

#[test]
fn an_accepted_event_is_delivered_after_a_kill_and_a_repeated_one_is_not_delivered_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut webhooks = Command::new(env!("CARGO_BIN_EXE_webhooks"));
    webhooks.current_dir(&directory);

    let first = kill_at(&mut webhooks, "event-1 is answered 202");
    let second = lines(&mut webhooks);
    let third = lines(&mut webhooks);
    for life in [&second, &third] {
        assert_eq!(life.iter().filter(|line| *line == "event-1 is answered 202 Accepted").count(), 2, "{life:?}");
        let [.., billing, search, old_shop] = &life[..] else { panic!("{life:?}") };
        assert!(billing.starts_with("billing: delivered by attempt "), "{billing}");
        assert!(search.starts_with("search: delivered by attempt "), "{search}");
        assert_eq!(old_shop, "old-shop: given up: old-shop refuses events: 410 Gone");
    }
    // All attempts for a subscriber have the same key.
    let all: Vec<&String> = first.iter().chain(&second).collect();
    for subscriber in ["billing", "search", "old-shop"] {
        let requests = all.iter().filter(|line| line.starts_with(&format!("  {subscriber} answers")));
        let keys: BTreeSet<_> = requests.map(|line| line.rsplit(' ').next()).collect();
        assert_eq!(keys.len(), 1, "{all:?}");
    }
    assert!(!third.iter().any(|line| line.contains(" answers ")), "delivered again: {third:?}");
}
