//! A database for the cases on PostgreSQL, with ours and raw on it.

mod ours;
mod proxy;
mod raw;

use tokio_postgres::Client;
use workflow_harness::postgres as harness;

pub use self::ours::Ours;
pub use self::proxy::Proxy;
pub use self::raw::Raw;
use super::Result;
use super::disk;
use super::report::Skipped;

/// The URL of a new schema in a database that keeps its commits.
pub fn schema() -> Result<String> {
    if let Some(reason) = harness::lacking() {
        return Err(Skipped(reason).into());
    }
    let temporary = std::env::temp_dir();
    if std::env::var_os("DATABASE_URL").is_none() && disk::filesystem(&temporary).as_deref() == Some("tmpfs") {
        let temporary = temporary.display();
        return Err(
            Skipped(format!("{temporary} is on tmpfs, where a sync costs nothing: name a disk with TMPDIR")).into()
        );
    }
    let url = harness::schema_url();
    // A separate runtime, so that dropping it closes its connections.
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let client = harness::connect(&url).await;
        for setting in ["fsync", "synchronous_commit"] {
            let value: String = client.query_one(&format!("SHOW {setting}"), &[]).await?.try_get(0)?;
            if value != "on" {
                return Err(Skipped(format!("the database has {setting} = {value}")).into());
            }
        }
        Ok(url)
    })
}

/// A connection whose search path is the schema of this URL.
pub async fn connect(url: &str) -> Client {
    harness::connect(url).await
}
