use std::hash::RandomState;
use uuid::Uuid;
use workflow_runtime::{Result, workflow};

#[workflow]
async fn number() -> Result<u64> {
    Ok(rand::random())
}

#[workflow]
async fn range() -> Result<u64> {
    Ok(rand::random_range(0..6))
}

#[workflow]
async fn generator() -> Result<u64> {
    use rand::RngExt;
    Ok(rand::rng().random())
}

#[workflow]
async fn id() -> Result<String> {
    Ok(Uuid::new_v4().to_string())
}

#[workflow]
async fn spelled_id() -> Result<String> {
    Ok(uuid::Uuid::new_v4().to_string())
}

#[workflow]
async fn hash_seed() -> Result<u64> {
    use std::hash::BuildHasher;
    Ok(RandomState::new().hash_one("name"))
}

fn main() {}
