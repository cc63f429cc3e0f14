//! Errors that `?` cannot convert, and how they are.

use std::error::Error as StdError;

use workflow_runtime::{Error, Result, step};

fn parse(text: &str) -> std::result::Result<u16, Box<dyn StdError + Send + Sync>> {
    Ok(text.parse()?)
}

/// As `anyhow::Error`: it converts into a boxed error, and implements no `std::error::Error`.
struct Anyhow(Box<dyn StdError + Send + Sync>);

impl From<Anyhow> for Box<dyn StdError + Send + Sync> {
    fn from(error: Anyhow) -> Self {
        error.0
    }
}

fn anyhow() -> std::result::Result<u16, Anyhow> {
    parse("1").map_err(Anyhow)
}

#[step]
async fn boxed() -> Result<u16> {
    Ok(parse("1")?)
}

#[step]
async fn of_anyhow() -> Result<u16> {
    Ok(anyhow()?)
}

#[step]
async fn text() -> Result<u16> {
    Err("a text".to_owned())?
}

#[step]
async fn as_the_label_says() -> Result<u16> {
    let port = parse("1").map_err(Error::boxed)?;
    anyhow().map_err(Error::boxed)?;
    Err("a text".to_owned()).map_err(workflow_runtime::Error::boxed)?;
    Ok(port)
}

fn main() {}
