use std::collections::{HashMap, HashSet};
use workflow_runtime::{Result, step, workflow};

#[step]
async fn charge(order: u64) -> Result<u64> {
    Ok(order)
}

struct State {
    orders: HashMap<u64, u64>,
}

#[workflow]
async fn by_reference(orders: HashMap<u64, u64>) -> Result<()> {
    for (order, _) in &orders {
        charge(*order).await?;
    }
    Ok(())
}

#[workflow]
async fn by_value(orders: HashSet<u64>) -> Result<()> {
    for order in orders {
        charge(order).await?;
    }
    Ok(())
}

#[workflow]
async fn keys_and_values() -> Result<()> {
    let mut orders = HashMap::new();
    orders.insert(1, 2);
    for order in orders.keys() {
        charge(*order).await?;
    }
    for order in orders.values().copied().enumerate() {
        charge(order.1).await?;
    }
    for (order, _) in orders.drain() {
        charge(order).await?;
    }
    Ok(())
}

#[workflow]
async fn a_field() -> Result<()> {
    let state = State { orders: HashMap::from([(1, 2)]) };
    for (order, _) in state.orders.iter() {
        charge(*order).await?;
    }
    Ok(())
}

fn main() {}
