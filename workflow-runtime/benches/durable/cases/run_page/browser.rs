//! A headless Chromium, by the protocol of ChromeDriver.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use workflow_harness::browser::{self, Driver};

use crate::Result;

/// From the request until the page, with its script and its style, is loaded.
const LOADED: &str =
    "const load = performance.getEntriesByType('navigation')[0]; return load.loadEventEnd - load.startTime;";

pub struct Browser {
    driver: Driver,
    session: String,
}

impl Browser {
    /// `None` if there is no browser on this machine.
    pub async fn open() -> Result<Option<Browser>> {
        if let Some(reason) = browser::lacking() {
            eprintln!("  no browser: {reason}");
            return Ok(None);
        }
        let mut browser = Browser { driver: Driver::start(), session: String::new() };
        let arguments = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"];
        let capabilities =
            json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": { "args": arguments } } } });
        let mut tries = 0;
        let answer = loop {
            // The driver needs a moment before it listens.
            match browser.call("POST", "/session", &capabilities).await {
                Ok(answer) => break answer,
                Err(_) if tries < 100 => tries += 1,
                Err(error) => return Err(error),
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        };
        let id = answer["sessionId"].as_str().ok_or_else(|| format!("no session: {answer}"))?;
        browser.session = format!("/session/{id}");
        Ok(Some(browser))
    }

    /// Loads a page: the time in milliseconds.
    pub async fn load(&self, url: &str) -> Result<f64> {
        self.call("POST", &format!("{}/url", self.session), &json!({ "url": url })).await?;
        let script = json!({ "script": LOADED, "args": [] });
        let time = self.call("POST", &format!("{}/execute/sync", self.session), &script).await?;
        Ok(time.as_f64().ok_or_else(|| format!("no time: {time}"))?)
    }

    pub async fn close(self) -> Result<()> {
        self.call("DELETE", &self.session, &Value::Null).await.map(drop)
    }

    async fn call(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let url = self.driver.url();
        let host = url.trim_start_matches("http://");
        let mut connection = TcpStream::connect(host).await?;
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        connection.write_all(format!("{head}{body}").as_bytes()).await?;
        let answer = answer(&mut connection).await?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("the driver gives no answer")?;
        let value: Value = serde_json::from_str(body)?;
        match head.contains(" 200 ") {
            true => Ok(value["value"].clone()),
            false => Err(format!("{method} {path}: {body}").into()),
        }
    }
}

/// Reads an answer by its length: the driver does not close the connection.
async fn answer(connection: &mut TcpStream) -> Result<String> {
    let mut answer = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&answer);
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            let mut fields = head.lines().filter_map(|line| line.split_once(':'));
            let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
            let length: usize = length.ok_or("the answer has no length")?.1.trim().parse()?;
            if answer.len() >= head.len() + 4 + length {
                return Ok(text.into_owned());
            }
        }
        if connection.read_buf(&mut answer).await? == 0 {
            return Err("the driver closes the connection".into());
        }
    }
}
