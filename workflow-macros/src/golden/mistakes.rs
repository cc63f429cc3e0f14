#[workflow]
fn not_async((a, b): (u32, u32)) {
    a + b
}

#[step(retires = 5)]
async fn misspelled() -> Result<()> {
    Ok(())
}

#[workflow]
async fn generic<T>(value: T) -> Result<()> {
    Ok(())
}
