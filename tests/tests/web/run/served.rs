//! A page that is served, and what it answers.

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use workflow_runtime::web::WebRouter;

pub struct Served {
    address: std::net::SocketAddr,
    server: tokio::task::JoinHandle<()>,
}

pub struct Answer {
    pub path: String,
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Served {
    pub async fn new(page: WebRouter) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router: axum::Router = page.into();
        let server = tokio::spawn(async move {
            axum::serve(listener, router).await.unwrap();
        });
        Served { address, server }
    }

    pub async fn get(&self, path: &str) -> Answer {
        let mut connection = TcpStream::connect(self.address).await.unwrap();
        // Of version 1.0, so that the body ends with the connection.
        let request = format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.address);
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { path: path.to_owned(), status, head: head.to_owned(), body: body.to_owned() }
    }
}

impl Answer {
    pub fn json(&self) -> Value {
        json(&self.body)
    }

    /// The row of the journal that has a call with this name.
    pub fn row_of(&self, name: &str) -> String {
        let at = self.body.find(&format!("<b>{name}</b>")).unwrap_or_else(|| panic!("{name} is not in {}", self.body));
        let (_, row) = self.body[..at].rsplit_once("data-row=\"").expect("it is in a row");
        row[..row.find('"').unwrap()].to_owned()
    }

    /// The texts of the cells of this class.
    pub fn cells(&self, class: &str) -> Vec<String> {
        let cell = format!("<td class=\"{class}\">");
        self.body.split(&cell).skip(1).map(|rest| rest[..rest.find('<').unwrap()].to_owned()).collect()
    }

    /// Where the link to the next page leads.
    pub fn next(&self) -> Option<String> {
        let (before, _) = self.body.split_once("\" rel=\"next\"")?;
        let (_, to) = before.rsplit_once("href=\"")?;
        Some(to.replace("&amp;", "&"))
    }
}

pub fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A text in an address.
pub fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
