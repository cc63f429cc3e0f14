//! Spans around workflows, steps and what they await.

use tracing::{Instrument, info_span, instrument};
use workflow_runtime::{Result, durable, step, workflow};

use super::steps::add;
use super::{Program, program};

#[instrument]
#[step]
async fn spanned_step(n: i64) -> Result<i64> {
    Ok(n)
}

#[instrument(level = "debug", skip(n), fields(twice = n * 2), err)]
#[durable]
async fn spanned_helper(n: i64) -> Result<i64> {
    spanned_step(n).await
}

#[instrument(ret)]
#[workflow]
pub async fn spanned_above(n: i64) -> Result<i64> {
    let one = spanned_helper(n).await?;
    if one > 100 {
        return Ok(one);
    }
    add(one, 1).await
}

#[workflow]
#[instrument]
pub async fn spanned_below(n: i64) -> Result<i64> {
    add(n, 1).await
}

#[workflow]
pub async fn spanned_future(n: i64) -> Result<i64> {
    let sum = add(n, 1).instrument(info_span!("adds", n)).await?;
    async { add(sum, 1).await }.in_current_span().await
}

pub const PROGRAMS: &[Program] =
    &[program!(spanned_above, 1, 2), program!(spanned_below, 1, 2), program!(spanned_future, 1, 3)];
