//! Hash maps that a helper, a step or a method returns, and maps behind pointers.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use workflow_runtime::{Result, step, workflow};

#[step]
async fn charge(order: u64) -> Result<u64> {
    Ok(order)
}

#[step]
async fn prices() -> Result<HashMap<u64, u64>> {
    Ok(HashMap::new())
}

fn stock() -> HashMap<u64, u64> {
    HashMap::new()
}

fn names() -> Result<HashSet<u64>> {
    Ok(HashSet::new())
}

#[workflow]
async fn of_a_helper() -> Result<()> {
    for (order, _) in stock() {
        charge(order).await?;
    }
    for (order, _) in &stock() {
        charge(*order).await?;
    }
    for order in names()? {
        charge(order).await?;
    }
    Ok(())
}

#[workflow]
async fn an_iterator_of_it() -> Result<()> {
    for order in stock().keys() {
        charge(*order).await?;
    }
    for order in stock().into_iter().map(|(order, _)| order).filter(|order| *order > 1).peekable() {
        charge(order).await?;
    }
    Ok(())
}

#[workflow]
async fn of_a_step() -> Result<()> {
    for (order, _) in prices().await? {
        charge(order).await?;
    }
    for order in prices().await?.values() {
        charge(*order).await?;
    }
    Ok(())
}

#[workflow]
async fn of_a_method(orders: HashMap<u64, u64>) -> Result<()> {
    for (order, _) in orders.clone() {
        charge(order).await?;
    }
    for (order, amount) in orders.iter().map(|(order, amount)| (order, amount)).take(3) {
        charge(*order + *amount).await?;
    }
    Ok(())
}

#[workflow]
async fn behind_a_pointer(orders: HashMap<u64, u64>) -> Result<()> {
    let shared = Arc::new(orders);
    for order in shared.keys() {
        charge(*order).await?;
    }
    Ok(())
}

fn main() {}
