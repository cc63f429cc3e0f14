use workflow_runtime::{durable, step, workflow};

#[workflow]
struct Order;

#[step]
mod steps {}

struct Shop;

#[durable]
impl Shop {
    async fn open(&self) {}
}

fn main() {
    let _ = (Order, Shop.open());
}
