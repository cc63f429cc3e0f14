//! `export --redact`.

use serde::{Deserialize, Serialize};
use workflow_runtime::{Engine, Error, Journal, Result, Uuid, hook, set_attribute, set_state, step, workflow, writer};

use crate::support::{Place, soon};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Customer {
    name: String,
    initial: char,
    id: Uuid,
    age: u8,
    debt: i16,
    weight: f64,
    card: Option<u64>,
    is_adult: bool,
}

const ID: &str = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff";

#[step]
async fn charge(customer: Customer, card: u64) -> Result<String> {
    Ok(format!("Ottilie-{card}-{}", customer.name))
}

#[step(retries = 0)]
async fn complain(receipt: String) -> Result<()> {
    Err(Error::fatal(format!("the bank of Marrakesh refuses {receipt}")))
}

#[workflow(id = "redacted.pays")]
async fn pays(customer: Customer, cards: Vec<u64>) -> Result<String> {
    set_attribute("customer", &customer.name)?;
    set_state(&customer)?;
    let mut receipts = Vec::new();
    for card in cards {
        receipts.push(charge(customer.clone(), card).await?);
    }
    writer::<String>("receipts").write(&receipts[0]).await?;
    drop(complain(receipts.remove(0)).await);
    hook::<String>().token("answer").await
}

/// Words and numbers that an export must not contain.
const SECRETS: [&str; 9] =
    ["Ada", "6f9619ff", "203", "30123", "71.25", "4929123412341234", "Ottilie", "Marrakesh", "Esmeralda"];

case!(
    #[threads]
    async fn a_redacted_journal_has_no_value_of_the_run_and_replays() {
        let place = Place::sqlite();
        let engine = Engine::open(&place.url).await.unwrap();
        let customer = Customer {
            name: "Ada Lovelace".into(),
            initial: 'Q',
            id: ID.parse().unwrap(),
            age: 203,
            debt: -30123,
            weight: 71.25,
            card: None,
            is_adult: true,
        };
        let cards = vec![4_929_123_412_341_234, 203, 4_929_123_412_341_234];
        let cancelled = engine.start(pays, (customer.clone(), cards.clone())).id("cancelled").await.unwrap();
        assert!(soon(cancelled.cancel("Esmeralda has called")).await.unwrap());
        let answered = engine.start(pays, (customer, cards)).id("answered").await.unwrap();
        engine.resume_hook("answer", &"Esmeralda agrees").hold_for(std::time::Duration::from_secs(60)).await.unwrap();
        soon(answered).await.unwrap();

        for run in ["cancelled", "answered"] {
            let plain = place.run(&format!("export {run}")).ok();
            let redacted = place.run(&format!("export {run} --redact")).ok();
            for secret in SECRETS {
                assert!(run == "cancelled" || plain.contains(secret), "{secret} is not in {plain}");
                assert!(!redacted.contains(secret), "{secret} is in {redacted}");
            }
            assert!(redacted.contains("\"redacted\": true") && !redacted.contains("\"Q\""), "{redacted}");
            let journal: Journal = redacted.parse().unwrap();
            assert_eq!((journal.run_id(), journal.workflow()), (run, "redacted.pays"));
            journal.check().unwrap();
            plain.parse::<Journal>().unwrap().check().unwrap();
        }
        engine.shutdown().await.unwrap();
    }
);
