//! The case `check` on PostgreSQL.

use super::Case;
use crate::Result;
use crate::cases::check::checked_per_second;
use crate::disk::Disk;
use crate::postgres::schema;
use crate::report::{Bar, Row};

pub const CASE: Case = Case { name: "postgres_check", about: "the same as `check` on PostgreSQL", measure };

fn measure(_: &Disk) -> Result<Row> {
    Ok(Row::counted(CASE.name, "runs/s", checked_per_second(&schema()?)?, Bar::AtLeast(10_000.0)))
}
