//! The workflows whose runs are shown.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use workflow_runtime::{Error, Result, set_attribute, set_state, sleep, step, step_info, suspend, workflow, writer};

pub const MARKUP: &str = "<script>alert(1)</script><img src=x onerror=\"alert(2)\">'&";
/// Markup, and characters that change a terminal or the order of letters.
pub const EVIL: &str = "\u{1b}[2J\u{9b}31m\u{202e}<script>alert(1)</script><img src=x onerror=\"alert(2)\">";

#[step(id = "reserve")]
pub async fn reserve(order: u64) -> Result<String> {
    Ok(format!("shelf-{order}"))
}

#[step(id = "charge", retries = 5, backoff = "1ms..2ms")]
pub async fn charge(order: u64, cents: u32) -> Result<String> {
    match step_info().map_or(1, |step| step.attempt) {
        1 | 2 => Err(Error::new(format!("503 from the bank for {cents}"))),
        _ => Ok(format!("receipt-{order}")),
    }
}

#[step(id = "check_stock")]
pub async fn check_stock(shelf: u64) -> Result<u64> {
    Ok(shelf)
}

#[step(id = "render_pdf")]
pub async fn render_pdf(order: u64) -> Result<u64> {
    Ok(order * 1_000)
}

#[workflow(id = "invoice")]
pub async fn invoice(order: u64) -> Result<String> {
    render_pdf(order).await?;
    Ok(format!("invoices/{order}.pdf"))
}

#[workflow(id = "order")]
pub async fn order(order: u64) -> Result<bool> {
    set_attribute("shop", "ulm")?;
    set_state(&"charging")?;
    reserve(order).await?;
    charge(order, 4200).await?;
    sleep(Duration::from_millis(5)).await;
    for checked in join_all((0..6).map(check_stock)).await {
        checked?;
    }
    invoice(order).await?;
    suspend(format!("Ship order {order}?").as_str()).label("approval").await
}

#[step(id = "blob")]
pub async fn blob(length: usize) -> Result<String> {
    Ok("x".repeat(length))
}

#[workflow(id = "large")]
pub async fn large(length: usize) -> Result<()> {
    blob(length).await?;
    Ok(())
}

#[step(id = "breaks", retries = 0)]
pub async fn breaks(message: String) -> Result<()> {
    Err(Error::fatal(message))
}

#[workflow(id = "fails")]
pub async fn fails() -> Result<()> {
    reserve(1).await?;
    breaks("very ".repeat(100)).await
}

static HAS_FAILED: AtomicBool = AtomicBool::new(false);

#[step(id = "keyed", retries = 0)]
pub async fn keyed() -> Result<String> {
    Ok(step_info().map(|step| step.idempotency_key).unwrap_or_default())
}

/// Fails the first time.
#[step(id = "falls", retries = 0)]
pub async fn falls() -> Result<String> {
    if !HAS_FAILED.swap(true, Ordering::SeqCst) {
        return Err(Error::fatal("the first time"));
    }
    Ok(step_info().map(|step| step.idempotency_key).unwrap_or_default())
}

#[workflow(id = "keys")]
pub async fn keys() -> Result<String> {
    keyed().await?;
    falls().await?;
    keyed().await
}

#[step(id = "echo")]
pub async fn echo(number: u128) -> Result<u128> {
    Ok(number)
}

#[workflow(id = "wider")]
pub async fn wider(number: u128) -> Result<u128> {
    set_state(&number)?;
    writer::<u128>("log").write(&number).await?;
    echo(number).await
}

#[step(id = "keep")]
pub async fn keep(secret: String) -> Result<String> {
    Ok(format!("kept {secret}"))
}

#[workflow(id = "secret")]
pub async fn secret(secret: String) -> Result<()> {
    set_state(&secret)?;
    writer::<String>("log").write(&secret).await?;
    keep(secret).await?;
    Ok(())
}

#[workflow(id = "evil")]
pub async fn evil(text: String) -> Result<()> {
    set_attribute("note", &text)?;
    set_state(&text)?;
    writer::<String>("log").write(&text).await?;
    keep(text.clone()).name(MARKUP).await?;
    breaks(text).await
}

#[workflow(id = "long")]
pub async fn long(steps: u64) -> Result<()> {
    for number in 0..steps {
        check_stock(number).await?;
    }
    Ok(())
}

#[workflow(id = "again")]
pub async fn again(left: u64) -> Result<()> {
    reserve(left).await?;
    if left > 0 {
        return again(left - 1).continue_as_new().await;
    }
    Ok(())
}
