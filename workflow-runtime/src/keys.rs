//! The keys and names that the engine generates: one format for each, documented here. **They do not
//! change.** Idempotency keys are known to other services, tokens and the ids of children are in
//! journals and compared on a replay, and the rest is in the rows of stores that later builds open.
//!
//! | what | format | example |
//! |---|---|---|
//! | idempotency key of an operation | `RUN/GENERATION/UNWINDINGS/OPERATION` | `order-1/0/0/5` |
//! | idempotency key of a step that a step calls | key of the caller`/STEP/NUMBER` | `order-1/0/0/5/shop::pay::authorise/0` |
//! | .. in a task that a step spawns | key of the step`//NUMBER`, then as above | `order-1/0/0/5//0/shop::pay::authorise/0` |
//! | key of an execution, for spans and the ids of children | `RUN/GENERATION/OPERATION`, of the generation that has begun it | `order-1/2/5` |
//! | id of a child run, or of the run of a step of a queue | the first 16 bytes of SHA-256 of the parent's seed (SHA-256 of the text in its first event) and the key of the execution, as a UUID of version 8 | `c94829dc-9975-8a4f-b5ad-aa2add85691b` |
//! | token of a child run whose id the workflow has chosen | the first 16 bytes of SHA-256 of the parent's seed and the key of the execution; `GENERATION` is that of a [`KeyBase`] | `c94829dc-9975-5a4f-35ad-aa2add85691b` |
//! | token of a suspension | `suspended/RUN/LABEL`, the label as it is | `suspended/order-1/approval` |
//! | token of a webhook | `webhook/` and SHA-256 of what its path has, in hex | `webhook/9f86d0..` |
//! | stream of the answers of a webhook | `webhook/` and the id of the request | `webhook/67e55044..` |
//! | workflow that executes a step of a queue | `queue:QUEUE/STEP`, the step as it is | `queue:gpu/shop::draw` |
//! | key of a delivery that its sender names, beside the token | `key/KEY`, the key as it is | `key/mail-7` |
//! | dedupe key of the result of a step with a transaction | `transaction/GENERATION/OPERATION` | `transaction/0/5` |
//! | dedupe keys of engine events | `letter/RANDOM`, `returned/RANDOM`, `reopened/GENERATION/RANDOM` | `letter/00..2a` |
//!
//! A text of the user's in front of a slash (`RUN`, `STEP`) is escaped: `%` is `%25` and `/` is `%2F`. Numbers are
//! decimal, the random ones 32 hexadecimal digits. So each part ends where the next slash is, and no two things share a key,
//! whatever is in their names. The name of a queue has no slash.
//!
//! `GENERATION` and `UNWINDINGS` of an idempotency key are a [`KeyBase`]: a retry does not change them, unless the
//! operation was undone.
//!
//! Names with one of the prefixes in [`RESERVED`] are refused where a user's name could be confused with one of these.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The prefixes that tokens, labels, streams and ids of definitions of users must not have.
pub(crate) const RESERVED: [&str; 3] = [QUEUE, SUSPENDED, WEBHOOK];

const QUEUE: &str = "queue:";
const SUSPENDED: &str = "suspended/";
const WEBHOOK: &str = "webhook/";

/// The base of the idempotency keys of a run's operations, after the run's id.
///
/// A retry begins another generation of the run in the store, whose operations keep their keys. Operations that
/// rollbacks have undone get other keys, or a service would confuse the next charge with the refunded one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyBase {
    /// The generation in which the operations were first issued: that of the run's start or of its last `continue_as_new`.
    pub generation: u64,
    /// How many times rollbacks have undone a part of that generation.
    pub unwindings: u64,
}

/// A text that is followed by a slash.
fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '/']) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace('%', "%25").replace('/', "%2F"))
}

/// The idempotency key of an operation.
pub(crate) fn operation(run: &str, base: KeyBase, op: u64) -> String {
    let KeyBase { generation, unwindings } = base;
    format!("{}/{generation}/{unwindings}/{op}", escaped(run))
}

/// The suffix of the idempotency key of a step that another step calls, after that step's key: the
/// number of the caller's call of that callee. Without a callee it is the number of the caller's task.
pub(crate) fn nested(callee: Option<&str>, number: u32) -> String {
    format!("/{}/{number}", escaped(callee.unwrap_or_default()))
}

