use std::net::{TcpStream, UdpSocket};
use std::process::{self, Command};
use workflow_runtime::{Result, workflow};

#[workflow]
async fn connect() -> Result<bool> {
    Ok(TcpStream::connect("localhost:80").is_ok())
}

#[workflow]
async fn bind() -> Result<bool> {
    Ok(UdpSocket::bind("localhost:0").is_ok())
}

#[workflow]
async fn connect_asynchronously() -> Result<bool> {
    use tokio::net::TcpStream;
    Ok(TcpStream::connect("localhost:80").await.is_ok())
}

#[workflow]
async fn command() -> Result<bool> {
    Ok(Command::new("true").status()?.success())
}

#[workflow]
async fn process_id() -> Result<u32> {
    Ok(process::id())
}

#[workflow]
async fn exit() -> Result<()> {
    process::exit(1)
}

#[workflow]
async fn abort() -> Result<()> {
    std::process::abort()
}

#[workflow]
async fn signal() -> Result<()> {
    use tokio::signal;
    signal::ctrl_c().await?;
    Ok(())
}

fn main() {}
