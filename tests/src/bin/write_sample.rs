//! Writes a sample of both stores with parked runs of every kind, for later builds: `write_sample DIRECTORY
//! POSTGRES_URL`. See `tests/samples/README.md`.

use std::path::PathBuf;

use workflow_runtime::{Error, Result};
use workflow_tests::samples::write;

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().ok_or_else(|| Error::new("write_sample DIRECTORY POSTGRES_URL"));
    write(&PathBuf::from(next()?), &next()?).await
}
