//! The command line.

use std::num::NonZero;
use std::path::PathBuf;

use lexopt::{Arg, ValueExt};

pub const USAGE: &str = "\
Usage: digest DIR --out MANIFEST [OPTIONS]

Writes the SHA-256 of every file below DIR to MANIFEST, for `sha256sum -c MANIFEST`.
Killed at any time, the same command goes on where it was.

  --out MANIFEST  where the manifest goes; it is replaced in one piece
  --db FILE       where the runs are kept, one file for one manifest [MANIFEST.db]
  --jobs N        files that are read at the same time [the number of cores]
  --again         read every file, also if nothing seems to have changed
  --log FILE      append a line for each file that is read
  --help          print this";

pub struct Options {
    pub dir: PathBuf,
    pub out: PathBuf,
    pub db: Option<PathBuf>,
    pub jobs: usize,
    pub again: bool,
    pub log: Option<PathBuf>,
}

/// `None` after a request for help, which has been printed.
pub fn parse() -> Result<Option<Options>, lexopt::Error> {
    let (mut dir, mut out, mut db, mut log) = (None, None, None, None);
    let mut jobs = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    let mut again = false;
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("out") | Arg::Short('o') => out = Some(parser.value()?.into()),
            Arg::Long("db") => db = Some(parser.value()?.into()),
            Arg::Long("jobs") | Arg::Short('j') => jobs = parser.value()?.parse::<NonZero<usize>>()?,
            Arg::Long("again") => again = true,
            Arg::Long("log") => log = Some(parser.value()?.into()),
            Arg::Long("help") | Arg::Short('h') => {
                println!("{USAGE}");
                return Ok(None);
            }
            Arg::Value(value) if dir.is_none() => dir = Some(value.into()),
            argument => return Err(argument.unexpected()),
        }
    }
    let dir = dir.ok_or("which directory? DIR is missing")?;
    let out = out.ok_or("where to? --out MANIFEST is missing")?;
    Ok(Some(Options { dir, out, db, jobs: jobs.get(), again, log }))
}
