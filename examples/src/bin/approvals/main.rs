//! A shop whose orders wait for a person's approval, as a durable workflow behind an HTTP server.
//!
//! `cargo run --bin approvals`, then open the address that it prints: order something, and approve or reject it. Kill
//! the server at any moment and start it again: each order continues, and no payment is taken twice.
//!
//! - **The workflow** ([`order`]) takes the payment, waits for the approval for up to a week, and ships. A rejection or
//!   a missing answer is its error, and then the payment is refunded.
//! - **The world** ([`ledger`]) is a file, with a line for each payment, refund and parcel.
//! - **The routes** ([`routes`]) are the shop's own, the library's for webhooks, which receive approvals, and the
//!   library's for streams, with which a browser follows an order.

mod ledger;
mod options;
mod order;
mod page;
mod routes;

use std::process::ExitCode;

use tokio::net::TcpListener;
use workflow_runtime::{Engine, Error, Result};

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

/// Runs until the process is killed: a graceful exit would do nothing that a crash does not allow.
async fn serve(options: &Options) -> Result<()> {
    let db = options.db.to_str().ok_or_else(|| Error::new("the path of --db is not UTF-8"))?;
    let ledger = Ledger::open(&options.ledger)
        .map_err(|error| Error::new(error).context(format!("{} cannot be used", options.ledger.display())))?;
    // The engine resumes unfinished orders here, before the first request.
    let engine = Engine::builder().url(format!("sqlite:{db}")).resource(ledger).open().await?;
    // Listens on this machine only, because every client sees all orders and may approve them.
    let listener = TcpListener::bind(("127.0.0.1", options.port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, routes::shop(&engine)).await?;
    Ok(())
}
