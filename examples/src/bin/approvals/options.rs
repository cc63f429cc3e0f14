//! The command line.

use std::path::PathBuf;

use lexopt::{Arg, ValueExt};

pub const USAGE: &str = "\
Usage: approvals [OPTIONS]

Serves a shop whose orders wait for an approval.
Killed at any time, the same command goes on with every order.

  --db PATH      where the orders are kept [approvals.db]
  --ledger PATH  where payments, refunds and parcels are written down [approvals.ledger]
  --port N       the port on 127.0.0.1; 0 takes any that is free [3000]
  --help         print this";

pub struct Options {
    pub db: PathBuf,
    pub ledger: PathBuf,
    pub port: u16,
}

/// `None` after a request for help, which has been printed.
pub fn parse() -> Result<Option<Options>, lexopt::Error> {
    let mut options = Options { db: "approvals.db".into(), ledger: "approvals.ledger".into(), port: 3000 };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("db") => options.db = parser.value()?.into(),
            Arg::Long("ledger") => options.ledger = parser.value()?.into(),
            Arg::Long("port") | Arg::Short('p') => options.port = parser.value()?.parse()?,
            Arg::Long("help") | Arg::Short('h') => {
                println!("{USAGE}");
                return Ok(None);
            }
            argument => return Err(argument.unexpected()),
        }
    }
    Ok(Some(options))
}