/// The key of an execution of an operation: it changes with a retry, except for a child that continues, which keeps its id.
pub(crate) fn execution(run: &str, generation: u64, op: u64) -> String {
    format!("{}/{generation}/{op}", escaped(run))
}

/// The id of the run that an operation starts: of the same length at any depth, and different in another run of the
/// same id, since children stay when their parent is deleted. `seed` is that of the parent's first event.
pub(crate) fn child(seed: &[u8; 32], run: &str, generation: u64, op: u64) -> String {
    uuid::Builder::from_custom_bytes(child_digest(seed, run, generation, op)).into_uuid().to_string()
}

/// The token of a run that an operation starts under an id of the workflow's choice. The row of the run
/// stores it, so that the operation can distinguish the run that it has started from one that existed before.
pub(crate) fn child_token(seed: &[u8; 32], run: &str, generation: u64, op: u64) -> u128 {
    u128::from_be_bytes(child_digest(seed, run, generation, op))
}

fn child_digest(seed: &[u8; 32], run: &str, generation: u64, op: u64) -> [u8; 16] {
    let hash = Sha256::new().chain_update(seed).chain_update(execution(run, generation, op)).finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    bytes
}

/// The token by which the suspension with this label is resumed.
pub(crate) fn suspension(run: &str, label: &str) -> String {
    format!("{SUSPENDED}{}/{label}", escaped(run))
}

/// The label in such a token of this run.
pub(crate) fn suspension_label<'t>(run: &str, token: &'t str) -> Option<&'t str> {
    token.strip_prefix(SUSPENDED)?.strip_prefix(&*escaped(run))?.strip_prefix('/')
}

/// The token of a webhook, from a digest of the token in its path.
#[cfg(feature = "http")]
pub(crate) fn webhook(digest: &str) -> String {
    format!("{WEBHOOK}{digest}")
}

/// The stream of the answers to a request.
#[cfg(feature = "http")]
pub(crate) fn webhook_answers(request: &str) -> String {
    format!("{WEBHOOK}{request}")
}

/// The id of the workflow that executes a step of a queue.
pub(crate) fn queue_workflow(queue: &str, step: &str) -> String {
    format!("{QUEUE}{queue}/{step}")
}

/// The queue and the step of the workflow with this id, if it executes a step of a queue.
pub(crate) fn parse_queue_workflow(workflow: &str) -> Option<(&str, &str)> {
    workflow.strip_prefix(QUEUE)?.split_once('/')
}

/// The key of a delivery that its sender sets, beside the token.
pub(crate) fn delivery(key: &str) -> String {
    format!("key/{key}")
}

/// The dedupe key of the result of a step that is executed in a transaction: the same for all its attempts.
#[cfg(feature = "postgres")]
pub(crate) fn transaction(generation: u64, op: u64) -> String {
    format!("transaction/{generation}/{op}")
}

/// The dedupe key of an inbox message, so that a resend after a write in doubt is recognised.
pub(crate) fn message(random: u128) -> String {
    format!("letter/{random:032x}")
}

/// The dedupe key of an event that a turn returns to the inbox.
pub(crate) fn returned(random: u128) -> String {
    format!("returned/{random:032x}")
}

