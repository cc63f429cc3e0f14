//! A shop whose orders wait for a person's approval, as a durable workflow behind an HTTP server.
//!
//! `cargo run --bin approvals`, then open the address that it prints: order something, and approve or reject it. Kill
//! the server at any moment and start it again: each order continues, and no payment is taken twice.
//!
//! - **The workflow** ([`order`]) takes the payment, waits for the approval for up to a week, and ships. After a
//!   rejection, or a week without an answer, it returns an error, and the engine rolls the payment back.
//! - **The ledger** ([`ledger`]) is a file with a line for each payment, refund and parcel.
//! - **The routes** ([`routes`]) are those of the shop, and two routers of the library: webhooks receive approvals, and
//!   streams send the progress of an order to a browser.
//! - **Operation** ([`serve`]): logs, callbacks for orders that failed or are stuck, `/ready` for a load balancer, the
//!   page of all runs below `/workflows`, and an end in order at Ctrl-C and SIGTERM. `workflow --store approvals.db`
//!   lists, explains and backs up the orders from a shell.

mod ledger;
mod options;
mod order;
mod page;
mod routes;

use std::future::IntoFuture;
use std::process::ExitCode;

use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::signal::unix::{SignalKind, signal};
use workflow_runtime::{Engine, Error, Result, RunInfo};

use ledger::Ledger;
use options::Options;

#[tokio::main]
async fn main() -> ExitCode {
    let options = match options::parse() {
        Ok(Some(options)) => options,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("approvals: {error}\n\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    match serve(&options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("approvals: {error:?}");
            ExitCode::FAILURE
        }
    }
}

/// Serves until Ctrl-C or SIGTERM. After a kill nothing is lost either: the next process continues the orders.
async fn serve(options: &Options) -> Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let db = options.db.to_str().ok_or_else(|| Error::new("the path of --db is not UTF-8"))?;
    let ledger = Ledger::open(&options.ledger)
        .map_err(|error| Error::new(error).context(format!("{} cannot be used", options.ledger.display())))?;
    // The engine continues unfinished orders from here on, before the first request.
    let engine = Engine::builder()
        .url(format!("sqlite:{db}"))
        .resource(ledger)
        .on_failed(|run| async move { report(&run) })
        .on_stuck(|run| async move { report(&run) })
        .open()
        .await?;
    // Reachable from this machine only: each visitor sees all orders and can approve them.
    let listener = TcpListener::bind(("127.0.0.1", options.port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let server = axum::serve(listener, routes::shop(&engine)).with_graceful_shutdown(asked_to_end());
    let (served, closed) = tokio::join!(server.into_future(), async {
        asked_to_end().await;
        // While the server waits for open requests: it ends those that read a stream.
        engine.shutdown().await
    });
    served?;
    closed
}

/// Reports an order that needs a person. A real shop would send a message, and return an error if that fails: then the
/// engine calls this again.
fn report(run: &RunInfo) -> Result<()> {
    eprintln!("approvals: the order {} is {}: look at /workflows/run?id={}", run.id, run.status, run.id);
    Ok(())
}

#[cfg(unix)]
async fn asked_to_end() {
    let mut terminate = signal(SignalKind::terminate()).expect("the signal can be received");
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

#[cfg(not(unix))]
async fn asked_to_end() {
    let _ = tokio::signal::ctrl_c().await;
}
