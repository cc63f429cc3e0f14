#[durable]
pub async fn pay_all<'a, T: AsRef<str>>(orders: &'a [T], (a, b): (u32, u32), mut total: u64) -> Result<&'a T>
where
    T: Sync,
{
    for order in orders {
        total += charge(order.as_ref().to_owned()).await?;
    }
    let wait = |n: u32| async move { sleep(SECOND * n).await };
    wait(a + b).await;
    Ok(&orders[0])
}

#[durable]
async fn nothing() {}
