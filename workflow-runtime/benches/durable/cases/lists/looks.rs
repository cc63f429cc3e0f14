//! The lists and pages that are measured.

use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use workflow_runtime::{Client, Runs, Status, web};

use crate::Result;

/// The runs that a page of the command line lists.
const PAGE: usize = 50;
const COUNTED: usize = 10_001;

pub struct Look {
    pub name: String,
    what: What,
}

/// Adds the filters of a list.
type Query = fn(Runs) -> Runs;

enum What {
    /// A page of the web page, by its path.
    Page(String),
    List(Query),
    Count(Query),
}

/// All lists and pages.
pub fn all() -> Vec<Look> {
    let pages = [
        "overview",
        "runs",
        "runs?view=running",
        "runs?view=failing",
        "runs?view=waiting",
        "runs?view=stuck",
        "runs?view=failed",
        "runs?view=completed",
        "runs?status=cancelled",
        "runs?workflow=shop::flow_7",
        "runs?view=completed&workflow=shop::flow_7",
        "runs?attribute=tenant%3Dtenant-7",
        "runs?attribute=plan%3Dpro",
        "runs?parent=t-sleeps",
        "runs?since=1d",
        "runs?until=30d",
        "runs?contains=00007777",
        "runs?contains=nowhere",
        "runs?group=error",
        "runs?group=workflow",
        "runs?view=failing&group=error",
        "workflows",
        "people",
        "workers",
    ];
    let lists: [(&str, Query); 9] = [
        ("all", |runs| runs),
        ("--status failed", |runs| runs.status(Status::Failed)),
        ("--failing", |runs| runs.failing()),
        ("--workflow", |runs| runs.workflow("shop::flow_7")),
        ("--attribute, of a thousandth", |runs| runs.attribute("tenant", "tenant-7")),
        ("--attribute, of a half", |runs| runs.attribute("plan", "pro")),
        ("--parent", |runs| runs.parent("t-sleeps")),
        ("--since 1d", |runs| runs.created_after(ago(1))),
        ("--until 30d --status completed", |runs| runs.created_before(ago(30)).status(Status::Completed)),
    ];
    let page = |path: &str| Look { name: format!("page /{path}"), what: What::Page(format!("/{path}")) };
    let list = |(name, query)| Look { name: format!("ls {name}"), what: What::List(query) };
    let count = |(name, query)| Look { name: format!("count {name}"), what: What::Count(query) };
    let looks = lists.into_iter().map(list).chain(lists.into_iter().map(count));
    looks.chain(pages.into_iter().map(page)).collect()
}

fn ago(days: u64) -> SystemTime {
    SystemTime::now() - Duration::from_secs(days * 24 * 3_600)
}

impl Look {
    pub fn is_page(&self) -> bool {
        matches!(self.what, What::Page(_))
    }

    /// Takes a look.
    pub async fn take(&self, client: &Client, served: &Served) -> Result<()> {
        match &self.what {
            What::Page(path) => served.get(path).await.map(drop),
            What::List(query) => {
                query(client.runs()).limit(PAGE).await?;
                Ok(())
            }
            What::Count(query) => {
                query(client.runs()).count_up_to(COUNTED).await?;
                Ok(())
            }
        }
    }
}

/// The web page on a port of this machine.
pub struct Served(std::net::SocketAddr);

impl Served {
    pub async fn open(client: &Client) -> Result<Served> {
        let page: axum::Router = web::router(client).into();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move { axum::serve(listener, page).await });
        Ok(Served(address))
    }

    pub fn base(&self) -> String {
        format!("http://{}", self.0)
    }

    /// The bytes of a page.
    pub async fn get(&self, path: &str) -> Result<usize> {
        let mut connection = TcpStream::connect(self.0).await?;
        // Of version 1.0, so that the body ends with the connection.
        connection.write_all(format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.0).as_bytes()).await?;
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).await?;
        match answer.starts_with(b"HTTP/1.0 200") || answer.starts_with(b"HTTP/1.1 200") {
            true => Ok(answer.len()),
            false => Err(format!("{path}: {}", String::from_utf8_lossy(&answer[..answer.len().min(200)])).into()),
        }
    }
}
