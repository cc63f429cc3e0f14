#[workflow]
async fn macros() -> Result<()> {
    let (a, b) = tokio::join!(charge(1), async { charge(2).await });
    let (c, d) = join!(charge(1), charge(2));
    let (e, f) = futures::try_join!(charge(1), charge(2))?;
    tokio::select! {
        n = charge(1), if a.is_ok() => log(n).await,
        _ = &mut timer => {}
        else => {}
    }
    futures::select! {
        n = fast => n,
        m = charge(3).fuse() => m,
        complete => {}
    }
    println!("{} {n}", charge(1).await?, n = charge(2).await?);
    own!(charge(1).await, Utc::now());
    Ok(())
}
