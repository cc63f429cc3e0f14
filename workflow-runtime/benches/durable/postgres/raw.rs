//! The raw work: rows like ours, in an append-only table.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{Client, Statement};

use super::connect;
use crate::Result;
use crate::pairs::{Spent, Watch};

/// The columns of our journal, without its index.
const TABLE: &str = "
CREATE TABLE raw (
    position   bigint  PRIMARY KEY,
    run        bigint  NOT NULL,
    generation bigint  NOT NULL,
    idx        bigint  NOT NULL,
    turn       bytea   NOT NULL,
    format     integer NOT NULL,
    checksum   integer NOT NULL,
    body       bytea   NOT NULL
)";

const INSERT: &str = "INSERT INTO raw VALUES ($1, $2, 0, $3, $4, 1, $5, $6)";

/// Columns that are equal in all rows are sent once.
const INSERT_GROUP: &str = "
INSERT INTO raw SELECT position, run, 0, idx, turn, 1, checksum, body
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bytea[], $5::integer[], $6::bytea[])
    AS t (position, run, idx, turn, checksum, body)";

pub struct Raw {
    runtime: Runtime,
    url: String,
    client: Client,
    one: Statement,
    group: Statement,
    body: Vec<u8>,
    rows: i64,
}

/// The columns that differ between rows.
fn columns(row: i64) -> (i64, i64, [u8; 16], i32) {
    let turn = (u128::from(row.cast_unsigned()) * 0x9E37_79B9_7F4A_7C15).to_be_bytes();
    (row / 11 + 1, row % 1_000, turn, (row as i32).wrapping_mul(0x5851_F42D))
}

impl Raw {
    /// A table whose rows have bodies of this size, and a connection on a thread of its own: the shortest path to the
    /// database.
    pub fn open(url: String, body: usize) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (client, one, group) = runtime.block_on(async {
            let client = connect(&url).await;
            let path: String = client.query_one("SHOW search_path", &[]).await?.try_get(0)?;
            client.batch_execute(&format!("CREATE SCHEMA {path}; {TABLE}")).await?;
            let (one, group) = (client.prepare(INSERT).await?, client.prepare(INSERT_GROUP).await?);
            Ok::<_, tokio_postgres::Error>((client, one, group))
        })?;
        let mut raw = Raw { runtime, url, client, one, group, body: vec![b'7'; body], rows: 0 };
        raw.append(3_000, 100.0)?;
        raw.commits(100)?;
        Ok(raw)
    }

    /// Appends rows, on average `group` per insert.
    pub fn append(&mut self, rows: u64, group: f64) -> Result<Spent> {
        let watch = Watch::start();
        self.runtime.block_on(async {
            let (mut appended, mut groups) = (0, 0.0);
            while appended < rows {
                groups += 1.0;
                let end = ((groups * group).round() as u64).clamp(appended + 1, rows);
                let positions: Vec<i64> = (appended..end).map(|row| self.rows + row.cast_signed()).collect();
                let columns: Vec<_> = positions.iter().map(|position| columns(*position)).collect();
                let runs: Vec<i64> = columns.iter().map(|row| row.0).collect();
                let indexes: Vec<i64> = columns.iter().map(|row| row.1).collect();
                let turns: Vec<&[u8]> = columns.iter().map(|row| &row.2[..]).collect();
                let checksums: Vec<i32> = columns.iter().map(|row| row.3).collect();
                let bodies: Vec<&[u8]> = positions.iter().map(|_| &*self.body).collect();
                self.client.execute(&self.group, &[&positions, &runs, &indexes, &turns, &checksums, &bodies]).await?;
                appended = end;
            }
            Ok::<_, tokio_postgres::Error>(())
        })?;
        self.rows += rows.cast_signed();
        Ok(watch.stop(rows as f64))
    }

    /// The duration of each of `commits` commits of one row.
    pub fn commits(&mut self, commits: usize) -> Result<Vec<Duration>> {
        self.runtime.block_on(async {
            let mut times = Vec::with_capacity(commits);
            for _ in 0..commits {
                let start = Instant::now();
                insert(&self.client, &self.one, self.rows, &self.body).await?;
                times.push(start.elapsed());
                self.rows += 1;
            }
            Ok(times)
        })
    }

    /// Appends rows from many connections, each with one commit at a time.
    pub fn clients(&mut self, clients: u32, rows: u32) -> Result<Spent> {
        let runtime = Runtime::new()?;
        let connections = runtime.block_on(try_join_all((0..clients).map(|_| async {
            let client = connect(&self.url).await;
            let statement = client.prepare(INSERT).await?;
            Ok::<_, tokio_postgres::Error>((client, statement))
        })))?;
        let each = rows / clients;
        let watch = Watch::start();
        runtime.block_on(try_join_all(connections.iter().enumerate().map(|(number, (client, statement))| {
            let (first, body) = (self.rows + number as i64 * i64::from(each), &self.body);
            async move {
                for row in 0..i64::from(each) {
                    insert(client, statement, first + row, body).await?;
                }
                Ok::<_, tokio_postgres::Error>(())
            }
        })))?;
        self.rows += i64::from(each * clients);
        Ok(watch.stop(each * clients))
    }
}

async fn insert(
    client: &Client,
    statement: &Statement,
    row: i64,
    body: &[u8],
) -> std::result::Result<(), tokio_postgres::Error> {
    let (run, index, turn, checksum) = columns(row);
    client.execute(statement, &[&row, &run, &index, &&turn[..], &checksum, &body]).await.map(drop)
}
