//! A served page, and requests to it.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Waits for a future, for a limited time.
pub async fn soon<F: IntoFuture>(what: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), what.into_future()).await.expect("it does not come to its end")
}

/// Serves an application for the rest of the test.
pub async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("its address");
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// The headers by which a browser marks a form of the page itself.
pub const OWN: [(&str, &str); 1] = [("Sec-Fetch-Site", "same-origin")];

/// Sends a request whose host is the address, unless the headers have one.
pub async fn request(to: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], form: &str) -> Answer {
    soon(async {
        let mut stream = open(to, method, path, headers, form).await;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.expect("an answer");
        let text = String::from_utf8(bytes).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        assert!(!is_chunked, "pages have a length");
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    })
    .await
}

/// Sends a request, and leaves the answer to be read.
pub async fn open(to: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], form: &str) -> TcpStream {
    let mut stream = TcpStream::connect(to).await.expect("a connection");
    let mut text = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "Host") {
        text += &format!("Host: {to}\r\n");
    }
    headers.iter().for_each(|(name, value)| text += &format!("{name}: {value}\r\n"));
    if method == "POST" {
        text += &format!("Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n", form.len());
    }
    text += "\r\n";
    text += form;
    stream.write_all(text.as_bytes()).await.expect("the request is sent");
    stream
}

pub async fn get(to: SocketAddr, path: &str) -> Answer {
    request(to, "GET", path, &[], "").await
}

/// Sends a form as the page itself does.
pub async fn post(to: SocketAddr, path: &str, form: &str) -> Answer {
    request(to, "POST", path, &OWN, form).await
}
