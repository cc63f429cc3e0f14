//! Makes the pictures of the web page for the README and the guide, from the runs of a small shop:
//! `cargo run -p workflow-tests --example pictures`. It needs Chromium.
//!
//! With `serve` behind it, the page is served until the program is ended.

use std::future::IntoFuture;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use workflow_runtime::engine::{Environment, System};
use workflow_runtime::store::{Figure, RecordCounts, SqliteStore, Store};
use workflow_runtime::{
    Engine, Error, Result, Status, set_attribute, set_state, sleep, step, step_info, suspend, web, workflow,
};

/// Each page: its file, its address, and the size of the window.
const PICTURES: [(&str, &str, &str); 3] = [
    ("overview.png", "overview", "1280,860"),
    ("runs.png", "runs", "1280,900"),
    ("run.png", "run?id=order-42&row=1", "1280,860"),
];
const BYTES_MAX: u64 = 200 << 10;

async fn work(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

#[step(id = "reserve")]
async fn reserve(order: u64) -> Result<String> {
    work(40).await;
    match order {
        35 | 31 => Err(Error::fatal(format!("order {order} is out of stock"))),
        _ => Ok(format!("shelf-{}", order % 12)),
    }
}

#[step(id = "charge", retries = 10, backoff = "700ms..2s")]
async fn charge(order: u64, cents: u32) -> Result<String> {
    let attempt = step_info().map_or(1, |step| step.attempt);
    work(if order == 42 { 600 } else { 20 }).await;
    match (order, attempt) {
        (42, 1 | 2) => Err(Error::new(format!("503 Service Unavailable from api.stripe.com: retry after {attempt} s"))),
        _ => Ok(format!("receipt-{order}-{cents}")),
    }
}

#[step(id = "capture", retries = 9, backoff = "10m..1h")]
async fn charge_later(order: u64) -> Result<String> {
    Err(Error::new(format!("503 Service Unavailable from api.stripe.com: upstream connect error for order {order}")))
}

#[step(id = "check_stock")]
async fn check_stock(shelf: String, number: u64) -> Result<u64> {
    work(250 + number * 60).await;
    Ok(shelf.len() as u64 * 7 + number)
}

#[step(id = "render_pdf")]
async fn render_pdf(receipt: String) -> Result<usize> {
    work(450).await;
    Ok(receipt.len() * 3_007)
}

#[step(id = "upload")]
async fn upload(name: String) -> Result<String> {
    work(500).await;
    Ok(format!("s3://{name}"))
}

#[workflow(id = "invoice")]
async fn invoice(order: u64, receipt: String) -> Result<String> {
    render_pdf(receipt).await?;
    upload(format!("invoices/{order}.pdf")).await
}

#[workflow(id = "order")]
async fn order(order: u64) -> Result<bool> {
    set_attribute("shop", if order.is_multiple_of(2) { "ulm" } else { "bonn" })?;
    let shelf = reserve(order).await?;
    set_state(&"charging")?;
    let receipt = match order {
        41 | 39 | 33 => charge_later(order).await?,
        _ => charge(order, 4200).await?,
    };
    if order != 42 {
        return Ok(true);
    }
    sleep(Duration::from_secs(4)).await;
    for checked in join_all((0..6).map(|number| check_stock(shelf.clone(), number))).await {
        checked?;
    }
    invoice(order, receipt).await?;
    suspend("Ship order 42?").label("approval").await
}

#[step(id = "sum_of", retries = 8, backoff = "20m..2h")]
async fn sum_of(path: String) -> Result<u64> {
    Ok(std::fs::read(&path).map_err(|error| Error::new(format!("{error}: {path}")))?.len() as u64)
}

#[workflow(id = "digest")]
async fn digest(path: String) -> Result<u64> {
    sum_of(path).await
}

#[step(id = "insert", retries = 8, backoff = "5m..1h")]
async fn insert(rows: u64) -> Result<u64> {
    Err(Error::new(format!("duplicate key value violates unique constraint \"rows_pkey\" in part {rows}")))
}

#[workflow(id = "rows")]
async fn rows(part: u64) -> Result<u64> {
    insert(part).await
}

#[workflow(id = "import")]
async fn import(parts: u64) -> Result<u64> {
    rows(parts).id("import-311/rows-4").await
}

#[workflow(id = "report")]
async fn report() -> Result<()> {
    sleep(Duration::from_secs(2_640)).await;
    Ok(())
}

#[step(id = "draw", queue = "gpu")]
async fn draw(scene: u64) -> Result<u64> {
    Ok(scene)
}

#[workflow(id = "render")]
async fn render(scene: u64) -> Result<u64> {
    draw(scene).await
}

#[step(id = "think")]
async fn think(question: String) -> Result<String> {
    work(30).await;
    Ok(format!("{question}: ask"))
}

#[workflow(id = "agent")]
async fn agent(question: String) -> Result<String> {
    think(question.clone()).await?;
    suspend(&question).label("approval").await
}

/// Whether the second build of the program executes, whose code does not fit the runs of the first one.
static IS_SECOND: AtomicBool = AtomicBool::new(false);

#[workflow(id = "delivery")]
async fn delivery(order: u64) -> Result<String> {
    if IS_SECOND.load(Ordering::SeqCst) {
        return charge(order, 990).await;
    }
    sleep(Duration::from_secs(3_600)).await;
    Ok(format!("parcel-{order}"))
}

/// Waits until a run has a status.
async fn reaches(engine: &Engine, id: &str, status: Status) -> Result<()> {
    while engine.get_run::<(), Error>(id).status().await? != status {
        work(20).await;
    }
    Ok(())
}

async fn fill(url: &str) -> Result<Engine> {
    let first = Engine::builder().url(url).deployment("5fe2a0").open().await?;
    first.start(delivery, 77).id("delivery-77").await?;
    reaches(&first, "delivery-77", Status::Suspended).await?;
    first.shutdown().await?;
    IS_SECOND.store(true, Ordering::SeqCst);
    let engine = Engine::builder().url(url).deployment("7c1f09").open().await?;
    engine.get_run::<(), Error>("delivery-77").wake_up().await?;
    reaches(&engine, "delivery-77", Status::Stuck).await?;
    let long = "tenant-eu-west-1/customers/00000000-6f2c/monthly-report/2026-11";
    engine.start(report, ()).id(long).await?;
    engine.start(render, 5530).id("render-5530").await?;
    engine.start(import, 4).id("import-311").await?;
    engine.start(order, 42).id("order-42").await?;
    let late = engine.start(report, ()).id("report-2026-10").await?;
    late.cancel("the customer has called").await?;
    for number in (1..=41).filter(|number| *number % 3 != 0 || *number == 39 || *number == 33) {
        let _ = engine.start(order, number).id(format!("order-{number}")).await?;
    }
    for day in ["01", "02"] {
        let path = format!("/srv/archive/2026/12/{day}/orders.csv");
        engine.start(digest, path).id(format!("digest-2026-12-{day}")).await?;
    }
    for (id, question) in [("agent-9f31", "Refund order 17?"), ("agent-9f33", "Close the account of customer 9?")] {
        engine.start(agent, question.to_owned()).id(id).await?;
    }
    reaches(&engine, "order-42", Status::Suspended).await?;
    let waits = engine.get_run::<(), Error>("order-42");
    while waits.suspended().await?.is_empty() {
        work(50).await;
    }
    Ok(engine)
}

/// Records what an engine would have counted in the last day. In two of its hours no engine has executed.
async fn record_day(file: &Path) -> Result<()> {
    let store = SqliteStore::open_existing(file)?;
    let now = System.now() / 3_600_000;
    for ago in (1..24u64).filter(|ago| !(12..14).contains(ago)) {
        let counts = vec![
            (Figure::Running, 2 + ago * 7 % 5 + ago / 6),
            (Figure::Failing, if ago < 4 { 7 - ago } else { ago % 3 }),
            (Figure::Waiting, 6 + ago * 5 % 7),
            (Figure::Stuck, u64::from(ago < 6)),
        ];
        let record = RecordCounts { hour: now - ago, counts, kept_from: 0 };
        store.commit(&[record.into()]).await.map_err(|failed| failed.error)?;
    }
    Ok(())
}

fn take(address: &str, size: &str, to: &Path) -> Result<()> {
    let done = Command::new("chromium")
        .args(["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars", "--disable-gpu"])
        .args([format!("--window-size={size}"), format!("--screenshot={}", to.display()), address.to_owned()])
        .stderr(Stdio::null())
        .status()
        .map_err(|error| Error::new(format!("chromium: {error}")))?;
    let bytes = std::fs::metadata(to).map_or(0, |file| file.len());
    if !done.success() || bytes == 0 || bytes > BYTES_MAX {
        return Err(Error::new(format!("{} has {bytes} bytes, of at most {BYTES_MAX}: {done}", to.display())));
    }
    println!("{}: {bytes} bytes", to.display());
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let directory = tempfile::tempdir().map_err(Error::new)?;
    let file = directory.path().join("shop.db");
    let engine = fill(&format!("sqlite:{}", file.display())).await?;
    record_day(&file).await?;
    let page: axum::Router = web::router(&engine).name("shop").access(|_| true).into();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.map_err(Error::new)?;
    let base = format!("http://{}", listener.local_addr().map_err(Error::new)?);
    let served = tokio::spawn(axum::serve(listener, page).into_future());
    if std::env::args().nth(1).as_deref() == Some("serve") {
        println!("{base}");
        let _ = served.await;
        return engine.shutdown().await;
    }
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/src/images");
    std::fs::create_dir_all(&images).map_err(Error::new)?;
    for (file, path, size) in PICTURES {
        let (address, to) = (format!("{base}/{path}"), images.join(file));
        let taken = tokio::task::spawn_blocking(move || take(&address, size, &to)).await;
        taken.map_err(Error::new)??;
    }
    served.abort();
    engine.shutdown().await
}
