//! A proxy that counts the queries to a database.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio_postgres::Config;
use tokio_postgres::config::Host;

use crate::Result;
use crate::report::Skipped;

pub struct Proxy {
    /// The URL of the same database through the proxy.
    pub url: String,
    queries: Arc<AtomicU64>,
}

impl Proxy {
    /// Listens, on the current runtime.
    pub async fn start(url: &str) -> Result<Self> {
        let (base, parameters) = url.split_once('?').unwrap_or((url, ""));
        let config: Config = base.parse()?;
        let port = config.get_ports().first().copied().unwrap_or(5432);
        let Some(Host::Tcp(host)) = config.get_hosts().first() else {
            return Err(Skipped("DATABASE_URL names no host that can be reached by TCP".to_owned()).into());
        };
        let address = format!("{host}:{port}");
        if !base.contains(&address) {
            return Err(Skipped(format!("DATABASE_URL does not name its host and port as {address}")).into());
        }
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let here = listener.local_addr()?.to_string();
        let url = format!("{}?sslmode=disable&{parameters}", base.replace(&address, &here));
        let queries = Arc::new(AtomicU64::new(0));
        let counted = queries.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, address.clone(), counted.clone()));
            }
        });
        Ok(Proxy { url, queries })
    }

    /// The number of queries so far.
    pub fn queries(&self) -> u64 {
        self.queries.load(Ordering::Acquire)
    }
}

/// Forwards the messages of the client. Each has a type, a length and a body, except the first, which has no type.
async fn forward(client: TcpStream, address: String, queries: Arc<AtomicU64>) -> std::io::Result<()> {
    let server = TcpStream::connect(address).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let ((mut from, mut to), (mut answers, mut answered)) = (client.into_split(), server.into_split());
    std::mem::swap(&mut to, &mut answered);
    let answering = tokio::spawn(async move { copy(&mut answers, &mut answered).await });
    let mut message = Vec::new();
    let mut first = true;
    loop {
        message.clear();
        let letter = if first { None } else { Some(from.read_u8().await?) };
        first = false;
        message.extend(letter);
        let length = from.read_u32().await?;
        message.extend(length.to_be_bytes());
        let said = message.len();
        message.resize(said + (length as usize).saturating_sub(4), 0);
        from.read_exact(&mut message[said..]).await?;
        // A simple query, or the execution of a prepared one.
        queries.fetch_add(u64::from(matches!(letter, Some(b'Q' | b'E'))), Ordering::Release);
        to.write_all(&message).await?;
        if letter == Some(b'X') {
            break;
        }
    }
    let _ = answering.await;
    Ok(())
}
