/// Documented.
#[step(retries = 5, backoff = "100ms..30s", timeout = "10s")]
pub async fn charge(#[resource] bank: &Bank, order: u64, cents: u32) -> Result<String> {
    bank.charge(order, cents).await
}

#[step(was = "old::blocking", was = "older::blocking")]
fn blocking(path: PathBuf, #[resource] cache: &Arc<dyn Cache>) -> Result<u64> {
    cache.len(&path)
}
