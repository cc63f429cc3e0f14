//! `ui` and `dev`: the web page on this machine.

use std::net::Ipv4Addr;

use axum::Router;
use clap::Args;
use tokio::net::TcpListener;

use super::context::Context;
use super::deployments;
use super::exit::Exit;
use super::report::{Outcome, Stop};
use super::worker;
use crate::engine::Client;
use crate::error::{Code, Error};
use crate::web::gate::{Gate, guarded};
use crate::web::router;

/// The names of this machine for itself. Any other name in a request is one of another site.
const HOSTS: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];
const PORT: u16 = 7321;

/// Serve the web page of the store on this machine, until interrupted; it executes nothing
#[derive(Args)]
pub(super) struct Ui {
    #[command(flatten)]
    page: Page,
}

/// Execute runs, as `worker` does, and serve the web page beside it
#[derive(Args)]
pub(super) struct Dev {
    #[command(flatten)]
    page: Page,
    /// Release the runs that are bound to deployments without a live worker, such as the builds before this one
    #[arg(long)]
    release: bool,
}

#[derive(Args)]
struct Page {
    /// The port of the page; 0 takes a free one
    #[arg(long, default_value_t = PORT)]
    port: u16,
    /// Let the page change nothing
    #[arg(long)]
    read_only: bool,
}

impl Ui {
    pub async fn execute(self, context: &mut Context) -> Outcome<Exit> {
        let interrupted = worker::interrupted()?;
        let (client, name) = (context.client().await?, name(&context.url()?));
        let serves = self.page.serve(&client, &name).await?;
        tokio::select! {
            () = interrupted => Ok(Exit::Ok),
            ended = serves => ended,
        }
    }
}

impl Dev {
    pub async fn execute(self, context: &mut Context) -> Outcome<Exit> {
        let interrupted = worker::interrupted()?;
        let engine = worker::engine(context).await?;
        deployments::orphans(&engine, self.release).await?;
        let serves = self.page.serve(&engine, "dev").await?;
        let ended = tokio::select! {
            () = interrupted => Ok(Exit::Ok),
            ended = serves => ended,
        };
        eprintln!("stopping: waiting for running steps");
        engine.shutdown().await?;
        ended
    }
}

impl Page {
    /// Binds the port, prints the address, and serves until the future is dropped: a graceful end would wait for open pages.
    async fn serve(&self, client: &Client, name: &str) -> Outcome<impl Future<Output = Outcome<Exit>> + use<>> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).await.map_err(|error| {
            let text = format!("port {} of this machine cannot be served", self.port);
            Stop::refused(
                Error::coded(Code::Unsupported, text).because(error).help("choose another one with --port, or 0"),
            )
        })?;
        let port = listener.local_addr()?.port();
        let gate = Gate::new(port, &HOSTS);
        let read_only = self.read_only;
        let page = router(client).name(name).hosts(HOSTS).access(move |access| !read_only || !access.action.is_write());
        println!("http://127.0.0.1:{port}/{}", gate.address());
        eprintln!("open this address; it can be opened once. Interrupt the command to stop");
        let app: Router = guarded(page.into(), gate);
        Ok(async move {
            axum::serve(listener, app).await?;
            Ok(Exit::Ok)
        })
    }
}

/// What the store is called: the directory of a file, or the name of a database, without the rest of its URL.
fn name(url: &str) -> String {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let path = path.rsplit('@').next().unwrap_or_default();
    let parts: Vec<&str> = path.split(['/', '\\', ':']).filter(|part| !part.is_empty()).collect();
    match parts[..] {
        [.., directory, ".workflow", "workflow.db"] => directory.to_owned(),
        [.., last] => last.trim_end_matches(".db").to_owned(),
        [] => "workflows".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_store_has_no_password() {
        assert_eq!(name("sqlite:/home/ada/shop/.workflow/workflow.db"), "shop");
        assert_eq!(name("sqlite:orders.db"), "orders");
        assert_eq!(name("postgres://ada:secret@db:5432/shop?schema=x"), "shop");
        assert_eq!(name("postgres://ada:sec/ret@"), "workflows");
    }
}
