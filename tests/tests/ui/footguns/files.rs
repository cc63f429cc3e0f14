use std::fs::{self, File};
use std::path::PathBuf;
use workflow_runtime::{Result, workflow};

#[workflow]
async fn read() -> Result<String> {
    Ok(fs::read_to_string("config")?)
}

#[workflow]
async fn write(text: String) -> Result<()> {
    std::fs::write("log", text)?;
    Ok(())
}

#[workflow]
async fn open() -> Result<u64> {
    Ok(File::open("config")?.metadata()?.len())
}

#[workflow]
async fn create_and_remove() -> Result<()> {
    File::create("lock")?;
    fs::remove_file("lock")?;
    Ok(())
}

#[workflow]
async fn list() -> Result<usize> {
    Ok(fs::read_dir(".")?.count())
}

#[workflow]
async fn exists(path: PathBuf) -> Result<bool> {
    Ok(path.exists())
}

#[workflow]
async fn asynchronous() -> Result<Vec<u8>> {
    Ok(tokio::fs::read("config").await?)
}

#[workflow]
async fn input() -> Result<String> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(line)
}

fn main() {}