/// The dedupe key of the inbox message that resumes a run as this generation.
pub(crate) fn reopened(generation: u64, random: u128) -> String {
    format!("reopened/{generation}/{random:032x}")
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn base(generation: u64, unwindings: u64) -> KeyBase {
        KeyBase { generation, unwindings }
    }

    /// These texts are in stores and known to other services: a change here is a change of the format.
    #[test]
    fn the_formats_have_not_changed() {
        let call = operation("order-1", base(0, 0), 5);
        assert_eq!(call, "order-1/0/0/5");
        assert_eq!(operation("order-1", base(2, 1), 5), "order-1/2/1/5");
        assert_eq!(operation("batch-1/0", base(0, 0), 2), "batch-1%2F0/0/0/2");
        assert_eq!(operation("50%2F/x", base(0, 0), 2), "50%252F%2Fx/0/0/2");
        assert_eq!(call.clone() + &nested(Some("shop::pay"), 0), "order-1/0/0/5/shop::pay/0");
        assert_eq!(call.clone() + &nested(Some("a/b"), 3), "order-1/0/0/5/a%2Fb/3");
        assert_eq!(call + &nested(None, 1) + &nested(Some("shop::pay"), 0), "order-1/0/0/5//1/shop::pay/0");
        assert_eq!(execution("order-1", 2, 5), "order-1/2/5");
        assert_eq!(execution("batch-1/0", 0, 2), "batch-1%2F0/0/2");
        assert_eq!(child(&[7; 32], "order-1", 0, 5), "c94829dc-9975-8a4f-b5ad-aa2add85691b");
        assert_eq!(child(&[7; 32], "batch-1/0", 2, 1), "7d20e4db-074b-8858-b780-4f63693727c3");
        assert_eq!(suspension("order-1", "approval"), "suspended/order-1/approval");
        assert_eq!(suspension("a/b%", "c/d%"), "suspended/a%2Fb%25/c/d%");
        assert_eq!(queue_workflow("gpu", "shop::draw"), "queue:gpu/shop::draw");
        assert_eq!(delivery("mail/7"), "key/mail/7");
        assert_eq!(message(42), "letter/0000000000000000000000000000002a");
        assert_eq!(returned(42), "returned/0000000000000000000000000000002a");
        assert_eq!(reopened(3, 42), "reopened/3/0000000000000000000000000000002a");
        #[cfg(feature = "postgres")]
        assert_eq!(transaction(0, 5), "transaction/0/5");
        #[cfg(feature = "http")]
        assert_eq!((webhook("9f86"), webhook_answers("67e5")), ("webhook/9f86".into(), "webhook/67e5".into()));
        assert_eq!(serde_json::to_string(&base(2, 1)).unwrap(), r#"{"generation":2,"unwindings":1}"#);
    }

    #[test]
    fn no_two_keys_are_equal() {
        let names = ["a", "a/0", "a/0/0", "a%2F0", "a%", "a%25", "%2F", "/", "//", "a//0", "0", "0/0", "", "a/b/0"];
        let mut seen: HashMap<String, String> = HashMap::new();
        let mut add = |key: String, what: String| {
            if let Some(other) = seen.insert(key.clone(), what.clone()) {
                panic!("{what} and {other} share the key {key}");
            }
        };
        for run in names {
            for number in 0..3 {
                for op in 0..3 {
                    for unwindings in 0..2 {
                        let call = operation(run, base(number, unwindings), op);
                        add(call.clone(), format!("operation {op} of {run:?} in {number} after {unwindings}"));
                        for callee in names.into_iter().map(Some).filter(|callee| *callee != Some("")).chain([None]) {
                            let inner = call.clone() + &nested(callee, 1);
                            add(inner.clone(), format!("{callee:?} in {call}"));
                            add(inner.clone() + &nested(Some("a"), 0), format!("a in {inner}"));
                        }
                    }
                }
            }
        }
        for run in names {
            for other in names {
                add(suspension(run, other), format!("the label {other:?} of {run:?}"));
                let label = suspension_label(run, &suspension(run, other)).map(str::to_owned);
                assert_eq!(label.as_deref(), Some(other));
                for third in names.into_iter().filter(|third| *third != run) {
                    assert_eq!(suspension_label(third, &suspension(run, other)), None, "{third} {run} {other}");
                }
            }
        }
    }

    #[test]
    fn a_queue_and_its_step_are_read_back() {
        for step in ["shop::draw", "a/b", "queue:gpu/x", "/"] {
            assert_eq!(parse_queue_workflow(&queue_workflow("gpu", step)), Some(("gpu", step)));
        }
        assert_eq!(parse_queue_workflow("shop::draw"), None);
    }

    /// PostgreSQL indexes no more than about 2,700 bytes of a row.
    #[test]
    fn the_longest_names_fit_into_an_index() {
        let longest = "/".repeat(crate::limits::NAME_BYTES_MAX);
        assert!(suspension(&longest, &longest).len() < 2_600);
        assert!(suspension(&longest, &longest).len() + delivery(&longest).len() < 2_660);
    }
}
