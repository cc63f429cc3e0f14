#[workflow]
async fn probes(orders: HashMap<u64, u64>, start: Instant) -> Result<()> {
    let a = Instant::now();
    let b = var("KEY");
    let c = Utc::now();
    let d = start.elapsed();
    let exit = |n| n;
    exit(1);
    for (order, _) in &orders {
        charge(*order).await?;
    }
    for order in orders.keys().copied() {
        charge(order).await?;
    }
    let e = nondeterministic(async { reqwest::get("url").await }).await?;
    let _ = charge(1);
    let clock = Instant::now;
    fn used() -> Instant {
        <Instant>::now()
    }
    fn unused() -> Instant {
        Instant::now()
    }
    const CLOCK: fn() -> Instant = Instant::now;
    let both = (used(), CLOCK());
    for order in stock() {
        charge(order).await?;
    }
    Ok(())
}
