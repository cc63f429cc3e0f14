/// Documented.
#[workflow]
#[allow(unused)]
pub async fn checkout(order: u64, mut cents: u32) -> Result<String> {
    cents += 1;
    let receipt = charge(order, cents).await?;
    Ok(receipt)
}

#[workflow(id = "greet", was = "old::greet", was = "older::greet", crate = my::reexport)]
async fn greet(name: String) -> Result<String> {
    Ok(name)
}

#[workflow]
#[tracing::instrument]
async fn nothing() -> Result<()> {
    Ok(())
}
